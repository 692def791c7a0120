import math

import diffusers
import pytest
import torch

from stages.models.schedules import DiffusersSchedule, choose
from stages.sampling import SamplerSpec
from stages.sampling.loop import guided, sample, unguided

pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")  # diffusers, in Euler

STD = 0.5
OWN = diffusers.DDIMScheduler(clip_sample=False, set_alpha_to_one=True)


class GaussianDenoiser:
    """Epsilon of data from N(0, STD^2): x sqrt(1 - a) / (a STD^2 + 1 - a), where a is alpha bar."""

    def predict(self, x, t, condition):
        alpha = OWN.alphas_cumprod[int(t)]
        return x * (1 - alpha).sqrt() / (alpha * STD**2 + 1 - alpha) + condition["shift"]


def condition(value, rows=1):
    return {"shift": torch.full((rows, 1, 1, 1), value)}


def end_of(name, steps, x):
    spec = SamplerSpec(scheduler=name, steps=steps)
    schedule = DiffusersSchedule(choose(OWN, spec), {"num_inference_steps": steps}, 0.0, torch.device("cpu"))
    return sample(schedule, unguided(GaussianDenoiser(), condition(0.0, len(x))), x, [torch.Generator()] * len(x))


@pytest.mark.parametrize("name", ["ddim", "euler", "dpmpp", "pndm"])
def test_a_deterministic_sampler_maps_the_normal_onto_the_data(name):
    """The probability flow scales every latent by one number: the data's standard deviation."""
    x = torch.tensor([-1.3, 0.2, 2.0]).view(3, 1, 1, 1)
    end = end_of(name, 200, x)
    torch.testing.assert_close(end, STD * x, rtol=0.03, atol=1e-3)


@pytest.mark.parametrize("name", ["ddpm", "euler_ancestral"])
def test_an_ancestral_sampler_draws_the_data_distribution(name):
    x = torch.randn(1, 1, 64, 64, generator=torch.Generator().manual_seed(0))
    end = end_of(name, 200, x)
    assert math.isclose(float(end.std()), STD, rel_tol=0.06)


@pytest.mark.parametrize(("scale", "expected"), [(0.0, 1.0), (1.0, 3.0), (0.5, 2.0), (7.5, 16.0), (4.0, 9.0)])
def test_guidance_is_the_line_through_both_predictions(scale, expected):
    predict = guided(GaussianDenoiser(), condition(3.0), condition(1.0), scale)
    assert predict(torch.zeros(1, 1, 1, 1), torch.tensor(500)).item() == pytest.approx(expected)
