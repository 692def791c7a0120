import diffusers
import numpy as np
import pytest
import torch

from stages.models.generator import step_noise, to_pictures, unscaled
from stages.models.loading import load_generator
from stages.models.spec import ModelSpec
from stages.sampling import SamplerSpec

PROMPTS = ["a cat", "a dog", "the end"]
SIZE = {"flux": 16, "flux_schnell": 16}
CLASSES = {
    "ddim": diffusers.DDIMScheduler,
    "ddpm": diffusers.DDPMScheduler,
    "pndm": diffusers.PNDMScheduler,
    "euler": diffusers.EulerDiscreteScheduler,
    "euler_ancestral": diffusers.EulerAncestralDiscreteScheduler,
    "dpmpp": diffusers.DPMSolverMultistepScheduler,
    "lcm": diffusers.LCMScheduler,
    "flow_euler": diffusers.FlowMatchEulerDiscreteScheduler,
    "heun": diffusers.HeunDiscreteScheduler,
}

pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")  # diffusers, in Euler


def sampler(family, **settings):
    return SamplerSpec(**({"steps": 4, "guidance": 3.0, "size_px": SIZE.get(family)} | settings))


def latents(generator, spec, rows=3):
    return torch.randn(rows, *generator.latent_shape(spec.size_px), generator=torch.Generator().manual_seed(1))


def noise(rows=3):
    return [step_noise(seed) for seed in range(rows)]


def by_diffusers(family, pipe, x, spec):
    """The pictures of the pipeline's own `__call__`."""
    options = {"guidance_scale": spec.guidance, "num_inference_steps": spec.steps, "latents": x.clone()}
    if family.startswith("flux"):
        packed = pipe._pack_latents(x, *x.shape)
        options |= {"latents": packed, "height": spec.size_px, "width": spec.size_px}
    if family == "flux_schnell":
        options |= {"true_cfg_scale": spec.guidance, "negative_prompt": [""] * len(x)}
    if family == "pixart":
        options |= {"use_resolution_binning": False}
    if spec.eta:
        options |= {"eta": spec.eta}
    own = pipe.scheduler
    if spec.scheduler != "model":
        pipe.scheduler = CLASSES[spec.scheduler].from_config(own.config)
        if "clip_sample" in pipe.scheduler.config:
            pipe.scheduler.register_to_config(clip_sample=False)
    try:
        return pipe(prompt=PROMPTS[: len(x)], generator=noise(len(x)), output_type="np", **options).images
    finally:
        pipe.scheduler = own


U_NETS = ("stable_diffusion_1", "stable_diffusion_2", "stable_diffusion_xl")
CASES = [
    *((family, {"scheduler": name}) for family in U_NETS for name in ("model", *list(CLASSES)[:7])),
    *((family, {"scheduler": "heun"}) for family in U_NETS),
    *((family, {"scheduler": "ddim", "eta": 0.7}) for family in U_NETS[:2]),
    *((family, {"guidance": 1.0}) for family in (*U_NETS, "stable_diffusion_3", "flux_schnell")),
    *(("latent_consistency", {"scheduler": name, "guidance": 8.5}) for name in ("model", "lcm")),
    *((family, {"scheduler": name}) for family in ("stable_diffusion_3", "flux") for name in ("model", "flow_euler")),
    ("flux_schnell", {}),
    ("pixart", {}),
    ("pixart", {"scheduler": "euler_ancestral"}),
    ("stable_diffusion_1", {"size_px": 24}),
]


@pytest.mark.parametrize(("family", "settings"), CASES, ids=str)
def test_our_loop_equals_the_pipeline_of_diffusers(generator_of, family, settings):
    generator, spec = generator_of(family), sampler(family, **settings)
    x = latents(generator, spec)
    ours = generator.draw(x, PROMPTS, spec, noise()).clamp(0, 1).numpy()
    np.testing.assert_allclose(ours, by_diffusers(family, generator.pipe, x, spec), atol=5e-6)
    assert ours.std() > 0.05


def test_dynamic_shifting_equals_diffusers(generator_of):
    generator, spec = generator_of("stable_diffusion_3"), sampler("stable_diffusion_3")
    own = generator.pipe.scheduler
    generator.pipe.scheduler = type(own).from_config(own.config, use_dynamic_shifting=True)
    try:
        x = latents(generator, spec)
        ours = generator.draw(x, PROMPTS, spec, noise()).clamp(0, 1).numpy()
        theirs = by_diffusers("stable_diffusion_3", generator.pipe, x, spec)
    finally:
        generator.pipe.scheduler = own
    np.testing.assert_allclose(ours, theirs, atol=5e-6)


