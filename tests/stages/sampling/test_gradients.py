import weakref
from functools import cache
from typing import get_args

import diffusers
import pytest
import torch
from pydantic import TypeAdapter, ValidationError
from torch.nn.functional import cosine_similarity

from stages.models.generator import to_pictures
from stages.models.schedules import schedule
from stages.randomness import rng
from stages.sampling import SamplerSpec
from stages.sampling.ddim import Ddim
from stages.sampling.gradients import Adjoint, AnyGradient, Cost, Full, Residual, pictures
from stages.sampling.loop import guided, sample
from stages.sampling.reversible import Walk, recomputed, stride

TABLE = [Full(), Residual(last_steps=2), Adjoint(slots=3), Adjoint(slots=1), Adjoint()]
EXACT = [Full(), Adjoint(slots=1), Adjoint(slots=3), Adjoint()]
CPU = torch.device("cpu")


class Network:
    """A small nonlinear denoiser in double precision, under a condition."""

    def __init__(self):
        draw = torch.Generator().manual_seed(1)
        self.first, self.second = (torch.randn(3, 3, 3, 3, generator=draw, dtype=torch.float64) / 3 for _ in range(2))
        self.calls = 0

    def predict(self, x, t, condition):
        self.calls += 1
        hidden = torch.tanh(torch.conv2d(x, self.first, padding=1) + condition["c"].view(-1, 1, 1, 1) + t / 1000)
        return torch.conv2d(hidden, self.second, padding=1) + 0.5 * x


def walk(steps=6, uneven=False, scale=3.0, rows=2):
    """The denoiser under classifier-free guidance, over diffusers' DDIM or ours."""
    network = Network()
    conditions = [{"c": torch.linspace(low, 1.0, rows, dtype=torch.float64)} for low in (0.3, -0.5)]
    predict = guided(network, *conditions, scale)
    spacing = "linspace" if uneven else "leading"
    scheduler = diffusers.DDIMScheduler(clip_sample=False, timestep_spacing=spacing, steps_offset=0)
    spec = SamplerSpec(scheduler="ddim", steps=steps)
    made = schedule(scheduler, spec, {"num_inference_steps": steps}, CPU)
    assert isinstance(made, Ddim) == uneven
    return Walk(made, predict), network


def seeds(*shape, dtype=torch.float64):
    return torch.from_numpy(rng(0, "latent").standard_normal(shape)).to(dtype)


def objective(clean):
    return (torch.sin(2 * clean) + clean**2 / 5).flatten(1).sum(1)


def gradient_of(estimator, steps=6, **settings):
    way, _ = walk(steps, **settings)
    x = seeds(2, 3, 4, 4).requires_grad_()
    (found,) = torch.autograd.grad(objective(estimator.clean(way, x)).sum(), x)
    return found


@cache
def differences(**settings):
    """Central differences in every entry of the seed latent."""
    way, _ = walk(**settings)
    x, size = seeds(2, 3, 4, 4), 1e-5
    found = torch.zeros_like(x)
    for at in range(x[0].numel()):
        moved = torch.zeros_like(x).flatten(1)
        moved[:, at] = size
        ends = [objective(way.run(x + sign * moved.view_as(x), 0, len(way))) for sign in (1, -1)]
        found.flatten(1)[:, at] = (ends[0] - ends[1]) / (2 * size)
    return found


def cosines(a, b):
    return cosine_similarity(a.flatten(1), b.flatten(1))


@pytest.mark.parametrize("uneven", [False, True])
@pytest.mark.parametrize("estimator", EXACT, ids=repr)
def test_exact_estimators_agree_with_finite_differences(estimator, uneven):
    found, expected = gradient_of(estimator, uneven=uneven), differences(uneven=uneven)
    assert (cosines(found, expected) > 0.99).all()
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("last_steps", [1, 2, 5])
def test_the_residual_points_the_same_way(last_steps):
    found = cosines(gradient_of(Residual(last_steps=last_steps)), differences())
    assert (found > 0).all()


