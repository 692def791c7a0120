"""Analytic models drawn through the seam: what a sampler owes to a model that it knows nothing about."""

import diffusers
import numpy as np
import pytest

from stages.base import objects
from stages.generate import Generate, GenerateSpec
from stages.models.analytic import save
from stages.models.generator import step_noise
from stages.models.loading import load_generator
from stages.models.source import fingerprint
from stages.models.spec import ModelSpec
from stages.perturbations import Control
from stages.sampling import SamplerSpec
from tests.stages.models.analytic.models import SHAPE, empirical, gaussian, normal

pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")  # diffusers, in Heun

VP = diffusers.DDIMScheduler(clip_sample=False)


@pytest.fixture(scope="module")
def gaussian_by(tmp_path_factory):
    """The same Gaussian, asked in EDM's way and in that of a variance-preserving schedule."""
    folder = tmp_path_factory.mktemp("gaussian")
    save(gaussian(), folder / "edm")
    save(gaussian(), folder / "vp", VP)
    return {name: load_generator(ModelSpec(model=str(folder / name))) for name in ("edm", "vp")}


def end(generator, x, **settings):
    """The clean pictures, in [-1, 1], unclipped."""
    spec = SamplerSpec(guidance=1, **settings)
    generator.check(spec)
    drawn = generator.draw(x, [""] * len(x), spec, [step_noise(n) for n in range(len(x))])
    return drawn.permute(0, 3, 1, 2).double() * 2 - 1


def errors(generator, exact, x, steps, **settings):
    return [float((end(generator, x, steps=n, **settings) - exact).abs().max()) for n in steps]


@pytest.mark.parametrize(("scheduler", "order"), [("edm_euler", 1), ("heun", 2), ("edm_dpmpp", 2)])
def test_the_order_of_convergence_from_sigma_max_times_the_noise(gaussian_by, scheduler, order):
    x, steps = normal(4, *SHAPE).float(), [36, 72, 144, 288]
    exact = gaussian().transport(80 * x.double(), 80.0, 0.0)
    found = errors(gaussian_by["edm"], exact, x, steps, scheduler=scheduler)
    slope = -np.polyfit(np.log(steps), np.log(found), 1)[0]
    assert order - 0.2 < slope < order + 0.3


def test_the_same_noise_ends_in_the_same_picture_in_both_parametrisations(gaussian_by):
    """VP from eps by DDIM, EDM from 80 eps by Heun: nearer with more steps, down to how much the start still shows.

    At the largest noise level a share of mean / 80 of the picture is not yet in the state.
    """
    x = normal(4, *SHAPE).float()
    edm = end(gaussian_by["edm"], x, scheduler="heun", steps=200)
    gaps = errors(gaussian_by["vp"], edm, x, [25, 50, 100, 200, 1000], scheduler="ddim")
    assert gaps == sorted(gaps, reverse=True)
    assert 1.5 < gaps[0] / gaps[1] < 2.5  # DDIM is of first order
    assert gaps[-1] < 0.01
    assert errors(gaussian_by["vp"], edm, x, [200], scheduler="heun")[0] < 0.004


def test_other_noise_ends_elsewhere(gaussian_by):
    x = normal(8, *SHAPE).float()
    pictures = end(gaussian_by["edm"], x, scheduler="heun", steps=18)
    assert (pictures[:4] - pictures[4:]).abs().amax((1, 2, 3)).min() > 0.3


def test_heun_beats_euler_at_the_source_papers_cost(gaussian_by):
    """18 steps of Heun call the model 35 times, and so do 35 steps of Euler."""
    x = normal(4, *SHAPE).float()
    exact = gaussian().transport(80 * x.double(), 80.0, 0.0)
    (heun,) = errors(gaussian_by["edm"], exact, x, [18], scheduler="heun")
    (euler,) = errors(gaussian_by["edm"], exact, x, [35], scheduler="edm_euler")
    assert heun < 0.75 * euler


@pytest.mark.parametrize("settings", [{"scheduler": "edm_euler"}, {"scheduler": "heun"}], ids=str)
def test_the_empirical_model_ends_on_training_pictures(tmp_path, settings):
    model = empirical(12)
    save(model, tmp_path)
    generator = load_generator(ModelSpec(model=str(tmp_path)))
    pictures = end(generator, normal(30, *SHAPE).float(), steps=18, **settings)
    distance = (pictures[:, None] - model.points).flatten(2).abs().amax(2)
    assert distance.min(1).values.max() < 1e-3
    assert len({int(nearest) for nearest in distance.argmin(1)}) > 5


def test_generate_runs_on_it_unchanged(tmp_path):
    save(empirical(12), tmp_path)
    stage = Generate(GenerateSpec(model=str(tmp_path), batch=4, threads=1))
    sampler = SamplerSpec(scheduler="heun", steps=18, guidance=1)
    prompts = ["", "", "a cat", "", ""]
    rows = {
        "model": objects([str(tmp_path)] * 5),
        "revision": objects([fingerprint(str(tmp_path))] * 5),
        "prompt": objects(prompts),
        "perturbation": objects([Control().canonical()] * 5),
        "sampler": objects([sampler.canonical()] * 4 + [SamplerSpec().canonical()]),
        "seed": np.arange(5, dtype=np.int64),
        "error": objects([None] * 5),
    }
    out = stage(rows)
    assert [picture is not None for picture in out["image"]] == [True, True, False, True, False]
    assert "must be empty, but is 'a cat'" in out["error"][2]
    assert "this model takes no class; set guidance=1" in out["error"][4]
    points = empirical(12).points.numpy().transpose(0, 2, 3, 1).clip(-1, 1) * 127.5 + 127.5
    nearest = [np.abs(points - picture.astype(float)).max((1, 2, 3)).min() for picture in out["image"][[0, 1, 3]]]
    assert max(nearest) <= 1


def test_its_size_is_its_own(gaussian_by):
    with pytest.raises(ValueError, match="size_px of this model must be 4, but is 8"):
        gaussian_by["edm"].check(SamplerSpec(guidance=1, size_px=8))