def test_guidance_0_ignores_the_prompt_and_1_is_the_prompt_alone(generator_of):
    generator = generator_of("stable_diffusion_1")
    x = latents(generator, sampler(""), rows=2)
    x[1] = x[0]
    calls = []
    hook = generator.pipe.unet.register_forward_pre_hook(lambda _, args: calls.append(len(args[0])))
    without = generator.draw(x, PROMPTS[:2], sampler("", guidance=0), noise(2))
    alone = generator.draw(x, PROMPTS[:2], sampler("", guidance=1), noise(2))
    generator.draw(x, PROMPTS[:2], sampler("", guidance=0.5), noise(2))
    hook.remove()
    assert torch.equal(without[0], without[1])
    assert not torch.equal(alone[0], alone[1])
    steps = len(calls) // 3
    assert calls == [2] * steps + [2] * steps + [4] * steps


@pytest.mark.parametrize("family", ["stable_diffusion_1", "stable_diffusion_xl", "stable_diffusion_3", "flux"])
def test_text_is_encoded_once_per_prompt(folder_of, family):
    generator = load_generator(ModelSpec(model=folder_of(family)))
    calls = []
    generator.pipe.text_encoder.register_forward_pre_hook(lambda *_: calls.append(1))
    spec = sampler(family, steps=1)
    for _ in range(2):
        generator.draw(latents(generator, spec), ["a cat", "a dog", "a cat"], spec, noise())
    assert len(calls) == (2 if family == "flux" else 3)  # the prompts, and no prompt where guidance is classifier-free


def test_no_prompt_is_zeros_for_xl_that_says_so(generator_of):
    generator = generator_of("stable_diffusion_xl")
    assert not any(value.any() for value in generator.encode(None).values())
    assert all(value.any() for value in generator.encode("").values())


@pytest.mark.parametrize("scheduler", ["ddpm", "euler_ancestral", "lcm"])
def test_step_noise_comes_from_the_row_alone(generator_of, scheduler):
    generator, spec = generator_of("stable_diffusion_1"), sampler("", scheduler=scheduler)
    x = latents(generator, spec)[:1].repeat(3, 1, 1, 1)
    seeds = [5, 6, 5]
    drawn = generator.draw(x, ["a cat"] * 3, spec, [step_noise(seed) for seed in seeds])
    assert torch.equal(drawn[0], drawn[2])
    assert not torch.equal(drawn[0], drawn[1])


@pytest.mark.parametrize(
    ("family", "prompt", "lost"),
    [
        ("stable_diffusion_1", "a cat", None),
        ("stable_diffusion_1", "abcdefghijklmn", None),
        ("stable_diffusion_1", "abcdefghijklmnop", "op"),
        ("stable_diffusion_xl", "abcdefghijklmnop", "op"),
        ("stable_diffusion_3", "abcdefghijklmnop", None),
        ("stable_diffusion_3", "x" * 260, "x" * 6),
        ("flux", "abcdefghijklmnop", None),
        ("pixart", "a cat", None),
    ],
)
def test_truncated_is_what_no_encoder_sees(generator_of, family, prompt, lost):
    assert generator_of(family).truncated(prompt) == lost


@pytest.mark.parametrize("family", ["stable_diffusion_1", "stable_diffusion_xl", "stable_diffusion_3", "flux"])
def test_half_precision_draws_nearly_the_same(folder_of, generator_of, family):
    spec = sampler(family, steps=2)
    half = load_generator(ModelSpec(model=folder_of(family), dtype="bfloat16"))
    x = latents(half, spec)
    pictures = [generator.draw(x, PROMPTS, spec, noise()) for generator in (half, generator_of(family))]
    assert (pictures[0] - pictures[1]).abs().mean() < 0.05


def test_size_that_does_not_fit_is_refused(generator_of):
    with pytest.raises(ValueError, match="size_px of FluxPipeline must be a multiple of 4, but is 18"):
        generator_of("flux").check(sampler("", size_px=18))


def test_unscaled_undoes_mean_and_std(generator_of):
    config = dict(generator_of("stable_diffusion_1").pipe.vae.config) | {
        "latents_mean": [1.0, 2.0, 3.0, 4.0],
        "latents_std": [2.0] * 4,
        "scaling_factor": 0.5,
    }
    out = unscaled(torch.ones(1, 4, 1, 1), diffusers.configuration_utils.FrozenDict(config))
    assert out.flatten().tolist() == [5.0, 6.0, 7.0, 8.0]


def test_pictures_that_are_not_finite_are_missing():
    pixels = torch.tensor([0.5, float("nan"), float("inf"), 2.0]).view(4, 1, 1, 1).expand(4, 2, 2, 3)
    good, nan, infinite, bright = to_pictures(pixels)
    assert (good == 128).all()
    assert nan is None
    assert infinite is None
    assert (bright == 255).all()
