"""The four text-to-image models, one factor apart, and the second stage of the pixel ones."""

import json

import diffusers
import numpy as np
import pytest
import torch

from stages.models.generator import step_noise
from stages.models.loading import load_generator
from stages.models.spec import ModelSpec
from stages.models.zoo import card
from stages.sampling import SamplerSpec
from stages.sampling.upsampling import Upsampling
from tests.tuning.training.zoo.test_loop import LOOP, clip, vae
from tuning.training.zoo.data import pictures
from tuning.training.zoo.loop import Loop, Recipe
from tuning.training.zoo.settings import SETTINGS
from tuning.training.zoo.text_to_image import TextToImageRecipe, TextToImageSpec
from tuning.training.zoo.upsampler import UpsamplerRecipe, UpsamplerSpec, add_upsampler

SMALL = {"channels": (8, 16), "heads": 2, "images": 24, "loop": LOOP}
MODELS = {
    "latent": {},
    "latent-learned": {"variance": "learned_range"},
    "pixel": {"space": "pixel", "schedule": "cosine"},
    "pixel-learned": {"space": "pixel", "schedule": "cosine", "variance": "learned_range"},
    "latent-zero": {"predicts": "v_prediction", "terminal_snr": "zero"},
}


@pytest.fixture(scope="module")
def work(tmp_path_factory):
    """The parts that every model is built on."""
    folder = tmp_path_factory.mktemp("parts")
    for recipe, name in ((vae(folder), "vae"), (clip(folder), "clip")):
        recipe.save(recipe.module, folder / name)
    return folder


def recipe_of(name, work):
    if name == "upsampler":
        return UpsamplerRecipe(UpsamplerSpec(**SMALL, deepest=1), work / "clip")
    return TextToImageRecipe(TextToImageSpec(**SMALL, **MODELS[name]), work, (work / "vae", work / "clip"))


@pytest.mark.parametrize("name", [*MODELS, "upsampler"])
class TestLaws:
    def test_resumed_training_is_straight_training(self, name, work, tmp_path):
        straight = Loop(recipe_of(name, work), LOOP, tmp_path / "straight.pt")
        losses = straight.run()
        stopped = Loop(recipe_of(name, work), LOOP, tmp_path / "stopped.pt").run(3)
        resumed = Loop(recipe_of(name, work), LOOP, tmp_path / "stopped.pt")
        assert stopped + resumed.run() == losses
        both = zip(straight.recipe.module.parameters(), resumed.recipe.module.parameters(), strict=True)
        assert all(torch.equal(a, b) for a, b in both)

    def test_branching_off_a_training_of_its_own_is_going_on(self, name, work, tmp_path):
        losses = Loop(recipe_of(name, work), LOOP, tmp_path / "straight.pt").run()
        first = Loop(recipe_of(name, work), LOOP, tmp_path / "first.pt").run(3)
        branch = Loop(recipe_of(name, work), LOOP, tmp_path / "branch.pt")
        branch.branch_off(tmp_path / "first.pt")
        assert first + branch.run() == losses

    def test_halves_add_up_to_the_whole(self, name, work, monkeypatch):
        whole, halves = recipe_of(name, work), recipe_of(name, work)
        monkeypatch.setattr(torch, "get_num_threads", lambda: 2)
        assert halves.backward(0) == pytest.approx(Recipe.backward(whole, 0), rel=1e-5)
        for one, other in zip(whole.module.parameters(), halves.module.parameters(), strict=True):
            torch.testing.assert_close(one.grad, other.grad, rtol=1e-3, atol=1e-5)

    def test_the_settings_survive_json(self, name, work):
        spec = recipe_of(name, work).spec
        assert type(spec).model_validate_json(spec.canonical()) == spec


@pytest.mark.parametrize("name", ["latent-learned", "pixel-learned", "upsampler"])
def test_the_mean_learns_from_the_simple_loss_alone(name, work):
    """At the network's output: with the variational bound and without, the gradient of epsilon is the same bits."""
    recipe = recipe_of(name, work)
    clean, noise, time, _ = recipe._batch(0)
    channels = clean.shape[1]
    output = torch.randn(len(clean), 2 * channels, *clean.shape[2:], generator=torch.Generator().manual_seed(0))
    output.requires_grad_()
    recipe.hybrid(output, clean, noise, time).backward()
    fixed = recipe.spec.model_copy(update={"variance": "fixed"})
    recipe.spec = fixed
    mean = output.detach()[:, :channels].requires_grad_()
    recipe.hybrid(mean, clean, noise, time).backward()
    assert torch.equal(output.grad[:, :channels], mean.grad)
    assert (output.grad[:, channels:] != 0).any()


