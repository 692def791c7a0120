"""The search for settings, at a size that says nothing but runs every part; a trial of it that was killed."""

import json
import shutil

import numpy as np
import pytest
from pydantic import ValidationError
from safetensors.torch import load_file

from pipelines.config import load
from tests.tuning.training.diffusion.test_settings import settings
from tuning.studies_cli import CONFIGS
from tuning.training.diffusion.fid import read
from tuning.training.diffusion.judge import alone
from tuning.training.diffusion.perturbations import Adversarial, InputNoise, Unperturbed
from tuning.training.diffusion.tune import PLAIN, AdversarialTuneSpec, run, shorter
from tuning.training.diffusion.tune_page import gathered

BUDGET = {"pictures": 96, "batch": 8, "warmup": 8, "half_life": 16, "checkpoint": 48}
DATA = {"source": {"kind": "world", "side_px": 8, "count": 160, "classes": False}, "count": 128}
SPACE = {
    "step": {"kind": "log_uniform", "low": 0.1, "high": 1.0},
    "passes": {"kind": "integers", "low": 2, "high": 3},
    "learning_rate": {"kind": "log_uniform", "low": 1e-4, "high": 1e-2},
    "scale": {"kind": "uniform", "low": 1.0, "high": 1.1},
}
POINTS = (
    {"method": "none", "learning_rate": 1e-3, "scale": 1.0},
    {"method": "adversarial", "learning_rate": 1e-2, "passes": 3, "step": 0.5, "scale": 1.02},
)


def study(output, **changes) -> AdversarialTuneSpec:
    found = {
        "name": "tune",
        "model": settings(data=DATA, budget=BUDGET).model_dump(mode="json"),
        "tuning": BUDGET,
        "space": SPACE,
        "sampling": {"trials": 3, "seed": 1},
        "judging": {"noises": 120, "nfe": [2], "groups": 10},
        "fresh": 130,
        "run": {"output": str(output)},
    }
    return AdversarialTuneSpec.model_validate(found | changes)


def point(task) -> dict:
    return {"name": "one", "task": task.model_dump(mode="json")}


def weights(task) -> dict:
    return load_file(task.folder / "model" / "unet" / "diffusion_pytorch_model.safetensors")


@pytest.fixture(scope="module")
def done(tmp_path_factory) -> AdversarialTuneSpec:
    spec = study(tmp_path_factory.mktemp("runs"))
    for task in (spec.original(), spec.task(PLAIN)):
        list(run(spec, point(task)))
    for settings_ in POINTS:
        list(run(spec, dict(settings_)))
    for task in spec.compared().values():
        list(run(spec, point(task)))
    return spec


@pytest.mark.parametrize(
    ("equal", "minibatches", "updates", "passes"),
    [
        ("minibatches", (12, 12, 12), (12, 36, 12), (12, 36, 36)),
        ("updates", (12, 4, 12), (12, 12, 12), (12, 12, 36)),
        ("passes", (12, 4, 4), (12, 12, 4), (12, 12, 12)),
    ],
)
def test_one_count_is_equal_and_all_are_known(tmp_path, equal, minibatches, updates, passes):
    spec = study(tmp_path, equal=equal)
    attack = {"method": "adversarial", "passes": 3, "step": 0.1}
    with_pgd = study(tmp_path, equal=equal, attack={"kind": "adversarial", "inner": "pgd"})
    tasks = (spec.task(PLAIN), spec.task(attack), with_pgd.task(attack))
    models = [task.model for task in tasks]
    assert tuple(m.minibatches for m in models) == minibatches
    assert tuple(m.updates for m in models) == updates
    assert tuple(m.passes for m in models) == passes
    for task in tasks:
        assert (task.rungs, task.pictures) == (2, 96)
        assert task.counts(task.model.minibatches)["pictures"] == 96
        assert task.counts(task.model.loop.checkpoint_steps)["pictures"] == 48
        assert task.counts(task.model.minibatches)["updates"] == task.model.updates


def test_a_shorter_budget_rises_and_falls_alike():
    budget = settings(budget={**BUDGET, "warmup": 24, "decay": 48}).budget
    whole, part = budget.loop(), shorter(budget, 3).loop()
    assert [part.rate(step) for step in range(part.steps)] == [whole.rate(3 * step + 2) for step in range(1)] + [
        whole.rate(3 * step) for step in range(1, part.steps)
    ]
    assert shorter(budget, 1) == budget


