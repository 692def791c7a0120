"""Pixel text-to-image models behind the seam: ours, DeepFloyd IF, and latents with a learned variance."""

import diffusers
import numpy as np
import pytest
import torch

from stages.models.generator import step_noise
from stages.models.loading import load_generator
from stages.models.pixel_text import PixelTextPipeline
from stages.models.second_stage import own_noise
from stages.models.source import fingerprint
from stages.models.spec import ModelSpec
from stages.sampling import SamplerSpec
from stages.sampling.upsampling import Upsampling

PIXELS = ("pixel_text", "pixel_text_fixed", "deep_floyd", "glide")
SECOND = Upsampling(steps=3)
PROMPTS = ["a cat", "a dog"]


def sampler(**settings):
    return SamplerSpec(**({"steps": 4, "guidance": 3.0} | settings))


def noise(rows=2):
    return [step_noise(seed) for seed in range(rows)]


def drawn_by(random, *shape):
    return torch.cat([torch.randn(1, *shape, generator=one) for one in random])


def draw(generator, spec, prompts=PROMPTS, random=None):
    x = torch.randn(len(prompts), *generator.latent_shape(None), generator=torch.Generator().manual_seed(1))
    return generator.draw(x, prompts, spec, random or noise(len(prompts)))


@pytest.fixture(scope="module")
def floyd(folder_of):
    """Both stages, named as one model."""
    return load_generator(ModelSpec(model=f"{folder_of('deep_floyd')}+{folder_of('deep_floyd_second')}"))


@pytest.mark.parametrize("guidance", [1.0, 7.0])
def test_our_loop_equals_the_pipeline_of_deep_floyd(generator_of, guidance):
    """Its `__call__` draws its first latent from the generators that then draw its steps."""
    generator, options = generator_of("deep_floyd"), {"clean_caption": False, "output_type": "np"}
    options |= {"guidance_scale": guidance, "num_inference_steps": 5, "generator": noise()}
    theirs = generator.pipe(["A cat ", "a dog"], **options).images
    random = noise()
    x = drawn_by(random, 3, 8, 8)
    ours = generator.draw(x, ["A cat ", "a dog"], sampler(guidance=guidance, steps=5), random)
    np.testing.assert_allclose(ours.clamp(0, 1).numpy(), theirs, atol=1e-5)
    assert theirs.std() > 0.05


def test_our_second_stage_equals_the_pipeline_of_deep_floyd(floyd, folder_of):
    theirs = diffusers.IFSuperResolutionPipeline.from_pretrained(
        folder_of("deep_floyd_second"),
        text_encoder=floyd.pipe.text_encoder,  # the stages share one
        safety_checker=None,
        requires_safety_checker=False,
    )
    theirs.set_progress_bar_config(disable=True)
    small = draw(floyd, sampler()).permute(0, 3, 1, 2) * 2 - 1
    options = {"clean_caption": False, "output_type": "np", "num_inference_steps": 5, "guidance_scale": 2.5}
    large = theirs(PROMPTS, image=small, noise_level=100, generator=own_noise(noise()), **options).images
    upsampling = Upsampling(steps=5, guidance=2.5, noise_level=100)
    ours = draw(floyd, sampler(upsampling=upsampling))
    np.testing.assert_allclose(ours.clamp(0, 1).numpy(), large, atol=1e-5)
    assert ours.shape == (2, 16, 16, 3)


def test_both_stages_make_the_fingerprint(floyd, folder_of):
    first, second = folder_of("deep_floyd"), folder_of("deep_floyd_second")
    assert fingerprint(f"{first}+{second}") == f"{fingerprint(first)}+{fingerprint(second)}"
    assert floyd.truncated("abc") is None