def test_the_residual_weight_scales_the_gradient_only():
    half, quarter = (gradient_of(Residual(last_steps=2, weight=w)) for w in (0.5, 0.75))
    torch.testing.assert_close(half, 2 * quarter)


@pytest.mark.parametrize("uneven", [False, True])
@pytest.mark.parametrize("estimator", TABLE, ids=repr)
def test_the_value_is_that_of_the_sampling_loop(estimator, uneven):
    way, _ = walk(uneven=uneven)
    fresh, _ = walk(uneven=uneven)
    x = seeds(2, 3, 4, 4)
    torch.testing.assert_close(estimator.clean(way, x), sample(fresh.schedule, fresh.predict, x, []), rtol=0, atol=0)


@pytest.mark.parametrize("estimator", TABLE, ids=repr)
@pytest.mark.parametrize("steps", [6, 13])
def test_it_costs_what_it_says(estimator, steps):
    way, network = walk(steps)
    x = seeds(2, 3, 4, 4).requires_grad_()
    torch.autograd.grad(objective(estimator.clean(way, x)).sum(), x)
    assert network.calls == estimator.cost(steps).forwards


class Held:
    """Counts the numbers that backward graphs hold, now and at most."""

    def __init__(self):
        self.now = self.most = 0

    def pack(self, tensor):
        return Packed(self, tensor)

    def __enter__(self):
        self.hooks = torch.autograd.graph.saved_tensors_hooks(self.pack, lambda packed: packed.tensor)
        self.hooks.__enter__()
        return self

    def __exit__(self, *error):
        self.hooks.__exit__(*error)


class Packed:
    def __init__(self, held, tensor):
        self.held, self.tensor = held, tensor
        held.now += tensor.numel()
        held.most = max(held.most, held.now)

    def __del__(self):
        self.held.now -= self.tensor.numel()


def most_alive(estimator, steps):
    """The most states of the walk that live beside each other."""
    way, _ = walk(steps)
    alive, most, step = set(), 0, way.step

    def counted(number, x):
        nonlocal most
        after = step(number, x)
        alive.add(key := object())
        weakref.finalize(after.untyped_storage(), alive.discard, key)
        most = max(most, len(alive))
        return after

    way.step = counted
    x = seeds(2, 3, 4, 4).requires_grad_()
    torch.autograd.grad(objective(estimator.clean(way, x)).sum(), x)
    return most


def most_held(estimator, steps):
    way, _ = walk(steps)
    x = seeds(2, 3, 4, 4).requires_grad_()
    with Held() as held:
        clean = way.run(x, 0, steps) if estimator is None else estimator.clean(way, x)
        torch.autograd.grad(objective(clean).sum(), x)
    return held.most


def test_memory_of_the_adjoint_does_not_grow_with_the_steps():
    short, long = (most_held(Adjoint(slots=4), steps) for steps in (8, 48))
    assert short == long
    assert most_held(None, 48) > 5 * most_held(None, 8), "the count sees nothing"
    assert long < most_held(None, 8)
    assert most_alive(Adjoint(slots=4), 48) == most_alive(Adjoint(slots=4), 20) <= 2 * 4 + 3
    assert most_alive(Full(), 48) > 40


@pytest.mark.parametrize("slots", range(1, 6))
def test_strides_are_optimal(slots):
    """Against the recursion that they solve, by brute force."""

    @cache
    def best(steps, slots):
        if steps == 1:
            return 0
        if slots == 1:
            return steps * (steps - 1) // 2
        return min(m + best(steps - m, slots - 1) + best(m, slots) for m in range(1, steps))

    @cache
    def ours(steps, slots):
        if steps == 1:
            return 0
        if slots == 1:
            return steps * (steps - 1) // 2
        length = stride(steps, slots)
        assert 1 <= length < steps
        return length + ours(steps - length, slots - 1) + ours(length, slots)

    for steps in range(1, 60):
        assert ours(steps, slots) == best(steps, slots)
        assert recomputed(steps, slots) == best(steps, slots) - (steps - 1)


