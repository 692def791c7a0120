"""The page of a question about quality: what it says of cells with and without a FID."""

from pathlib import Path

import pytest

from pipelines.quality_page import page
from pipelines.report import write
from tests.pipelines.qualities import draw, quality


@pytest.fixture(scope="module")
def question(tmp_path_factory: pytest.TempPathFactory):
    asked = quality(tmp_path_factory.mktemp("page"), "seeds.count=120", "clip=zoo:clip")
    draw(asked)
    return asked


def test_the_page_holds_every_cell_and_the_published_numbers(question, tmp_path: Path):
    found = page(question, None)
    assert found.verdict.startswith("Best by FID: with 2 calls gaussian by ")
    assert "real pictures have " in found.verdict
    assert len(found.shown) == 5
    assert found.shown["model"].tolist()[-1] == "real pictures"
    assert (found.shown["CLIP score"][:4] != "-").all()
    published = found.tables["published"]
    assert set(published["from"]) == {"ours", "published"}
    row = published[(published["sampler"] == "DDIM") & (published["model"] == "ADM-AT")].iloc[0]
    assert (row["5"], row["50"], row["2"]) == ("26.38", "3.07", "-")
    assert published[published["from"] == "ours"]["4"].str.contains(r"\[").all()
    cells = found.tables["cells"]
    assert (cells["extractor"] == "zoo:classifier, own resize").all()
    assert {"fid", "fid_low", "fid_n", "fid_missing", "fid_method", "kid", "recall", "clip_score"} <= {*cells}
    text = write(found, tmp_path).read_text()
    for name in ("fid", "recall", "precision", "clip", "pictures"):
        assert f'id="{name}"' in text
    assert "DDIM against IDDPM, same noise, model and calls: the FID is " in text
    assert found.numbers["gaussian by DDIM 4/fid"] == pytest.approx(cells["fid"][3])


def test_fewer_pictures_than_features_are_undecided(tmp_path: Path):
    question = quality(tmp_path, "seeds.count=20", "nfe=[2]", "published=null")
    draw(question)
    found = page(question, None)
    assert found.verdict.startswith("Undecided: no cell has a FID, since each has 20 pictures: fewer pictures than 96")
    assert (found.shown["FID"] == "-").all()
    assert (found.shown["precision"] != "-").all()


def test_nothing_drawn_is_undecided(tmp_path: Path):
    found = page(quality(tmp_path), None)
    assert found.verdict.startswith("Undecided: no cell has a FID, since each has 0 pictures")
    assert (found.shown["missing"] == "128").all()
