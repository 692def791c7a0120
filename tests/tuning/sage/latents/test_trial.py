"""A trial of the latent search on the embedded model: kept attempt by attempt, its failures drawn again bit for bit."""

import json

import numpy as np
import pytest
from PIL import Image

from stages.models.loading import load_generator
from stages.models.spec import ModelSpec
from stages.models.zoo import world
from tuning.sage import failures, outcomes
from tuning.sage.latents.page import page
from tuning.sage.latents.study import LatentStudySpec, work
from tuning.sage.latents.trial import run
from tuning.sage.region.page import around

SPEC = LatentStudySpec.model_validate(
    {
        "model": "zoo:text-to-image",
        "surrogate": {
            "labels": world.CLASSES,
            "members": [{"kind": "classifier", "model": "zoo:classifier"}, {"kind": "clip", "model": "zoo:clip"}],
            "judge": {"kind": "classifier", "model": "zoo:judge"},
        },
        # so few steps and so little guidance that some seeds fail by themselves and others nearly do
        "search": {
            "sampler": {"scheduler": "ddim", "steps": 4, "guidance": 2.0},
            "gradient": {"kind": "full"},
            "iterations": 6,
            "step": 0.1,
            "batch": 4,
        },
        "classes": ("star", "moon"),
        "seeds": 2,
        "group": 2,
    }
)


def study(output, **changes) -> LatentStudySpec:
    return LatentStudySpec.model_validate(SPEC.model_dump(mode="json") | {"run": {"output": str(output)}} | changes)


def conducted(spec: LatentStudySpec) -> LatentStudySpec:
    for phase in spec.phases():
        for name, task in phase.items():
            list(run({"name": name, "task": task.model_dump(mode="json")}))
    return spec


@pytest.fixture(scope="module")
def done(tmp_path_factory) -> LatentStudySpec:
    return conducted(study(tmp_path_factory.mktemp("runs")))


def search_of(spec: LatentStudySpec) -> dict:
    return {a: one for task in spec.tasks("search").values() for a, one in task.done().items()}


def test_every_attempt_has_an_outcome_and_every_control_its_budget(done):
    search = search_of(done)
    assert list(search) == done.attempts()
    for way in done.controls:
        control = {a: one for task in done.tasks(way).values() for a, one in task.done().items()}
        assert {a: one.evaluations for a, one in control.items()} == {a: one.evaluations for a, one in search.items()}
        assert [one.natural for one in control.values()] == [one.natural for one in search.values()]


def test_failures_are_drawn_again_bit_for_bit(done):
    found = [one.failure for one in search_of(done).values() if one.failure]
    assert found, "this size was chosen so that some searches succeed"
    generator = load_generator(ModelSpec(model=done.model, device="cpu", dtype="float32"))
    for name in found:
        saved = failures.load(next(iter(done.tasks("search").values())).folder / "failures" / name)
        again = failures.redraw(saved, generator)
        np.testing.assert_array_equal(again, saved.after)
        assert failures.sha256(again) == saved.failure.sha256
        assert done.search.validity.accepts(saved.latent)


def test_a_killed_trial_goes_on_where_it_was(done, tmp_path):
    spec = study(tmp_path)
    name, task = next(iter(spec.tasks("search").items()))
    point = {"name": name, "task": task.model_dump(mode="json")}
    started = run(point)
    first = {}
    while not first:
        assert np.isfinite(next(started)["objective"])
        first = {file: file.stat().st_mtime_ns for file in task.outcomes.glob("*.json")}
    started.close()
    assert not task.measured.exists()
    list(run(point))
    assert first == {file: file.stat().st_mtime_ns for file in first}
    timeless = lambda one: one.model_copy(update={"seconds": 0.0})  # noqa: E731
    assert {a: timeless(one) for a, one in task.done().items()} == {
        a: timeless(one) for a, one in next(iter(done.tasks("search").values())).done().items()
    }


