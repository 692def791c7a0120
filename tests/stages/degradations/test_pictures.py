import numpy as np
import PIL.Image
import pytest

from stages.degradations.pictures import FolderPicture, WorldPicture, measured
from stages.models.zoo.world import HELD_OUT, render
from stages.randomness import rng


def written(folder, *sizes):
    pictures = [rng(n, "file").integers(0, 256, (*size, 3)).astype(np.uint8) for n, size in enumerate(sizes)]
    for number, picture in enumerate(pictures):
        PIL.Image.fromarray(picture).save(folder / f"{number}.png")
    (folder / "notes.txt").write_text("no picture")
    return pictures


def test_a_row_measures_a_held_out_render_of_its_own():
    whole = render([HELD_OUT + 5])[0]
    blocks = whole.reshape(16, 4, 16, 4, 3).astype(float).mean(axis=(1, 3)) / 127.5 - 1
    np.testing.assert_allclose(measured(WorldPicture(), 5, 16), blocks.transpose(2, 0, 1), atol=1e-6)
    assert (measured(WorldPicture(), 2**40, 16) != measured(WorldPicture(), 5, 16)).any()
    fixed = WorldPicture(index=7)
    np.testing.assert_array_equal(measured(fixed, 1, 64), measured(fixed, 2, 64))


def test_a_folder_is_counted_by_sorted_names(tmp_path):
    pictures = written(tmp_path, (16, 16), (8, 8), (8, 8))
    source = FolderPicture(path=str(tmp_path))
    expected = (pictures[1] / 127.5 - 1).astype(np.float32).transpose(2, 0, 1)
    np.testing.assert_array_equal(measured(source, 4, 8), expected)
    np.testing.assert_array_equal(measured(FolderPicture(path=str(tmp_path), index=1), 0, 8), expected)
    assert measured(source, 0, 8).shape == (3, 8, 8)


def test_what_cannot_be_measured_is_refused(tmp_path):
    written(tmp_path, (16, 16), (8, 12), (10, 10))
    (tmp_path / "3.png").write_bytes(b"nothing")
    source = FolderPicture(path=str(tmp_path))
    for seed, message in (
        (1, "expected a square picture whose side is a multiple of 8, found 12 x 8"),
        (2, "found 10 x 10"),
        (3, "found none that opens"),
    ):
        with pytest.raises(ValueError, match=message):
            measured(source, seed, 8)
    with pytest.raises(ValueError, match=r"expected a picture number 9 in .*, found 4 files"):
        measured(FolderPicture(path=str(tmp_path), index=9), 0, 8)
    with pytest.raises(ValueError, match="found 0 files"):
        measured(FolderPicture(path=str(tmp_path / "none")), 0, 8)
