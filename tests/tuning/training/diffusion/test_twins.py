"""The study of twins, at a size that says nothing but runs every part; a trial of it that was killed."""

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from pipelines.config import load
from stages.sampling import SamplerSpec
from tests.tuning.training.diffusion.test_settings import settings
from tests.tuning.training.test_transition import cifar10
from tuning.studies_cli import CONFIGS
from tuning.training.diffusion.attack import attack, noised, objective
from tuning.training.diffusion.probe import Prober, levels, read
from tuning.training.diffusion.recipe import DiffusionRecipe
from tuning.training.diffusion.twins import AdversarialSpec, Probed, is_search, longer, run
from tuning.training.diffusion.twins_page import TwinErrors
from tuning.training.trial import Drawing, Task
from tuning.training.trial import run as draw
from tuning.training.zoo.loop import generator

BUDGET = {"pictures": 32, "batch": 8, "warmup": 8, "half_life": 16, "checkpoint": 16}
DATA = {"source": {"kind": "world", "side_px": 8, "count": 64, "classes": False}, "count": 24}


def study(output, **changes) -> AdversarialSpec:
    found = {
        "name": "twins",
        "model": settings(data=DATA, budget=BUDGET).model_dump(mode="json"),
        "tuning": BUDGET,
        "attack": {"kind": "adversarial", "passes": 3},
        "probe": {"pictures": 12, "levels": 3},
        "run": {"output": str(output)},
    }
    return AdversarialSpec.model_validate(found | changes)


def weights(task: Probed) -> dict:
    return load_file(task.folder / "model" / "unet" / "diffusion_pytorch_model.safetensors")


def point(task) -> dict:
    return {"name": "one", "task": task.model_dump(mode="json")}


@pytest.fixture(scope="module")
def done(tmp_path_factory) -> AdversarialSpec:
    spec = study(tmp_path_factory.mktemp("runs"))
    for phase in spec.phases():
        for task in phase.values():
            list(run(point(task)))
    return spec


def test_budgets_are_equal_counted_both_ways(tmp_path):
    spec = study(tmp_path)
    models = spec.models()
    minibatches, updates = (models[name] for name in spec.equal())
    for gradient in ("full", "detached"):
        under = models[f"adversarial, {gradient}"]
        assert under.perturbation.gradient == gradient
        assert under.minibatches == minibatches.minibatches
        assert under.updates == updates.updates == 3 * minibatches.updates
    assert len(models) == 8
    assert len(study(tmp_path, attack={"kind": "adversarial", "inner": "pgd"}).models()) == 5


def test_the_closest_control_differs_from_an_attack_in_its_step_alone(tmp_path):
    spec = study(tmp_path)
    models = spec.models()
    attacked, control = (models[name].perturbation for name in ("adversarial, full", spec.unattacked()))
    assert control == attacked.model_copy(update={"step": 0.0})
    assert models[spec.unattacked()].updates == models["adversarial, full"].updates
    assert study(tmp_path, attack={"kind": "adversarial", "inner": "pgd"}).unattacked() == "fine-tuned"


def test_a_longer_training_has_the_same_learning_rates():
    budget = settings(budget={**BUDGET, "decay": 16}).budget
    once, thrice = budget.loop(), longer(budget, 3).loop()
    assert thrice.steps == 3 * once.steps
    assert [thrice.rate(3 * step + 2) for step in range(1)] == [once.rate(step) for step in range(1)]
    assert [thrice.rate(3 * step) for step in range(1, 4)] == [once.rate(step) for step in range(1, 4)]


def test_all_see_the_same_pictures_noise_and_times(done):
    drawn = [DiffusionRecipe(model).draw(1) for name, model in done.models().items() if name != "original"]
    assert all(torch.equal(a, b) for other in drawn for a, b in zip(drawn[0], other, strict=True))


def test_each_goes_on_elsewhere(done):
    found = [weights(task) for task in done.tasks().values()]
    assert all(set(found[0]) == set(other) for other in found)
    for number, one in enumerate(found):
        assert not any(all(torch.equal(one[k], other[k]) for k in one) for other in found[number + 1 :])