def test_a_step_is_as_long_in_every_norm(tmp_path):
    spec = study(tmp_path, space={**SPACE, "norm": {"kind": "choice", "values": ["l2", "linf"]}})
    found = {n: spec.task({"method": "adversarial", "step": 0.6, "norm": n}).model.perturbation for n in ("l2", "linf")}
    assert found["l2"].step == 0.6
    assert found["linf"].step * 192**0.5 == pytest.approx(0.6)


def test_settings_reach_what_they_name(tmp_path):
    spec = study(tmp_path, gamma=0.3)
    assert spec.task(PLAIN).model.perturbation == Unperturbed()
    assert spec.task({"method": "input"}).model.perturbation == InputNoise(gamma=0.3)
    assert spec.task({"method": "input", "gamma": 0.2}).model.perturbation == InputNoise(gamma=0.2)
    found = spec.task({"method": "adversarial", "gradient": "detached", "inner": "pgd", "passes": 2, "step": 0.2})
    assert found.model.perturbation == Adversarial(gradient="detached", inner="pgd", passes=2, step=0.2)
    assert spec.task({**PLAIN, "learning_rate": 0.5}).model.budget.learning_rate == 0.5
    scaled = dict(spec.task({**PLAIN, "scale": 1.1}).judging.cells(1.1))["DDIM 2"]
    assert (scaled.steps, scaled.epsilon_scaling.scale) == (2, 1.1)
    assert spec.task({**PLAIN, "scale": 1.1}).folder == spec.task(PLAIN).folder  # sampling alone trains nothing new


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"space": {"step": {"kind": "uniform", "low": -1, "high": 1}}}, "greater than or equal to 0"),
        ({"space": {"gamma": {"kind": "uniform", "low": 0, "high": 1}, "method": {"values": ["none"]}}}, "space.gamma"),
        ({"space": {"norm": {"kind": "choice", "values": ["l2"]}}}, "space.step beside it"),
        ({"space": {"passes": {"kind": "integers", "low": 1, "high": 3}}}, "one pass is plain training"),
        ({"space": {"method": {"kind": "choice", "values": ["plain"]}}}, "expected some of none, input, adversarial"),
        ({"space": {"gradient": {"kind": "choice", "values": ["half"]}}}, "'full' or 'detached'"),
        ({"judging": {"samplers": [{"name": "a", "sampler": {"scheduler": "ddim"}}]}}, "expected guidance=1"),
        (
            {"model": settings(perturbation={"kind": "input"}).model_dump(mode="json")},
            "expected kind none, found input",
        ),
    ],
    ids=str,
)
def test_what_makes_no_sense_is_refused(tmp_path, change, said):
    with pytest.raises(ValidationError, match=said):
        study(tmp_path, **change)


def test_too_few_pictures_are_refused(tmp_path):
    study(tmp_path).check()
    with pytest.raises(ValueError, match=r"judging\.noises, fresh: expected more than 96 pictures, .* found 90"):
        study(tmp_path, judging={"noises": 100, "groups": 10}).check()
    with pytest.raises(ValueError, match=r"expected more than 96 real pictures, found 32"):
        study(tmp_path, judging={"noises": 120, "groups": 10, "reference": "unseen"}).check()


def test_a_killed_trial_goes_on_as_it_was(done, tmp_path):
    settings_ = dict(POINTS[1])
    straight, spec = done.task(settings_), study(tmp_path)
    shutil.copytree(done.original().folder, spec.original().folder)
    told = run(spec, settings_)
    first = next(told)
    told.close()
    spec.task(settings_).at(2).unlink()  # as if the kill had come between the checkpoint and the look at it
    assert (first["pictures"], first["minibatches"], first["updates"], first["passes"]) == (48, 2, 6, 6)
    killed = spec.task(settings_)
    again = list(run(spec, settings_))
    assert [m["pictures"] for m in again] == [48, 96]
    assert again[0]["score"] == first["score"] == -read(straight, 2).value
    assert all(a.equal(weights(straight)[name]) for name, a in weights(killed).items())
    assert again[1]["score"] == -read(straight).value
    assert not (killed.folder / "on-its-way").exists()


