"""Training: what its variants have in common bit for bit, what they cost, and that a killed one goes on as it was."""

from collections.abc import Iterator

import numpy as np
import pytest
import torch
from diffusers import DDPMPipeline

from stages.models.loading import load_generator
from stages.models.spec import ModelSpec
from stages.models.zoo import world
from stages.sampling import SamplerSpec
from tests.tuning.training.diffusion.test_settings import settings
from tuning.training.diffusion.attack import attack, noised, objective, size
from tuning.training.diffusion.perturbations import Adversarial, InputNoise, Unperturbed
from tuning.training.diffusion.recipe import DiffusionRecipe
from tuning.training.pixels import as_function
from tuning.training.zoo.loop import Loop

DROPPING = {"kind": "unet", "width": 8, "multipliers": (1, 2), "head_channels": 8, "dropout": 0.2}
TRANSFORMER = {"kind": "transformer", "width": 16, "depth": 1, "head_channels": 8}
CLASSES = {"source": {"kind": "world", "side_px": 8, "count": 24}}
FEW = {"noise_levels": 4, "times": "loss_aware"}
"""So few time steps that within a test all of them are known well enough to be drawn by their losses."""
LONG = {"pictures": 96, "batch": 16, "warmup": 8, "half_life": 32, "checkpoint": 32, "seed": 3}
TABLE = [
    {},
    {"variance": "fixed", "schedule": "linear", "data": CLASSES},
    {"perturbation": InputNoise(gamma=0.15), "network": TRANSFORMER, "data": CLASSES},
    {"perturbation": Adversarial(), "network": DROPPING},
    {"perturbation": Adversarial(gradient="detached", inner="pgd"), "accumulate": 2},
    {"perturbation": Adversarial(passes=2, norm="linf", step=0.01), **FEW, "budget": LONG},
    {**FEW, "budget": LONG, "precision": "bfloat16", "dropout": 0.1},
]


def recipe(**changes) -> DiffusionRecipe:
    return DiffusionRecipe(settings(**changes))


def trained(made: DiffusionRecipe, file, until: int | None = None) -> tuple[Loop, list[float]]:
    loop = Loop(made, made.spec.loop, file)
    return loop, loop.run(until)


def same(one: Loop, other: Loop) -> bool:
    pairs = ((one.recipe.module, other.recipe.module), (one.average, other.average))
    return all(torch.equal(a, b) for x, y in pairs for a, b in zip(x.parameters(), y.parameters(), strict=True))


@pytest.mark.parametrize("changes", TABLE, ids=repr)
class TestLaws:
    def test_a_killed_training_goes_on_as_it_was(self, changes, tmp_path):
        straight, losses = trained(recipe(**changes), tmp_path / "straight.pt")
        _, first = trained(recipe(**changes), tmp_path / "killed.pt", 4)
        resumed, rest = trained(recipe(**changes), tmp_path / "killed.pt")
        assert first + rest == losses
        assert same(straight, resumed)
        times, again = straight.recipe.state(), resumed.recipe.state()
        assert all(torch.equal(times[name], again[name]) for name in times)
        spec = straight.recipe.spec
        for loop in (straight, resumed):
            assert (loop.step, loop.updates) == (len(losses), loop.updates) == (spec.minibatches, spec.updates)
            assert {int(state["step"]) for state in loop.optimiser.state.values()} == {spec.updates}

    def test_the_folder_is_a_model_that_draws(self, changes, tmp_path):
        made = recipe(**changes)
        made.save(made.module, tmp_path)
        assert {file.suffix for file in tmp_path.rglob("*") if file.is_file()} == {".json", ".safetensors"}
        pipe = DDPMPipeline.from_pretrained(tmp_path)
        assert all(torch.equal(a, b) for a, b in zip(made.module.parameters(), pipe.unet.parameters(), strict=True))
        torch.testing.assert_close(pipe.scheduler.alphas_cumprod, made.signal)
        loaded = load_generator(ModelSpec(model=str(tmp_path), device="cpu"))
        assert list(loaded.classes) == (list(world.CLASSES) if "data" in changes else [])
        for scheduler in ("model", "ddim"):
            sampler = SamplerSpec(scheduler=scheduler, steps=3, guidance=1)
            (picture,) = loaded.pictures([np.ones((3, 8, 8), np.float32)], [""], [0], sampler)
            assert picture.shape == (8, 8, 3)


PLAIN = [
    Adversarial(passes=1),
    Adversarial(passes=1, gradient="detached", inner="pgd"),
    Adversarial(passes=1, norm="linf"),
    InputNoise(gamma=0),
]


@pytest.mark.parametrize("perturbation", PLAIN, ids=repr)
@pytest.mark.parametrize("changes", [{"network": DROPPING}, {**FEW, "budget": LONG}], ids=["dropout", "loss-aware"])
def test_one_pass_is_plain_training_bit_for_bit(perturbation, changes, tmp_path):
    plain, losses = trained(recipe(**changes), tmp_path / "plain.pt")
    other, found = trained(recipe(**changes, perturbation=perturbation), tmp_path / "other.pt")
    assert found == losses
    assert same(plain, other)