def test_errors_are_those_of_the_attack_written_out(done):
    task = done.tasks()["fine-tuned"]
    prober, found = Prober(task), read(task)
    times = levels(1000, 3)
    assert times == [166, 500, 833]
    noise = torch.randn(prober.clean.shape, generator=generator(0, "noise", 500))
    signal = prober.signal[500].expand(12, 1, 1, 1)
    error = objective(prober._sees(500, prober.label), noised(prober.clean, noise, signal), noise, signal)
    wanted = attack(error, noise, done.probe.attack)
    np.testing.assert_allclose(found["clean"][1], wanted.before, rtol=1e-5)
    np.testing.assert_allclose(found["full"][1], wanted.after, rtol=1e-5)
    assert (found["full"] > found["clean"]).mean() > 0.9


def test_the_page_says_what_changed(done):
    page = done.page()
    assert "against the same updates without the attack, error under attack" in page.verdict
    assert list(page.shown["updates"]) == ["4", "4", "4", "12", "12", "12", "12", "12"]
    errors = TwinErrors(done)
    assert errors.change("original", "original", "clean").value == 0
    assert page.numbers["original clean"] == pytest.approx(errors.all["original"]["clean"].mean(), rel=1e-6)
    assert any("Trained under the full gradient, less fine-tuned, 3 x" in said for said in page.sentences)


def test_the_latents_of_every_model_are_searched_alike(tmp_path):
    member, judge = ({"kind": "classifier", "model": f"zoo:{name}"} for name in ("classifier", "judge"))
    surrogate = {"labels": ["circle", "square"], "members": [member], "judge": judge}
    spec = study(tmp_path, searched={"surrogate": surrogate, "seeds": 1})
    *_, trainings, searches = spec.phases()
    assert list(searches) == [f"{name}: search 1 of 1" for name in spec.models()]
    assert {task.attempts for task in searches.values()} == {tuple(spec.searched.attempts())}
    assert [task.model for task in searches.values()] == [str(folder) for folder in spec.folders().values()]
    assert all(is_search(point(task)) for task in searches.values())
    assert not any(is_search(point(task)) for task in trainings.values())
    assert "searching  2 latents of every model, at most 101 pictures each" in list(spec.plan())


def test_a_killed_trial_goes_on_as_it_was(done, tmp_path):
    straight = done.tasks()["adversarial, full"]
    killed = straight.model_copy(update={"output": str(tmp_path)})
    first = next(run(point(killed)))
    assert (first["pictures"], first["updates"]) == (16, 6)
    assert first["attack size"] <= 0.2
    list(run(point(killed)))
    assert all(torch.equal(a, weights(straight)[name]) for name, a in weights(killed).items())
    assert all((read(killed)[name] == rows).all() for name, rows in read(straight).items())


def test_what_could_never_run_is_refused(tmp_path):
    study(tmp_path).check()
    with pytest.raises(
        ValueError, match=r"probe\.pictures: expected at most 40, .* found 41; lower model\.data\.count"
    ):
        study(tmp_path, probe={"pictures": 41}).check()
    with pytest.raises(ValueError, match="expected kind none, found input"):
        study(tmp_path, model=settings(perturbation={"kind": "input"}).model_dump(mode="json"))


def test_the_papers_recipe_is_planned(tmp_path):
    file = cifar10(tmp_path)
    large = load(AdversarialSpec, "adversarial_cifar10", [f"model.data.source.path={file}"], CONFIGS)
    large.check()
    lines = "\n".join(large.plan())
    assert "original              250,000 minibatches, 250,000 updates" in lines
    assert "adversarial, detached 200,000 minibatches, 600,000 updates, 600,000 passes" in lines
    assert "160 cells of a table" in lines
    assert large.tuning.loop().average == pytest.approx(0.9999, abs=1e-6)


def test_the_plan_counts_what_models_cost(done):
    assert "models     8; 8 are done" in list(done.plan())
    assert any("adversarial, full" in line and "4 minibatches, 12 updates, 12 passes" in line for line in done.plan())


def test_other_studies_take_such_models_too(done):
    """A trial that draws, as of the transition, trains a model on a noise schedule as well."""
    sampler = SamplerSpec(scheduler="ddim", steps=3, guidance=1.0)
    drawing = Drawing(noises=3, sampler=sampler, descriptor="pixels:8", threshold=0.5, features=None)
    task = Task(model=done.model, drawing=drawing, output=done.run.output)
    list(draw(point(task)))
    assert task.measured.is_file()