@pytest.mark.parametrize(("one", "other"), [("latent", "latent-learned"), ("pixel", "pixel-learned")])
def test_a_pair_sees_the_same_batches(one, other, work):
    for a, b in zip(recipe_of(one, work)._batch(3), recipe_of(other, work)._batch(3), strict=True):
        assert torch.equal(a, b)


@pytest.mark.parametrize("terminal", ["scheduled", "zero"])
def test_v_is_the_velocity_of_diffusers(terminal, work):
    """Its error has weight 1 up to the limit of the signal-to-noise ratio, at a step of pure noise too."""
    spec = TextToImageSpec(**SMALL, predicts="v_prediction", terminal_snr=terminal)
    recipe = TextToImageRecipe(spec, work, (work / "vae", work / "clip"))
    clean, noise, _, _ = recipe._batch(0)
    time = torch.tensor([0, 10, 100, 300, 500, 700, 998, 999])
    target = diffusers.DDIMScheduler.from_config(recipe.scheduler.config).get_velocity(clean, noise, time)
    output = torch.randn(clean.shape, generator=torch.Generator().manual_seed(0))
    ratio = recipe.signal[time] / (1 - recipe.signal[time])
    weight = torch.where(ratio > 5, 6 / (ratio + 1), torch.ones(8))
    expected = (weight * ((output - target) ** 2).flatten(1).mean(1)).mean()
    torch.testing.assert_close(recipe.hybrid(output, clean, noise, time), expected)
    if terminal == "zero":
        assert recipe.signal[-1] == 0
        torch.testing.assert_close(target[-1], -clean[-1])


