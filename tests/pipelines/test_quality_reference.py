"""Real pictures: read from any source, brought to size, under a name that changes with them."""

from pathlib import Path

import numpy as np
import PIL.Image
import pytest

from pipelines.columns import unpack
from pipelines.quality_reference import Read, ReadSpec, ReferenceSpec, middle, unmeasured
from pipelines.save import png
from pipelines.store import Store
from stages.base import objects
from tests.pipelines.qualities import measure_here, quality


def test_middles_are_averaged():
    picture = np.zeros((4, 8, 3), np.uint8)
    picture[:, 2:6] = np.arange(16).reshape(4, 4, 1) * 10
    assert middle(picture, 2)[..., 0].tolist() == [[25, 45], [105, 125]]
    assert (middle(picture, 4) == picture[:, 2:6]).all()


def test_what_is_no_picture_has_none():
    good = png(np.full((5, 7, 3), 9, np.uint8))
    found = Read(ReadSpec(side_px=5)).transform({"png": objects([good, b"no picture", None])})["image"]
    assert found[0].shape == (5, 5, 3)
    assert found[1] is None
    assert found[2] is None
    assert Read(ReadSpec()).transform({"png": objects([good])})["image"][0].shape == (5, 7, 3)


def save_pictures(folder: Path, count: int) -> None:
    folder.mkdir()
    for n in range(count):
        PIL.Image.fromarray(np.full((6, 6, 3), n, np.uint8)).save(folder / f"{n:03d}.png")


def test_a_folder_is_measured_once_and_its_broken_pictures_are_counted(tmp_path: Path):
    save_pictures(tmp_path / "real", 6)
    (tmp_path / "real" / "003.png").write_bytes(b"no picture")
    question = quality(tmp_path, f"reference={{source: '{tmp_path / 'real'}'}}")
    reference = question.reference
    assert reference.whole is None
    measure_here(reference)
    assert (reference.whole, len(reference.ids())) == (6, 6)
    found = Store(reference.store).dataset(reference.table).to_table()
    assert found["features"].null_count == 1
    left = [unpack(t)["sample_id"].tolist() for span in reference.source.spans(100, None) for t in unmeasured(
        reference.source, span, frozenset(reference.ids().astype(str)[:4]), 10)]  # fmt: skip
    assert left == [["00000000-00000004", "00000000-00000005"]]


def test_other_files_have_another_name(tmp_path: Path):
    save_pictures(tmp_path / "real", 3)
    setting = f"reference={{source: '{tmp_path / 'real'}'}}"
    before = quality(tmp_path, setting)
    save_pictures(tmp_path / "real" / "more", 1)
    after = quality(tmp_path, setting)
    assert before.reference_id != after.reference_id
    assert before.reference.table != after.reference.table
    assert before.reference_id != quality(tmp_path, f"{setting[:-1]}, side_px: 4}}").reference_id


def test_the_pictures_of_an_index_are_those_it_was_built_from(tmp_path: Path):
    import json

    from pipelines.sources import parse

    save_pictures(tmp_path / "real", 3)
    built = {"source": str(tmp_path / "real"), "column": None, "listing": parse(str(tmp_path / "real")).listing()}
    (tmp_path / "index").mkdir()
    (tmp_path / "index" / "build.json").write_text(json.dumps(built))
    spec = ReferenceSpec(source=f"index:{tmp_path / 'index'}")
    assert len(list(spec.open().entries(spec.open().spans(10, None)[0]))) == 3
    (tmp_path / "real" / "000.png").unlink()
    with pytest.raises(ValueError, match=r"expected the pictures that .* was built from, found other files"):
        spec.open()