def test_looking_changes_nothing(done, tmp_path):
    """A task is judged at its end alone, a trial at every checkpoint."""
    spec = study(tmp_path)
    shutil.copytree(done.original().folder, spec.original().folder)
    task = spec.task(POINTS[1])
    list(run(spec, point(task)))
    assert task.reached() == [4]
    assert done.task(POINTS[1]).reached() == [2, 4]
    assert read(task).value == read(done.task(POINTS[1])).value


def test_a_finished_trial_does_nothing(done):
    task = done.task(POINTS[1])
    before = {file: file.stat().st_mtime_ns for file in task.folder.rglob("*") if file.name != "lock"}
    (told,) = run(done, dict(POINTS[1]))
    assert told["pictures"] == 96
    assert {file: file.stat().st_mtime_ns for file in task.folder.rglob("*") if file.name != "lock"} == before


def test_a_trial_that_diverges_is_the_worst_and_no_failure(done, tmp_path):
    spec = study(tmp_path, tuning={**BUDGET, "learning_rate": 1e30})
    shutil.copytree(done.original().folder, spec.original().folder)
    *_, last = run(spec, dict(PLAIN))
    assert last["score"] == -np.inf
    with pytest.raises(ValueError, match="expected a trial that drew pictures at its end, found none"):
        spec.best()
    with pytest.raises(ValueError, match="must be finite"):
        list(run(spec, point(spec.task(PLAIN))))


def test_equal_trials_wait_for_each_other(tmp_path):
    import fcntl

    with alone(tmp_path), (tmp_path / "lock").open("w") as other, pytest.raises(BlockingIOError):
        fcntl.flock(other, fcntl.LOCK_EX | fcntl.LOCK_NB)
    with alone(tmp_path):
        pass


def test_the_best_is_drawn_again_from_noises_that_no_choice_rests_on(done):
    compared = done.compared()
    assert {task.judging.first_seed for task in compared.values()} == {100_120}
    settings_, best = done.best()
    values = {json.dumps(s): read(task).value for s, task in done.trials().values()}
    assert values[json.dumps(settings_)] == min(values.values())
    assert compared["best"].folder == best.folder
    if settings_["method"] == "adversarial":
        minibatches, updates = (compared[f"best, unperturbed, as many {count}"] for count in ("minibatches", "updates"))
        assert minibatches.model.minibatches == best.model.minibatches
        assert updates.model.updates == best.model.updates
        assert minibatches.scale == updates.scale == best.scale


def test_the_page_counts_and_compares(done):
    found, page = gathered(done), done.page()
    assert page.numbers["change"] == pytest.approx(found.fresh["best"].value - found.fresh["fine-tuned"].value)
    trials = page.tables["trials"].set_index("method")
    assert trials.loc["none", ["minibatches", "updates", "passes"]].tolist() == [12, 12, 12]
    assert trials.loc["adversarial", ["minibatches", "updates", "passes"]].tolist() == [4, 12, 12]
    assert page.shown.set_index("method").loc[["none", "adversarial"], "K"].tolist() == ["-", 3]
    assert trials.loc["adversarial", ["K", "alpha"]].tolist() == [3, 0.5]
    assert np.isnan(trials.loc["none", "alpha"])  # what does not apply is missing
    assert (trials["FID_n"] == 120).all()
    assert (trials["FID_low"] < trials["FID"]).all()
    assert set(page.tables["fresh"]["model"]) >= {"original", "fine-tuned", "best"}
    assert (page.tables["fresh"]["FID_n"] == 130).all()
    assert "looks better than it is" in page.sentences[0]
    assert "from fresh noises" in page.verdict


def test_a_model_less_itself_is_nothing(done):
    drawn = read(done.task(PLAIN))
    change = drawn.less(drawn)
    assert (change.value, change.low, change.high) == (0, 0, 0)
    assert drawn.mean().value == drawn.fid("DDIM 2").value  # one cell
    assert drawn.mean().low == pytest.approx(drawn.fid("DDIM 2").low)


def test_the_packaged_search_is_planned():
    asked = load(AdversarialTuneSpec, "adversarial_tune_small", [], CONFIGS)
    asked.check()
    lines = list(asked.plan())
    assert any(line.startswith("range      step") for line in lines)
    assert "equal      250 updates each" in lines
