"""Training sets: the right pixels, disjoint and nested parts, the schema of Hugging Face."""

import io

import numpy as np
import PIL.Image
import pytest
from datasets import ClassLabel, Dataset, Features, Image

from stages.models.zoo import world
from tuning.training.pictures import FolderPictures, ParquetPictures, TrainingSet, WorldPictures


def noise(count: int, side: int = 8) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (count, side, side, 3), dtype=np.uint8)


def png(picture: np.ndarray) -> bytes:
    file = io.BytesIO()
    PIL.Image.fromarray(picture).save(file, "PNG")
    return file.getvalue()


def test_renders_are_averaged_over_boxes():
    index = np.arange(3, 40, 5)
    wanted = world.render(index).reshape(len(index), 16, 4, 16, 4, 3).astype(float).mean(axis=(2, 4))
    found = WorldPictures(side_px=16).load(index)
    assert np.abs(found.images - wanted).max() <= 1  # Pillow rounds twice
    np.testing.assert_array_equal(found.labels, world.labels(index))
    assert found.classes == world.CLASSES


def test_the_whole_world_is_the_world():
    index = np.arange(100, 124)
    np.testing.assert_array_equal(WorldPictures(side_px=64, first=100).load(index - 100).images, world.render(index))


def test_a_part_of_the_world_has_its_own_objects_and_one_background():
    part = WorldPictures(side_px=64, objects=("heart", "moon"), colours=("red",), plain=True)
    found = part.load(np.arange(40))
    assert found.classes == ("heart", "moon")
    corners = found.images[:, :2, :2].reshape(40, -1)
    assert (corners == corners[0]).all()
    red, green, blue = found.images[:, 24:40, 24:40].reshape(-1, 3).max(axis=0).astype(int)
    assert red > 150 > max(green, blue) - 20


def test_parquet_of_hugging_face(tmp_path):
    pixels, names = noise(20), ["cat", "dog"]
    rows = {"image": [PIL.Image.fromarray(p) for p in pixels], "label": [i % 2 for i in range(20)]}
    file = tmp_path / "train.parquet"
    Dataset.from_dict(rows, features=Features({"image": Image(), "label": ClassLabel(names=names)})).to_parquet(file)
    source = ParquetPictures(path=str(file), side_px=8, label="label")
    found = source.load(np.array([3, 17, 0]))
    assert source.size() == 20
    np.testing.assert_array_equal(found.images, pixels[[3, 17, 0]])
    assert found.labels.tolist() == [1, 1, 0]
    assert found.classes == ("cat", "dog")
    assert ParquetPictures(path=str(file), side_px=8).load(np.arange(2)).classes == ()


def test_folders_of_classes_and_middle_squares(tmp_path):
    pixels = noise(6)
    for number, picture in enumerate(pixels):
        place = tmp_path / ("ant" if number < 3 else "bee") / f"{number}.png"
        place.parent.mkdir(exist_ok=True)
        wide = np.pad(picture, ((0, 0), (2, 2), (0, 0)))
        place.write_bytes(png(wide))
    found = FolderPictures(path=str(tmp_path), side_px=8).load(np.arange(6))
    np.testing.assert_array_equal(found.images, pixels)
    assert found.classes == ("ant", "bee")
    assert found.labels.tolist() == [0, 0, 0, 1, 1, 1]


def test_missing_sources_are_said(tmp_path):
    with pytest.raises(ValueError, match="expected a Parquet file with a column image, found no"):
        ParquetPictures(path=str(tmp_path / "no.parquet")).size()
    with pytest.raises(ValueError, match="expected a folder with pictures"):
        FolderPictures(path=str(tmp_path)).size()


def test_parts_are_disjoint_and_sizes_nested():
    source = WorldPictures(count=100)
    sets = {(p, n): TrainingSet(source=source, count=n, part=p, parts=2).rows() for p in (0, 1) for n in (8, 50)}
    for part in (0, 1):
        np.testing.assert_array_equal(sets[part, 50][:8], sets[part, 8])
    assert sorted(np.concatenate([sets[0, 50], sets[1, 50]]).tolist()) == list(range(100))


def test_unseen_pictures_are_unseen():
    data = TrainingSet(source=WorldPictures(count=100), count=20, part=1, parts=2)
    unseen = data.unseen(70)
    assert len(set(unseen.tolist())) == 70
    assert not set(unseen.tolist()) & set(data.rows().tolist())


def test_a_set_larger_than_its_part_is_refused():
    with pytest.raises(ValueError, match="expected at most 50 pictures, a part of 2 of 100, found 51 of part 0"):
        TrainingSet(source=WorldPictures(count=100), count=51, parts=2).rows()


def test_the_digest_follows_the_pixels():
    one, other = (WorldPictures(side_px=8).load(np.arange(n, n + 4)) for n in (0, 1))
    assert one.digest() == WorldPictures(side_px=8).load(np.arange(4)).digest() != other.digest()