class Thrice(DiffusionRecipe):
    """Plain training that takes every minibatch three times."""

    def updates(self, step: int) -> Iterator[float]:
        draw = self.draw(step)
        for number in range(3):
            loss = (draw.weight * self.errors(draw, self.start(step, draw), (step, number, 0))).mean()
            loss.backward()
            yield loss.item()


@pytest.mark.parametrize("gradient", ["full", "detached"])
def test_steps_of_no_length_are_plain_updates_on_the_same_draw(gradient, tmp_path):
    thrice, losses = trained(Thrice(settings(network=DROPPING)), tmp_path / "thrice.pt")
    still = Adversarial(passes=3, step=0, gradient=gradient)
    loop, found = trained(recipe(network=DROPPING, perturbation=still), tmp_path / "still.pt")
    assert found == pytest.approx(losses, rel=1e-6)
    assert same(thrice, loop)
    plain, _ = trained(recipe(network=DROPPING), tmp_path / "plain.pt")
    assert not same(plain, loop)


@pytest.mark.parametrize("gradient", ["full", "detached"])
@pytest.mark.parametrize("norm", ["l2", "linf"])
def test_pgd_holds_the_model_fixed(gradient, norm):
    """What it adds to the pictures is what the attack on the model as it was finds, and one update follows."""
    how = Adversarial(passes=4, step=0.02, inner="pgd", gradient=gradient, norm=norm)
    made = recipe(perturbation=how, variance="fixed")
    draw, network = made.draw(0), as_function(made.module)
    signal = made.signal[draw.time].view(-1, 1, 1, 1)
    noisy = noised(draw.clean, draw.noise, signal)
    error = objective(lambda x: network(x, draw.time, draw.label), noisy, draw.noise, signal, gradient)
    found = attack(error, noisy, how)
    (loss,) = made.updates(0)
    (told,) = made.told
    assert told.size == pytest.approx(size(found.delta).mean().item(), rel=1e-5)
    assert told.before == pytest.approx(found.before.mean().item(), rel=1e-4)
    assert loss == told.after == pytest.approx(found.after.mean().item(), rel=1e-4)
    assert gradient == "detached" or told.after > told.before


def test_free_shares_its_passes_between_the_attack_and_the_model():
    """Where no update follows the passes they are those of pgd, and each adds its gradient to the parameters."""
    free = recipe(perturbation=Adversarial(passes=3))
    pgd = recipe(perturbation=Adversarial(passes=3, inner="pgd"))
    losses = []
    for loss in free.updates(0):
        losses.append(loss)
        assert all(p.grad is not None for p in free.module.parameters() if p.requires_grad)
        free.module.zero_grad()
    assert len(losses) == 3
    assert list(pgd.updates(0)) == losses[-1:]
    assert free.told == pgd.told


def test_input_noise_moves_the_input_alone():
    """With a unit gaussian further away by gamma the input's variance is 1 + gamma^2 of the noise's."""
    gamma = 0.5
    made = recipe(perturbation=InputNoise(gamma=gamma), variance="fixed", budget=LONG)
    draw = made.draw(0)
    delta = made.start(0, draw) / (1 - made._signal(draw)).sqrt()
    assert delta.std().item() == pytest.approx(gamma, rel=0.05)
    assert abs((delta * draw.noise).mean().item()) < 0.05
    assert torch.equal(made._aim(draw, delta, made._signal(draw)), draw.noise)


@pytest.mark.parametrize("perturbation", [Unperturbed(), Adversarial(passes=3)], ids=repr)
def test_parts_add_up_to_the_whole(perturbation):
    whole, parts = (recipe(perturbation=perturbation, accumulate=count) for count in (1, 4))
    for one, other in zip(whole.updates(0), parts.updates(0), strict=True):
        assert one == pytest.approx(other, rel=1e-5)
        for a, b in zip(whole.module.parameters(), parts.module.parameters(), strict=True):
            torch.testing.assert_close(a.grad, b.grad, rtol=1e-3, atol=1e-5)


def test_the_variational_bound_takes_no_part_in_the_prediction_of_noise():
    """Nichol & Dhariwal stop its gradient there, so the mean learns from the plain loss whatever lambda is."""
    light, heavy = (recipe(vlb_weight=weight) for weight in (0.001, 1.0))
    grads = []
    for made in (light, heavy):
        made.loss(0).backward()
        grads.append(made.module.conv_out.weight.grad.split(3))
    torch.testing.assert_close(grads[0][0], grads[1][0])
    torch.testing.assert_close(grads[0][1] * 1000, grads[1][1])


def test_what_a_minibatch_showed_is_told_once():
    made = recipe(perturbation=Adversarial())
    for step in range(2):
        list(made.updates(step))
    told = made.figures()
    assert set(told) == {"attack before", "attack after", "attack size"}
    assert 0 < told["attack size"] <= 0.2
    assert made.figures() == {}


def test_a_few_steps_under_attack_lower_the_loss(tmp_path):
    budget = {"pictures": 160, "batch": 8, "warmup": 8, "half_life": 32, "learning_rate": 3e-3}
    made = recipe(perturbation=Adversarial(), variance="fixed", budget=budget)
    before = np.mean([made.loss(step).item() for step in range(1000, 1004)])
    trained(made, tmp_path / "run.pt")
    assert np.mean([made.loss(step).item() for step in range(1000, 1004)]) < 0.7 * before