def test_company_changes_nothing(done, tmp_path):
    (first, *_) = study(tmp_path, group=1).tasks("search").values()
    list(run({"name": "alone", "task": first.model_dump(mode="json")}))
    ((attempt, one),) = first.done().items()
    together = search_of(done)[attempt]
    assert one.curve == pytest.approx(together.curve, abs=1e-3)
    assert (one.evaluations, one.success) == (together.evaluations, together.success)


def test_the_page_answers(done):
    found = page(done)
    assert "plain seeds fail by themselves" in " ".join(found.sentences).lower()
    assert len(found.tables["attempts"]) == len(done.attempts()) * (1 + len(done.controls))
    assert {file.parent.name for file in (done.folder / "failures").glob("*/failure.json")} == {
        one.failure for one in search_of(done).values() if one.failure
    }
    assert found.shown["class"].tolist() == ["star", "moon", "all"]


def test_rates_leave_natural_failures_out(done):
    search = list(search_of(done).values())
    rate, natural = outcomes.success_rate(search), outcomes.natural_rate(search)
    assert rate.n == len(search) - sum(one.natural for one in search)
    assert rate.n_missing == sum(one.natural for one in search)
    assert natural.n == len(search)


def test_an_outcome_survives_json(done):
    for one in search_of(done).values():
        assert outcomes.Outcome.model_validate_json(one.model_dump_json()) == one


def test_a_broken_failure_is_refused(tmp_path):
    with pytest.raises(ValueError, match=r"expected failure.json, found no such file"):
        failures.load(tmp_path)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"classes": ("star", "dragon")}, "dragon"),
        ({"targets": [{"kind": "targeted", "target": "star"}], "classes": ("star",)}, "no attempt left"),
        ({"controls": ("search",)}, "found 'search', which is none"),
    ],
    ids=str,
)
def test_bad_settings_are_one_sentence(change, said, tmp_path):
    with pytest.raises(ValueError, match=said):
        study(tmp_path, **change).check()


def test_pictures_are_what_was_saved(done):
    saved = failures.every(done.folder / "failures")
    for one in saved:
        file = done.folder / "failures" / one.failure.name / failures.AFTER
        np.testing.assert_array_equal(np.asarray(Image.open(file)), one.after)
        assert json.loads((file.parent / failures.FILE).read_text())["sha256"] == failures.sha256(one.after)


def test_the_region_around_what_was_found(done):
    small = {
        "failures": 3,
        "radius": {"failures": 1, "directions": 2, "doublings": 2, "bisections": 2},
        "paths": {"pairs": 1, "controls": 1, "crossed": 0, "points": 2, "rounds": 0},
        "persistence": {"failures": 1, "strengths": [0.0, 0.5], "draws": 2},
        "queries": 1,
        "plain": 8,
        "subset_simulation": {"chains": 2, "length": 2, "levels": 2, "runs": 2},
    }
    spec = LatentStudySpec.model_validate(done.model_dump(mode="json") | {"region": small})
    (task,) = list(spec.phases())[-1].values()
    list(work({"name": "region", "task": task.model_dump(mode="json")}))
    region = around(task)
    assert region is not None
    assert dict(region.persistence())[0.0].value == 1  # without noise every failure stays one
    assert sum(region.kept["evaluations"].values()) <= task.pictures
    assert {"radius, radians", "outlasts b = 0.5"} <= {*region.table()["measure"]}
    assert "radians away" in " ".join(page(spec).sentences)


def test_what_was_found_is_tried_with_other_prompts(done):
    spec = LatentStudySpec.model_validate(done.model_dump(mode="json") | {"elsewhere": {"failures": 2, "classes": 3}})
    (task,) = list(spec.phases())[-1].values()
    list(work({"name": "elsewhere", "task": task.model_dump(mode="json")}))
    names = {saved.failure.name for saved in spec.searches().found()[:2]}
    rows = task.done()
    assert {one.failure for one in rows} == names
    assert len(rows) == 3 * len(names)
    found = page(spec)
    assert len(found.tables["elsewhere"]) == len(rows)
    assert "With the prompts of other classes" in " ".join(found.sentences)