def test_a_learned_variance_has_the_same_bits_whether_epsilon_or_v_is_predicted(work):
    specs = [TextToImageSpec(**SMALL, variance="learned_range", predicts=p) for p in ("epsilon", "v_prediction")]
    one, other = (TextToImageRecipe(spec, work, (work / "vae", work / "clip")) for spec in specs)
    clean, noise, time, _ = one._batch(0)
    signal = one.signal[time][:, None, None, None]
    epsilon, variance = torch.randn(2, *clean.shape, generator=torch.Generator().manual_seed(0))
    noisy = signal.sqrt() * clean + (1 - signal).sqrt() * noise
    v = (epsilon - (1 - signal).sqrt() * noisy) / signal.sqrt()
    bits = []
    for recipe, answer in ((one, epsilon), (other, v)):
        simple, weight = recipe._target(clean, noise, signal)
        whole = recipe.hybrid(torch.cat([answer, variance], 1), clean, noise, time)
        bits.append(whole - (weight * (answer - simple) ** 2).mean())
    torch.testing.assert_close(bits[0], bits[1], rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("factors", [{}, {"predicts": "v_prediction", "variance": "learned_range"}], ids=str)
def test_pure_noise_needs_v_and_a_fixed_variance(factors):
    with pytest.raises(ValueError, match=r"terminal_snr='zero': expected predicts='v_prediction' and variance='fixed'"):
        TextToImageSpec(**SMALL, terminal_snr="zero", **factors)


def test_a_model_of_zero_terminal_snr_starts_at_its_last_training_step(work, tmp_path):
    recipe = recipe_of("latent-zero", work)
    recipe.save(recipe.module, tmp_path)
    own = diffusers.DDIMScheduler.from_pretrained(tmp_path / "scheduler")
    own.set_timesteps(20)
    assert own.timesteps[0] == 999
    assert own.alphas_cumprod[-1] == 0


def test_all_have_the_same_network_but_for_channels(work):
    shapes = {}
    for name in MODELS:
        weights = recipe_of(name, work).module.state_dict()
        shapes[name] = {key: x.shape for key, x in weights.items() if key.split(".")[0] not in ("conv_in", "conv_out")}
    assert all(found == shapes["latent"] for found in shapes.values())


def test_pixels_are_box_averaged_renders(work):
    clean = recipe_of("pixel", work).clean(np.arange(4))
    averaged = torch.nn.functional.avg_pool2d(pictures(np.arange(4)), 4) * 2 - 1
    torch.testing.assert_close(clean, averaged, atol=1.01 / 127.5, rtol=0)  # Pillow rounds twice
    torch.testing.assert_close((clean + 1) * 127.5, ((clean + 1) * 127.5).round(), atol=1e-4, rtol=0)
    assert clean.shape == (4, 3, 16, 16)


def test_the_second_stage_sees_the_saved_small_picture(work):
    recipe = recipe_of("upsampler", work)
    clean = recipe.clean(np.arange(2))
    (seen,) = recipe.beside(clean)
    assert seen.shape == clean.shape == (2, 3, 64, 64)
    assert (torch.nn.functional.avg_pool2d(seen - clean, 4).abs().mean()) < 0.05


def test_the_shipped_models_settings_stay_as_they_were():
    """New fields do not show where they are at rest: checkpoints and cards of older models stay valid."""
    old = SETTINGS["text-to-image"]
    hidden = {"space", "variance", "schedule", "vlb_weight", "predicts", "terminal_snr"}
    assert not hidden & json.loads(old.canonical()).keys()
    assert card("text-to-image").settings["text-to-image"] == old.model_dump(mode="json")


def draw(folder, **settings):
    generator = load_generator(ModelSpec(model=str(folder)))
    spec = SamplerSpec(**{"steps": 4, "guidance": 2.0} | settings)
    generator.check(spec)
    x = torch.randn(2, *generator.latent_shape(None), generator=torch.Generator().manual_seed(0))
    prompts = ["a photo of a red circle", "a photo of a fish"]
    return generator.draw(x, prompts, spec, [step_noise(n) for n in range(2)])


@pytest.mark.parametrize("name", MODELS)
def test_what_is_saved_draws(name, work, tmp_path):
    recipe = recipe_of(name, work)
    recipe.save(recipe.module, tmp_path)
    side = 64 if name.startswith("latent") else 16
    for scheduler in ("model", "ddim", "ddpm"):
        drawn = draw(tmp_path, scheduler=scheduler)
        assert drawn.shape == (2, side, side, 3)
        assert drawn.isfinite().all()
    own = json.loads((tmp_path / "scheduler" / "scheduler_config.json").read_text())
    assert (own.get("variance_type") == "learned_range") == name.endswith("learned")
    assert own["clip_sample"] == name.startswith("pixel")


def test_the_latent_twin_is_a_plain_stable_diffusion_pipeline(work, tmp_path):
    recipe = recipe_of("latent-learned", work)
    recipe.save(recipe.module, tmp_path)
    pipe = diffusers.StableDiffusionPipeline.from_pretrained(tmp_path)
    pipe.set_progress_bar_config(disable=True)
    assert pipe.unet.config.out_channels == 8
    assert isinstance(pipe.scheduler, diffusers.DDPMScheduler)
    picture = pipe("a photo of a red circle", num_inference_steps=2, guidance_scale=1.0, output_type="np").images
    assert picture.shape == (1, 64, 64, 3)


def test_an_upsampler_joins_a_pixel_model(work, tmp_path):
    for name in ("pixel-learned", "upsampler"):
        recipe = recipe_of(name, work)
        recipe.save(recipe.module, tmp_path / name)
    add_upsampler(tmp_path / "pixel-learned", tmp_path / "upsampler", tmp_path / "both")
    assert draw(tmp_path / "both", upsampling=Upsampling(steps=2)).shape == (2, 64, 64, 3)
    assert torch.equal(draw(tmp_path / "both"), draw(tmp_path / "pixel-learned"))


@pytest.mark.parametrize("space", ["latent", "pixel"])
def test_a_learned_variance_branches_off_a_fixed_one(space, work, tmp_path):
    """The mean goes on as it was, moments included; the variance starts in the middle of its range."""
    fixed, learned = recipe_of(space, work), recipe_of(f"{space}-learned", work)
    trunk, branch = Loop(fixed, LOOP, tmp_path / "trunk.pt"), Loop(learned, LOOP, tmp_path / "branch.pt")
    trunk.run(2)
    branch.branch_off(tmp_path / "trunk.pt")
    clean, _, time, caption = learned._batch(2)
    with torch.no_grad():
        before, after = (r.module(clean, time, r.prompts.states(caption)).sample for r in (fixed, learned))
    mean, variance = after.chunk(2, dim=1)
    torch.testing.assert_close(mean, before)
    assert not variance.any()
    of = [loop.optimiser.state[loop.recipe.module.conv_out.weight]["exp_avg"] for loop in (trunk, branch)]
    assert torch.equal(of[1][: len(of[0])], of[0])
    assert not of[1][len(of[0]) :].any()
    assert of[1].stride() == learned.module.conv_out.weight.stride(), "the fused optimiser reads memory, not places"
    assert branch.step == 2
    branch.run(3)
    assert learned.module.conv_out.weight[len(of[0]) :].any()


def test_the_fused_optimiser_takes_the_same_steps(work, tmp_path):
    """It reads memory in order, so parameters and gradients must lie there alike.

    Losses are compared: a weight whose gradient is rounding alone moves by a whole step in either.
    """
    fused, plain = (Loop(recipe_of("pixel", work), LOOP, tmp_path / f"{name}.pt") for name in ("fused", "plain"))
    settings = {"weight_decay": LOOP.weight_decay, "betas": (0.9, 0.99)}
    plain.optimiser = torch.optim.AdamW(plain.recipe.module.parameters(), LOOP.learning_rate, **settings)
    np.testing.assert_allclose(fused.run(), plain.run(), rtol=1e-4)
    fused.recipe.backward(LOOP.steps)
    for parameter in fused.recipe.module.parameters():
        assert parameter.grad.stride() == parameter.stride()
