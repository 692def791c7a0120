import diffusers
import numpy as np
import pytest
import torch

from stages.degradations import BoxInpainting, GaussianDeblurring, RandomInpainting, SuperResolution
from stages.models.analytic import Gaussian, save
from stages.models.generator import to_pictures
from stages.models.loading import load_generator
from stages.models.spec import ModelSpec
from stages.models.zoo.world import render
from stages.randomness import rng
from stages.sampling import SamplerSpec
from stages.sampling.inverse import Observation, norm_scale, observe
from stages.sampling.measurement import Measurement

SIDE, SIZE = 8, 192
SEEDS = list(range(6))
OPERATORS = [
    BoxInpainting(share=0.5),
    RandomInpainting(share=0.6),
    SuperResolution(factor=4),
    GaussianDeblurring(sigma_px=1.5),
]
EULER = diffusers.EulerDiscreteScheduler(
    beta_schedule="linear", beta_start=0.0001, beta_end=0.02, timestep_spacing="leading"
)
VP = diffusers.DDIMScheduler(clip_sample=False)

pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")  # diffusers, in Euler


@pytest.fixture(scope="module")
def prior_by(tmp_path_factory):
    """A Gaussian fitted to the image world, asked in EDM's way and in that of a variance-preserving schedule."""
    pictures = render(range(400)).reshape(400, SIDE, 8, SIDE, 8, 3).mean(axis=(2, 4)) / 127.5 - 1
    rows = torch.from_numpy(pictures.transpose(0, 3, 1, 2)).flatten(1)
    model = Gaussian(rows.mean(0).view(3, SIDE, SIDE), rows.mT.cov() + 1e-3 * torch.eye(SIZE))
    folder = tmp_path_factory.mktemp("prior")
    save(model, folder / "edm")
    save(model, folder / "vp", VP)
    return {name: load_generator(ModelSpec(model=str(folder / name))) for name in ("edm", "vp")}


def latents(generator, seeds=SEEDS):
    shape = generator.latent_shape(None)
    return [rng(seed, "latent").standard_normal(shape, dtype=np.float32) for seed in seeds]


