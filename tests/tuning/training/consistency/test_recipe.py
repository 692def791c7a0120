"""Distillation of the embedded model: what a step is, what the attack does, what is saved, exact resume."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from stages.models import zoo
from stages.models.loading import load_generator
from stages.models.spec import ModelSpec
from stages.randomness import rng
from stages.sampling import SamplerSpec
from tuning.training.consistency.recipe import ConsistencyRecipe
from tuning.training.consistency.settings import Attack, ConsistencySpec, Guidances
from tuning.training.diffusion.attack import ascend, size, slope
from tuning.training.zoo.loop import Loop, LoopSpec

LOOP = LoopSpec(steps=4, batch=4, learning_rate=1e-4, warmup_steps=1, checkpoint_steps=2, weight_decay=0.0)
Make = Callable[..., ConsistencyRecipe]


@pytest.fixture(scope="module")
def make(tmp_path_factory: pytest.TempPathFactory) -> Make:
    work = tmp_path_factory.mktemp("work")

    def made(**settings: object) -> ConsistencyRecipe:
        spec = ConsistencySpec.model_validate({"loop": LOOP, "images": 64} | settings)
        return ConsistencyRecipe(spec, zoo.path("text-to-image"), work)

    return made


def trained(recipe: ConsistencyRecipe, folder: Path, steps: int = 2) -> dict[str, torch.Tensor]:
    loop = Loop(recipe, recipe.spec.loop.model_copy(update={"steps": steps}), folder / "loop.pt")
    loop.run()
    return recipe.module.student.state_dict()


def assert_equal(a: dict[str, torch.Tensor], b: dict[str, torch.Tensor]) -> None:
    assert a.keys() == b.keys()
    assert all(torch.equal(a[name], b[name]) for name in a)


def test_the_student_starts_as_the_teacher_whatever_the_guidance(make: Make):
    recipe = make(guidance=Guidances(low=1, high=1))
    draw = recipe.draw(0)
    told = recipe.teacher(draw.noisy, draw.time, draw.text).sample
    for scale in (draw.scale, draw.scale + 3):
        seen = recipe._noise(recipe.module.student, draw._replace(scale=scale), draw.noisy, draw.time)
        torch.testing.assert_close(seen, told)
    torch.testing.assert_close(recipe.solver.step(draw.noisy, told, draw.time), draw.before, rtol=1e-4, atol=1e-4)


def test_one_pass_of_the_attack_is_plain_distillation_bit_for_bit(make: Make, tmp_path: Path):
    plain = trained(make(), tmp_path / "a")
    for orientation in ("target",):
        attacked = make(perturbation=Attack(passes=1, step=0.5, orientation=orientation))
        assert_equal(trained(attacked, tmp_path / orientation), plain)


def test_steps_of_no_length_are_so_many_updates_on_one_draw(make: Make, tmp_path: Path):
    attacked = make(perturbation=Attack(passes=2, step=0.0))
    repeated = make()
    draws = repeated.draw
    repeated.draw = lambda step: draws(step // 2)  # type: ignore[method-assign]
    once = trained(attacked, tmp_path / "a", steps=1)
    assert_equal(once, trained(repeated, tmp_path / "b", steps=2))


@pytest.mark.parametrize("orientation", ["target", "both"])
def test_the_attack_raises_the_distance_more_than_a_random_step_as_long(make: Make, orientation: str):
    attack = Attack(passes=2, step=0.5, max_norm=1.0, orientation=orientation)
    recipe = make(perturbation=attack)
    draw = recipe.draw(0)
    told, start = recipe.told(draw), torch.zeros_like(draw.noisy)
    delta = ascend(start, slope(lambda d: recipe.gap(draw, told, d), start), attack)
    torch.testing.assert_close(size(delta), torch.full((4,), 0.5))
    other = torch.randn(delta.shape, generator=torch.Generator().manual_seed(0))
    other *= (size(delta) / size(other)).view(-1, 1, 1, 1)
    with torch.no_grad():
        before, after, chance = (recipe.gap(draw, told, d) for d in (start, delta, other))
    assert (after > before).all()
    assert (after > chance).all()


def test_only_the_orientation_both_teaches_through_the_perturbed_side(make: Make):
    """Held fixed, the target's side adds no gradient; the student's own does."""
    found = {}
    for orientation in ("target", "both"):
        recipe = make(perturbation=Attack(orientation=orientation))
        draw = recipe.draw(0)
        recipe.errors(draw, torch.zeros_like(draw.noisy)).mean().backward()
        found[orientation] = torch.cat([p.grad.flatten() for p in recipe.module.student.parameters()])
        assert all(p.grad is None for p in recipe.module.target.parameters())
    assert not torch.allclose(found["target"], found["both"])


def test_a_killed_distillation_goes_on_with_the_same_losses(make: Make, tmp_path: Path):
    perturbation = Attack(passes=2, step=0.1)
    whole = Loop(make(perturbation=perturbation), LOOP, tmp_path / "a.pt").run()
    first = Loop(make(perturbation=perturbation), LOOP, tmp_path / "b.pt").run(2)
    rest = Loop(make(perturbation=perturbation), LOOP, tmp_path / "b.pt").run()
    assert first + rest == whole


def test_what_is_saved_draws_in_two_steps(make: Make, tmp_path: Path):
    recipe = make()
    recipe.save(recipe.module, tmp_path / "student")
    model = load_generator(ModelSpec(model=str(tmp_path / "student"), device="cpu"))
    assert model.takes_guidance()
    latent = rng(0, "latent").standard_normal(model.latent_shape(None), dtype=np.float32)
    (picture,) = model.pictures([latent], ["a photo of a red star"], [0], SamplerSpec(steps=2, guidance=4.0))
    assert picture.shape == (64, 64, 3)
    assert picture.std() > 10


def test_a_range_of_guidance_that_is_upside_down_is_refused():
    with pytest.raises(ValueError, match="expected low <= high, found 5 and 2"):
        Guidances(low=5, high=2)
