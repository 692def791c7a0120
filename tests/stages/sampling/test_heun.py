import math
from functools import partial
from itertools import pairwise

import diffusers
import numpy as np
import pytest
import torch

from stages.sampling.heun import Heun
from stages.sampling.loop import sample
from stages.sampling.precondition import edm

STD = 0.3
CPU = torch.device("cpu")


def levels(steps):
    """Karras et al. 2022, Eq. 5, with rho = 7."""
    ramp = np.linspace(0, 1, steps)
    return [*((80 ** (1 / 7) + ramp * (0.002 ** (1 / 7) - 80 ** (1 / 7))) ** 7).tolist(), 0.0]


def denoise(x, sigma):
    """The answer for data from N(0, STD^2), bent so that the ODE is not linear."""
    return x * STD**2 / (STD**2 + sigma**2) + 0.1 * torch.sin(x / (1 + sigma))


def answer(model_input, t):
    """What EDM's network would answer."""
    at = edm(math.exp(4 * float(t)), 0.5)
    x = model_input * at.size
    return (denoise(x, at.sigma) - at.skip * x) / at.out


def by_the_paper(x, sigmas):
    """Alg. 1, in its own words."""
    for sigma, after in pairwise(sigmas):
        slope = (x - denoise(x, sigma)) / sigma
        euler = x + (after - sigma) * slope
        if after == 0:
            return euler
        x = x + (after - sigma) * (slope + (euler - denoise(euler, after)) / after) / 2
    raise AssertionError


@pytest.mark.parametrize("steps", [1, 2, 3, 18, 50])
def test_it_is_the_papers_algorithm(steps):
    x = torch.randn(4, 1, 2, 2, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    schedule, calls = Heun(levels(steps), partial(edm, sigma_data=0.5), CPU), []

    def predict(model_input, t):
        calls.append(t)
        return answer(model_input, t)

    end = sample(schedule, predict, x, [])
    torch.testing.assert_close(end, by_the_paper(x * 80, levels(steps)), rtol=1e-4, atol=1e-5)
    assert len(calls) == len(schedule.timesteps) == 2 * steps - 1


def test_its_levels_and_times_are_edms():
    scheduler = diffusers.EDMEulerScheduler()
    scheduler.set_timesteps(18)
    schedule = Heun(scheduler.sigmas.tolist(), partial(edm, sigma_data=0.5), CPU)
    np.testing.assert_allclose(scheduler.sigmas, levels(18), rtol=1e-5)
    torch.testing.assert_close(schedule.timesteps[::2], scheduler.timesteps)
    torch.testing.assert_close(schedule.timesteps[1::2], scheduler.timesteps[1:])
