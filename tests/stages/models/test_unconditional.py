import json

import diffusers
import numpy as np
import pytest
import torch

from stages.models.generator import step_noise
from stages.models.loading import load_generator
from stages.models.spec import ModelSpec
from stages.models.unconditional import LabelledNetwork
from stages.sampling import SamplerSpec
from tests.stages.models.tiny import save

CLASSED = ("pixel_unet", "pixel_transformer")
FAMILIES = (*CLASSED, "pixel_unconditional", "pixel_ddpm", "dit", "latent_unconditional")


def sampler(**settings):
    return SamplerSpec(**({"steps": 4, "guidance": 1.0} | settings))


def latents(generator, rows=3):
    return torch.randn(rows, *generator.latent_shape(None), generator=torch.Generator().manual_seed(1))


def draw(generator, prompts, spec, x=None):
    x = latents(generator, len(prompts)) if x is None else x
    return generator.draw(x, prompts, spec, [step_noise(seed) for seed in range(len(x))])


@pytest.mark.parametrize("family", FAMILIES)
def test_every_family_draws_behind_the_seam(generator_of, family):
    generator = generator_of(family)
    assert isinstance(generator, LabelledNetwork)
    side = 16 if family in ("dit", "latent_unconditional") else 8
    assert generator.side_px(sampler()) == side
    pictures = draw(generator, [""] * 3, sampler())
    assert pictures.shape == (3, side, side, 3)
    assert pictures.isfinite().all()
    assert (pictures[0] != pictures[1]).any()
    assert generator.truncated("heart") is None


@pytest.mark.parametrize("scheduler", ["model", "ddpm"])
def test_our_loop_equals_the_pipeline_of_ddpm(generator_of, scheduler):
    """Its `__call__` draws its first latent from the generators that then draw its steps."""
    generator = generator_of("pixel_ddpm")
    theirs = generator.pipe(3, [step_noise(n) for n in range(3)], 5, output_type="np").images
    noise = [step_noise(n) for n in range(3)]
    x = torch.stack([torch.randn(3, 8, 8, generator=one) for one in noise])
    ours = generator.draw(x, [""] * 3, sampler(steps=5, scheduler=scheduler), noise)
    np.testing.assert_allclose(ours.clamp(0, 1).numpy(), theirs, atol=5e-6)
    assert theirs.std() > 0.05


@pytest.mark.parametrize("guidance", [1.0, 4.0])
def test_our_loop_equals_the_pipeline_of_dit(generator_of, guidance):
    generator = generator_of("dit")
    options = {"num_inference_steps": 4, "guidance_scale": guidance, "output_type": "np"}
    theirs = generator.pipe([7, 999], generator=[step_noise(n) for n in range(2)], **options).images
    x = torch.stack([torch.randn(4, 8, 8, generator=step_noise(n)) for n in range(2)])
    ours = draw(generator, ["other 7", "n999"], sampler(guidance=guidance), x)
    np.testing.assert_allclose(ours.clamp(0, 1).numpy(), theirs, atol=5e-6)
    assert generator.null == 1000


def test_our_loop_equals_the_pipeline_of_latent_diffusion(generator_of):
    generator, shape = generator_of("latent_unconditional"), (1, 3, 8, 8)
    theirs = generator.pipe(generator=step_noise(0), num_inference_steps=4, output_type="np").images
    ours = draw(generator, [""], sampler(), torch.randn(shape, generator=step_noise(0)))
    np.testing.assert_allclose(ours.clamp(0, 1).numpy(), theirs, atol=5e-6)


@pytest.mark.parametrize("family", CLASSED)
def test_a_class_name_draws_its_class_and_the_empty_prompt_none(generator_of, family):
    generator = generator_of(family)
    assert (generator.classes, generator.null) == ({"circle": 0, "square": 1, "heart": 2}, 3)
    x = latents(generator, 1)
    drawn = {prompt: draw(generator, [prompt], sampler(), x) for prompt in ("circle", "heart", "")}
    assert len({picture.numpy().tobytes() for picture in drawn.values()}) == 3
    unguided = draw(generator, ["circle"], sampler(guidance=0), x)
    assert torch.equal(unguided, drawn[""])
    assert not torch.equal(draw(generator, ["circle"], sampler(guidance=3), x), drawn["circle"])
    calls = []
    hook = generator.network.register_forward_pre_hook(
        lambda _, __, kwargs: calls.append(kwargs["class_labels"].tolist()), with_kwargs=True
    )
    draw(generator, ["heart", ""], sampler(guidance=3, steps=1))
    hook.remove()
    assert calls == [[3, 3, 2, 3]]


