"""What trained twins draw, judged by the question of quality in the same command."""

import math

import pytest
from rich.console import Console

from tests import s3
from tests.tuning.training.diffusion.test_twins import study
from tuning.claims import adversarial
from tuning.study import conduct
from tuning.training.diffusion.twins import AdversarialSpec
from tuning.training.table import Compared
from tuning.training.trial import trained
from tuning.verifying import verify

SAMPLERS = [{"name": "DDIM", "sampler": {"scheduler": "ddim", "guidance": 1.0}}]
QUALITY = {
    "samplers": SAMPLERS,
    "nfe": [1, 2],
    "prompts": {"kind": "none"},
    "seeds": {"count": 24},
    "extractor": {"model": "zoo:classifier"},
    "reference": {"source": "world:0-64", "side_px": 8},
    "groups": 4,
    "run": {"batch_size": 24},
}


def compared(spec: AdversarialSpec) -> Compared:
    return Compared(spec.table(), spec.controls())


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_twins_are_judged_by_what_they_draw(tmp_path):
    spec = study(tmp_path, quality=QUALITY)
    console = Console(record=True, quiet=False, width=200)
    page, report = conduct(spec, console)
    drawn = compared(spec)
    assert list(drawn.names) == list(spec.models())
    table, *changes = page.others.values()
    assert len(table) == len(spec.models())
    assert list(table.columns) == ["model", "sampler", "1 calls", "2 calls"]
    assert len(changes) == 8
    assert any("the FID is lower in" in said or "the FID differs clearly" in said for said in page.sentences)
    assert (report.parent.parent / f"{spec.name}-quality-{drawn.answers.spec.identity()}" / "report.html").is_file()
    again, _ = conduct(spec, console)
    assert again.sentences == page.sentences


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_twins_are_judged_where_no_folder_is_shared(tmp_path, s3_port):
    """A second machine, on which the same folder is empty, trains and draws nothing, and answers the same."""
    place, folder = s3.uri(s3.bucket(s3_port), s3_port), tmp_path / "own"
    run = {"output": str(folder), "store": place, "tracking_uri": f"sqlite:///{tmp_path / 'mlflow.db'}"}
    folder.mkdir()
    spec = study(folder, quality=QUALITY, run=run)
    first, _ = conduct(spec, Console(quiet=True))
    assert not (folder / "store").exists()
    kept = verify(place)
    assert kept.defects == []
    assert kept.rows > 0
    folder.rename(tmp_path / "gone")
    folder.mkdir()
    second, _ = conduct(spec, Console(quiet=True))
    assert second.sentences == first.sentences
    again = verify(place)
    assert (again.files, again.rows) == (kept.files, kept.rows)


@pytest.fixture(scope="module")
def done(tmp_path_factory) -> AdversarialSpec:
    spec = study(tmp_path_factory.mktemp("runs"), quality=QUALITY)
    for phase in spec.phases():
        for task in phase.values():
            list(trained(task))
    return spec


def test_every_attack_is_compared_with_as_much_plain_training_counted_both_ways(done):
    drawn = compared(done)
    assert [(drawn.names[one], drawn.names[other]) for one, other in drawn.pairs] == [
        (f"adversarial, {gradient}", plain)
        for gradient in ("full", "detached")
        for plain in ("unattacked, 3 x", "fine-tuned", "fine-tuned, 3 x")
    ] + [("noisier inputs", "fine-tuned"), ("noisier inputs, 3 x", "fine-tuned, 3 x")]
    assert {m.model for m in drawn.answers.spec.models} == {str(folder) for folder in done.folders().values()}


def test_nothing_drawn_is_no_number(done):
    """Before the question is asked every cell is missing, and so is every difference."""
    drawn = compared(done)
    table, *changes = drawn.tables().values()
    assert (table[["1 calls", "2 calls"]] == "-").all(axis=None)
    assert all((change[["1 calls", "2 calls"]] == "-").all(axis=None) for change in changes)
    assert list(drawn.sentences()) == ["In 8 of 8 comparisons the FID differs clearly in no cell."]


FIDS = [claim for claim in adversarial.CLAIMS if "FID" in claim.statistic and claim.config == adversarial.TWINS]


@pytest.mark.parametrize("claim", FIDS, ids=lambda claim: claim.name)
def test_claims_compare_twins_that_there_are(done, claim):
    samplers = [
        {"name": name, "sampler": {"scheduler": scheduler, "guidance": 1.0}}
        for name, scheduler in {"IDDPM": "ddpm", "DDIM": "ddim", "DPM-Solver++": "dpmpp"}.items()
    ]
    spec = study(done.run.output, quality=QUALITY | {"samplers": samplers, "nfe": [5, 50]})
    assert math.isnan(claim.measure(spec).value)


def test_a_table_names_no_models(tmp_path):
    with pytest.raises(ValueError, match="at most 0 items"):
        study(tmp_path, quality=QUALITY | {"models": [{"model": "zoo:pixel-unet"}]})


def test_a_sampler_that_calls_twice_is_refused_before_any_training(tmp_path):
    heun = {"name": "Heun", "sampler": {"scheduler": "heun", "guidance": 1.0}}
    with pytest.raises(ValueError, match="Heun: expected a scheduler that calls the network once a step"):
        study(tmp_path, quality=QUALITY | {"samplers": [heun]}).check()


def test_where_the_table_is_drawn_changes_nothing(tmp_path):
    here = study(tmp_path, quality=QUALITY)
    elsewhere = study(tmp_path, quality=QUALITY | {"run": {"batch_size": 7}})
    assert here.identity() == elsewhere.identity() != study(tmp_path).identity()