@pytest.mark.parametrize("family", ["pixel_text", "pixel_text_fixed"])
@pytest.mark.parametrize("guidance", [1.0, 3.0])
def test_our_pixel_model_takes_the_steps_of_diffusers(generator_of, family, guidance):
    """The pipeline's parts, put together by hand."""
    generator, random = generator_of(family), noise()
    pipe = generator.pipe
    scheduler = diffusers.DDPMScheduler.from_config(pipe.scheduler.config)
    scheduler.set_timesteps(6)
    ids = pipe.tokenizer([*PROMPTS, "", ""], padding="max_length", return_tensors="pt").input_ids
    x = torch.randn(2, 3, 8, 8, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        text = pipe.text_encoder(ids)[0]
        for t in scheduler.timesteps:
            output = pipe.unet(torch.cat([x, x]), t, encoder_hidden_states=text).sample
            with_prompt, without = output.chunk(2)
            mean = without[:, :3] + guidance * (with_prompt[:, :3] - without[:, :3])
            x = scheduler.step(torch.cat([mean, with_prompt[:, 3:]], 1), t, x, random).prev_sample
    ours = draw(generator, sampler(guidance=guidance, steps=6)).permute(0, 3, 1, 2) * 2 - 1
    torch.testing.assert_close(ours, x, atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("family", ["pixel_text", "latent_learned"])
def test_ddim_sees_the_mean_alone(generator_of, family, monkeypatch):
    generator = generator_of(family)
    before, ancestral = draw(generator, sampler(scheduler="ddim")), draw(generator, sampler(scheduler="ddpm"))
    predict = type(generator).predict

    def other_variance(self, x, t, condition):
        out = predict(self, x, t, condition)
        return torch.cat([out[:, : x.shape[1]], 1 - out[:, x.shape[1] :]], dim=1)

    monkeypatch.setattr(type(generator), "predict", other_variance)
    assert torch.equal(draw(generator, sampler(scheduler="ddim")), before)
    assert not torch.equal(draw(generator, sampler(scheduler="ddpm")), ancestral)


@pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")  # diffusers, in Euler
@pytest.mark.parametrize(
    ("family", "name"),
    [
        *(("latent_learned", name) for name in ("pndm", "euler", "euler_ancestral", "dpmpp", "lcm", "heun")),
        *(("pixel_text", name) for name in ("pndm", "euler", "dpmpp", "lcm", "heun")),
    ],  # diffusers' ancestral Euler loses the difference of two noise levels of 20,000
)
def test_every_scheduler_draws_from_a_network_with_a_variance(generator_of, family, name):
    pictures = draw(generator_of(family), sampler(scheduler=name))
    assert pictures.isfinite().all()
    assert pictures.shape[-1] == 3


def test_no_noise_is_added_to_the_finished_picture(generator_of):
    """The schedule of Stable Diffusion ends at training step 1: diffusers would add noise of the learned variance."""
    generator = generator_of("latent_learned")
    spec = sampler(steps=20)
    x = torch.randn(1, 4, 8, 8, generator=torch.Generator().manual_seed(1))
    moments = []
    generator.clean(x, ["a cat"], spec, noise(1), moments.append)
    last = moments[-1]
    assert int(last.t) == 1
    mean = last.schedule.clean(last.seen, last.output[:, :4], last.t)
    torch.testing.assert_close(last.after, mean, atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("family", ["pixel_text", "glide"])
class TestSecondStage:
    def test_it_enlarges(self, generator_of, family):
        pictures = draw(generator_of(family), sampler(upsampling=SECOND))
        assert pictures.shape == (2, 16, 16, 3)
        assert pictures.isfinite().all()

    def test_its_noise_is_the_rows_own_and_no_perturbation_reaches_it(self, generator_of, family, monkeypatch):
        """Nor do the steps of the first stage, which draw from the same row."""
        generator, starts = generator_of(family), []
        predict = type(generator.second).predict

        def watched(self, x, t, condition):
            starts.append(x[-1])
            return predict(self, x, t, condition)

        monkeypatch.setattr(type(generator.second), "predict", watched)
        for steps, shift in ((4, 0.0), (4, 0.3), (6, 0.0)):
            x = torch.randn(1, 3, 8, 8, generator=torch.Generator().manual_seed(1)) + shift
            generator.draw(x, ["a cat"], sampler(steps=steps, upsampling=Upsampling(steps=1)), noise(1))
        assert torch.equal(starts[0], starts[1])
        assert torch.equal(starts[0], starts[2])
        generator.draw(x, ["a cat"], sampler(upsampling=Upsampling(steps=1)), [step_noise(7)])
        assert not torch.equal(starts[0], starts[3])

    def test_its_settings_matter(self, generator_of, family):
        settings = [{}, {"temperature": 0.5}, {"guidance": 2.0}, {"scheduler": "ddpm"}, {"steps": "fast27"}]
        base = draw(generator_of(family), sampler(upsampling=SECOND))
        drawn = [draw(generator_of(family), sampler(upsampling=SECOND.model_copy(update=s))) for s in settings]
        assert [torch.equal(pictures, base) for pictures in drawn] == [True, False, False, False, False]

    def test_it_sees_the_small_picture_as_it_would_be_saved(self, generator_of, family):
        small = torch.tensor([-1.5, -0.5, 0.123, 2.0]).view(1, 1, 2, 2).expand(1, 3, 2, 2)
        seen = generator_of(family).second.see(small, SECOND, [])["small"]
        corners = seen[0, 0, [0, 0, -1, -1], [0, -1, 0, -1]]
        torch.testing.assert_close(corners, torch.tensor([0.0, 64.0, 143.0, 255.0]) / 127.5 - 1)


REFUSED = [
    ("stable_diffusion_1", {"upsampling": SECOND}, "StableDiffusionPipeline has no second stage; leave upsampling out"),
    ("deep_floyd", {"upsampling": SECOND}, "this model has no second stage; leave upsampling out"),
    ("pixel_text", {"upsampling": SECOND, "size_px": 12}, "the second stage has one size, 16; leave size_px out"),
    ("pixel_text", {"upsampling": Upsampling(noise_level=5)}, "only DeepFloyd IF adds noise to the small picture"),
    ("pixel_text", {"size_px": 9}, "size_px of this model must be a multiple of 2, but is 9"),
    ("pixel_text", {"terminal_snr": "zero"}, "an epsilon prediction says nothing; set spacing='leading'"),
    ("stable_diffusion_1", {"terminal_snr": "zero"}, "PNDMScheduler has no rescale_betas_zero_snr"),
    ("stable_diffusion_3", {"spacing": "trailing"}, "FlowMatchEulerDiscreteScheduler has no timestep_spacing"),
]


@pytest.mark.parametrize(("family", "settings", "message"), REFUSED, ids=str)
def test_a_sampler_that_the_model_cannot_run(generator_of, family, settings, message):
    with pytest.raises(ValueError, match=message) as caught:
        generator_of(family).check(sampler(**settings))
    assert "\n" not in str(caught.value)


def test_a_second_stage_of_nothing_is_refused(folder_of):
    first, other = folder_of("deep_floyd"), folder_of("stable_diffusion_1")
    with pytest.raises(ValueError, match="expected DeepFloyd IF's second stage, found a StableDiffusionPipeline"):
        load_generator(ModelSpec(model=f"{first}+{other}"))
    with pytest.raises(ValueError, match=r"expected FIRST\+SECOND, the two stages of DeepFloyd IF, found 2"):
        load_generator(ModelSpec(model=f"{other}+{first}"))


@pytest.mark.parametrize(("family", "variance"), [("pixel_text", "fixed_small"), ("pixel_text_fixed", "learned_range")])
def test_outputs_that_do_not_match_the_scheduler(folder_of, tmp_path, family, variance):
    pipe = PixelTextPipeline.from_pretrained(folder_of(family))
    pipe.scheduler.register_to_config(variance_type=variance)
    pipe.save_pretrained(tmp_path)
    with pytest.raises(
        ValueError, match=f"variance_type='{variance}' must answer with . channels, but answers"
    ) as caught:
        load_generator(ModelSpec(model=str(tmp_path)))
    assert "\n" not in str(caught.value)


def test_another_size(generator_of):
    generator, spec = generator_of("pixel_text"), sampler(size_px=12)
    x = torch.randn(1, *generator.latent_shape(12))
    assert generator.draw(x, ["a cat"], spec, noise(1)).shape == (1, 12, 12, 3)
    assert generator.side_px(spec) == 12