FAMILIES = ["stable_diffusion_1", "stable_diffusion_xl", "latent_learned", "pixel_text", "pixel_ddpm"]


def drawn(generator_of, family):
    generator = generator_of(family)
    guidance = 1.0 if family == "pixel_ddpm" else 3.0
    prompts = ["", ""] if family == "pixel_ddpm" else ["a fish", "a tree"]
    sampler = SamplerSpec(scheduler="ddim", steps=5, guidance=guidance)
    return generator, seeds(2, *generator.latent_shape(None), dtype=torch.float32), prompts, sampler


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("estimator", [Full(), Residual(last_steps=2), Adjoint(slots=2)], ids=repr)
def test_pictures_are_those_of_the_generator(generator_of, family, estimator):
    generator, latents, prompts, sampler = drawn(generator_of, family)
    expected = generator.pictures(list(latents.numpy()), prompts, [0, 1], sampler)
    found = to_pictures(pictures(generator, latents, prompts, sampler, estimator).detach())
    for one, other in zip(found, expected, strict=True):
        assert abs(one.astype(int) - other.astype(int)).max() <= 1


@pytest.mark.parametrize("family", FAMILIES)
def test_full_and_adjoint_agree_on_real_classes(generator_of, family):
    """In single precision, with a prompt per row; the seeds of one row move its own picture only."""
    generator, latents, prompts, sampler = drawn(generator_of, family)
    found = []
    for estimator in (Full(), Adjoint(slots=2)):
        x = latents.clone().requires_grad_()
        first, second = pictures(generator, x, prompts, sampler, estimator).flatten(1).square().sum(1)
        (gradient,) = torch.autograd.grad(first + 0 * second, x)
        found.append(gradient)
    assert cosines(*found)[0] > 0.99
    assert all((gradient[1] == 0).all() and (gradient[0] != 0).any() for gradient in found)


def test_full_reaches_the_condition():
    way, _ = walk()
    shift = torch.zeros(2, 1, 1, 1, dtype=torch.float64, requires_grad=True)
    plain = way.predict
    way.predict = lambda x, t: plain(x, t) + shift
    (found,) = torch.autograd.grad(objective(Full().clean(way, seeds(2, 3, 4, 4))).sum(), shift)
    assert (found != 0).all()


@pytest.mark.parametrize(
    ("sampler", "message"),
    [
        ({"scheduler": "ddim", "eta": 0.5}, "scheduler 'ddim' with eta=0, found 'ddim'"),
        ({"scheduler": "euler"}, "scheduler 'ddim' with eta=0, found 'euler'"),
        ({"scheduler": "ddim", "upsampling": {}}, "neither measurement nor upsampling"),
    ],
)
def test_other_samplers_are_refused(generator_of, sampler, message):
    generator, latents, prompts, _ = drawn(generator_of, "stable_diffusion_1")
    with pytest.raises(ValueError, match=message):
        pictures(generator, latents, prompts, SamplerSpec(steps=5, **sampler), Full())


def test_a_generator_with_a_loop_of_its_own_is_refused(generator_of):
    with pytest.raises(TypeError, match="WholePipeline"):
        pictures(generator_of("pixart"), seeds(1, 4, 8, 8), ["a"], SamplerSpec(scheduler="ddim"), Full())


def test_a_residual_of_all_steps_is_refused():
    with pytest.raises(ValueError, match="last_steps below the sampler's 6 steps, found 6"):
        gradient_of(Residual(last_steps=6))


def test_the_family():
    parse = TypeAdapter(AnyGradient)
    assert all(parse.validate_json(one.model_dump_json()) == one for one in TABLE)
    assert {type(one) for one in TABLE} == set(get_args(get_args(AnyGradient)[0]))
    assert Full().cost(50) == Cost(100, 50)
    assert Residual().cost(50) == Cost(55, 5)
    with pytest.raises(ValidationError):
        Adjoint(slots=0)