def drawn(generator, scheduler, measurement, prompts=("",), **settings):
    """The pictures in [-1, 1], unclipped, with or without a measurement."""
    spec = SamplerSpec(**({"scheduler": scheduler, "steps": 25, "guidance": 1, "measurement": measurement} | settings))
    generator.check(spec)
    x = torch.from_numpy(np.stack(latents(generator)))
    texts = list(prompts) * (len(x) // len(prompts))
    if measurement is None:
        pixels = generator.draw(x, texts, spec, [torch.Generator()] * len(x))
    else:
        pixels = generator.restore(x, texts, SEEDS, spec, measurement)
    return pixels.permute(0, 3, 1, 2) * 2 - 1


def distance(measurement, pictures):
    """||z - A x||, row by row."""
    operator, values = observe(measurement, SEEDS, pictures.shape[-1])
    return Observation(measurement, operator, values, lambda x: x).distance(pictures)


@pytest.mark.parametrize(("model", "scheduler"), [("edm", "edm_euler"), ("vp", "ddim"), ("vp", "euler")])
@pytest.mark.parametrize("operator", OPERATORS, ids=repr)
def test_a_guided_sample_is_nearer_its_measurement_in_every_row(prior_by, model, scheduler, operator):
    measurement = Measurement(operator=operator)
    guided = distance(measurement, drawn(prior_by[model], scheduler, measurement))
    free = distance(measurement, drawn(prior_by[model], scheduler, None))
    assert (guided < 0.95 * free).all()
    assert guided.mean() < 0.75 * free.mean()


@pytest.mark.parametrize("family", ["pixel_unet", "pixel_transformer", "dit"])
def test_it_works_behind_any_network(generator_of, family):
    generator, measurement = generator_of(family), Measurement(operator=SuperResolution(factor=4), scale=2.0)
    scheduler, prompts = ("model", ["n3"]) if family == "dit" else ("edm_euler", ["heart", ""])
    options = {"prompts": prompts, "steps": 10, "guidance": 2.0}
    guided = distance(measurement, drawn(generator, scheduler, measurement, **options))
    free = distance(measurement, drawn(generator, scheduler, None, **options))
    assert (guided < free).all()


@pytest.mark.parametrize("family", ["pixel_unet", "pixel_transformer"])
@pytest.mark.parametrize("operator", OPERATORS, ids=repr)
def test_scale_0_is_plain_sampling_bit_for_bit(generator_of, family, operator):
    generator, measurement = generator_of(family), Measurement(operator=operator, scale=0)
    assert torch.equal(drawn(generator, "edm_euler", measurement), drawn(generator, "edm_euler", None))


@pytest.mark.parametrize("operator", OPERATORS, ids=repr)
def test_a_step_is_the_same_step_in_every_state(prior_by, operator):
    """Euler's state is DDIM's over the signal, and both visit the same times: the same algorithm in two units."""
    measurement = Measurement(operator=operator)
    generator = prior_by["vp"]
    own, generator.pipe = generator.pipe, type(generator.pipe)(generator.pipe.model, EULER)
    try:
        by_euler = drawn(generator, "model", measurement)
    finally:
        generator.pipe = own
    torch.testing.assert_close(by_euler, drawn(generator, "ddim", measurement), atol=2e-3, rtol=0)


def test_the_pull_is_the_gradient_by_finite_differences(prior_by):
    """One step from a given state: what the measurement adds is -scale d||z - A D||/dx, x variance-preserving."""
    generator, measurement = prior_by["vp"], Measurement(operator=SuperResolution(factor=4), scale=1.0)
    x = torch.from_numpy(np.stack(latents(generator)))
    pulled = drawn(generator, "ddim", measurement, steps=1) - drawn(generator, "ddim", None, steps=1)
    model, at = generator.pipe.model, generator.precondition(torch.tensor(0))
    direction = torch.from_numpy(rng(0, "direction").standard_normal(x.shape))
    ends = [
        distance(measurement, model.denoise((x + h * direction) * at.size, at.sigma).float()).double()
        for h in (0.01, -0.01)
    ]
    slope = (ends[0] - ends[1]) / 0.02
    torch.testing.assert_close(-(pulled * direction).sum((1, 2, 3)), slope, rtol=0.02, atol=0.02)


def test_a_scale_for_the_square_is_converted_to_one_for_the_norm():
    """grad ||r||^2 = 2 ||r|| grad ||r||, by autograd."""
    r = torch.randn(4, 10, generator=torch.Generator().manual_seed(0), dtype=torch.float64, requires_grad=True)
    norm = r.norm(dim=1)
    (of_norm,) = torch.autograd.grad(norm.sum(), r, retain_graph=True)
    (of_square,) = torch.autograd.grad((norm**2).sum(), r)
    converted = norm_scale(0.7, norm.detach(), "squared_norm")
    torch.testing.assert_close(converted[:, None] * of_norm, 0.7 * of_square)
    assert norm_scale(0.7, norm.detach(), "norm").tolist() == [0.7] * 4


def test_both_conventions_draw_something_different(prior_by):
    options = [{"scale": 0.3}, {"scale": 0.3, "gradient_of": "squared_norm"}]
    pictures = [drawn(prior_by["vp"], "ddim", Measurement(operator=OPERATORS[2], **option)) for option in options]
    assert not torch.equal(*pictures)


def test_a_row_measures_the_same_whatever_its_batch():
    measurement = Measurement(operator=RandomInpainting())
    operator, values = observe(measurement, [5, 6], 16)
    _, alone = observe(measurement, [6], 16)
    assert torch.equal(values[1:], alone)
    assert (values[:, 0][operator.keep[:, 0] == 0] == 0).all()


def test_the_measurements_noise_has_its_standard_deviation():
    clean = observe(Measurement(operator=SuperResolution(factor=2), noise=0), list(range(50)), 64)[1]
    noisy = observe(Measurement(operator=SuperResolution(factor=2), noise=0.05), list(range(50)), 64)[1]
    assert float((noisy - clean).std()) == pytest.approx(0.05, rel=0.02)


def test_pictures_of_a_batch_are_those_of_the_rows_alone(generator_of):
    generator, measurement = generator_of("pixel_unet"), Measurement(operator=BoxInpainting())
    spec = SamplerSpec(scheduler="edm_euler", steps=4, guidance=1, measurement=measurement)
    x = latents(generator, SEEDS[:3])
    together = generator.pictures(x, [""] * 3, [0, 1, 2], spec)
    swapped = generator.pictures([x[2], x[1], x[0]], [""] * 3, [2, 1, 0], spec)
    for one, other in zip(together, reversed(swapped), strict=True):
        np.testing.assert_array_equal(one, other)
    free = generator.pictures(x, [""] * 3, [0, 1, 2], spec.model_copy(update={"measurement": None}))
    assert (together[0] != free[0]).any()
    assert to_pictures(torch.zeros(1, 8, 8, 3))[0].shape == together[0].shape


@pytest.mark.parametrize(
    ("family", "settings", "message"),
    [
        ("stable_diffusion_1", {}, "PNDMScheduler, cannot follow a measurement; set scheduler to ddim"),
        ("pixel_ddpm", {}, "DDPMScheduler, cannot follow a measurement"),
        ("stable_diffusion_3", {}, "FlowMatchEulerDiscreteScheduler, cannot follow a measurement"),
    ],
)
def test_a_model_whose_scheduler_cannot_follow(generator_of, family, settings, message):
    spec = SamplerSpec(guidance=1, steps=4, measurement=Measurement(operator=BoxInpainting()), **settings)
    with pytest.raises(ValueError, match=message):
        generator_of(family).check(spec)


def test_what_a_row_cannot_measure_is_refused(generator_of):
    generator = generator_of("pixel_unet")
    factor = Measurement(operator=SuperResolution(factor=3))
    with pytest.raises(ValueError, match="factor=3 must divide the picture's side, which is 8"):
        generator.check_measurement(SamplerSpec(measurement=factor), 0)
    with pytest.raises(ValueError, match="whose side is a multiple of 24, found 64 x 64"):
        generator.check_measurement(SamplerSpec(measurement=factor, size_px=24), 0)
    with pytest.raises(ValueError, match="PixArtAlphaPipeline runs its own loop, which follows no measurement"):
        generator_of("pixart").check_measurement(SamplerSpec(measurement=factor), 0)
    with pytest.raises(ValueError, match="use `pictures`, which knows the seeds"):
        generator.draw(torch.zeros(1, 3, 8, 8), [""], SamplerSpec(measurement=factor), [])