@pytest.mark.parametrize("family", CLASSED)
@pytest.mark.parametrize("scheduler", ["model", "edm_euler", "edm_dpmpp", "heun"])
def test_edm_starts_from_sigma_max_times_the_seeds_noise(generator_of, family, scheduler):
    """Karras et al. 2022, Alg. 1, line 2, whatever diffusers' `init_noise_sigma` says."""
    generator, seen = generator_of(family), []
    hook = generator.network.register_forward_pre_hook(lambda _, args: seen.append(args[0]))
    x = latents(generator, 2)
    draw(generator, ["", "heart"], sampler(scheduler=scheduler), x)
    hook.remove()
    torch.testing.assert_close(seen[0] * (80**2 + 0.5**2) ** 0.5, 80 * x, rtol=1e-6, atol=1e-5)
    assert len(seen) == (7 if scheduler == "heun" else 4)


@pytest.mark.parametrize(
    ("family", "prompt", "message"),
    [
        ("pixel_unconditional", "a cat", "must be empty, but is 'a cat'"),
        ("pixel_unconditional", " ", "must be empty, but is ' '"),
        ("pixel_unet", "cat", "must be empty or one of circle, square, heart, but is 'cat'"),
        ("dit", "cat", r"must be empty or one of n0, .*, \.\.\., but is 'cat'"),
        ("stable_diffusion_1", "", "the prompt must be a text, but is ''"),
    ],
)
def test_a_prompt_that_the_model_cannot_draw(generator_of, family, prompt, message):
    with pytest.raises(ValueError, match=message):
        generator_of(family).check_prompt(prompt)


@pytest.mark.parametrize(
    ("family", "settings", "message"),
    [
        ("pixel_unconditional", {"guidance": 7.5}, "guidance=7.5, but this model takes no class; set guidance=1"),
        ("pixel_unet", {"size_px": 9}, "size_px of this model must be a multiple of 2, but is 9"),
        ("dit", {"size_px": 18}, "size_px of this model must be a multiple of 4, but is 18"),
        ("pixel_unet", {"scheduler": "ddim"}, "'ddim' cannot run a model that is of EDM .*; use 'model' or 'heun' or"),
        ("pixel_ddpm", {"scheduler": "edm_euler"}, "'edm_euler' cannot run a model that predicts epsilon"),
    ],
)
def test_a_sampler_that_the_model_cannot_run(generator_of, family, settings, message):
    with pytest.raises(ValueError, match=message) as caught:
        generator_of(family).check(sampler(**settings))
    assert "\n" not in str(caught.value)


def test_another_size(generator_of):
    x = torch.randn(1, *generator_of("pixel_unet").latent_shape(12))
    assert draw(generator_of("pixel_unet"), [""], sampler(size_px=12), x).shape == (1, 12, 12, 3)


def renamed(tmp_path, names):
    save("pixel_unet", str(tmp_path))
    file = tmp_path / "classes.json"
    file.write_text(json.dumps(names)) if names is not None else file.unlink()
    return load_generator(ModelSpec(model=str(tmp_path)))


def test_without_names_classes_are_numbers_and_none_is_none(tmp_path):
    generator = renamed(tmp_path, None)
    assert (generator.classes, generator.null) == ({"0": 0, "1": 1, "2": 2, "3": 3}, None)
    with pytest.raises(ValueError, match="must be one of 0, 1, 2, 3, but is ''"):
        generator.check_prompt("")
    with pytest.raises(ValueError, match="guidance=0, but this model has no input for 'no class'; set guidance=1"):
        generator.check(sampler(guidance=0))
    assert draw(generator, ["2"], sampler()).isfinite().all()


@pytest.mark.parametrize("names", [["a", "b"], ["a", "a", "b"], {"a": 1}, ["", "b", "c"]], ids=str)
def test_names_that_do_not_fit_the_network(tmp_path, names):
    with pytest.raises(ValueError, match=r"classes\.json: expected"):
        renamed(tmp_path, names)


@pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")  # diffusers, in DPM-Solver
def test_dits_learned_variance_is_drawn_with_where_its_scheduler_says_so(generator_of, monkeypatch):
    """DiT answers with 2 C channels; its own DDIM uses the mean, a learned-range DDPM both."""
    generator = generator_of("dit")
    learned = diffusers.DDPMScheduler(clip_sample=False, variance_type="learned_range")
    drawn = [draw(generator, ["other 7"], sampler(scheduler="ddpm"))]
    monkeypatch.setattr(generator.pipe, "scheduler", learned)
    drawn += [draw(generator, ["other 7"], sampler(scheduler=name)) for name in ("model", "ddpm", "ddim", "dpmpp")]
    assert all(pictures.isfinite().all() for pictures in drawn)
    assert torch.equal(drawn[1], drawn[2])
    assert not torch.equal(drawn[0], drawn[1])
