import diffusers
import numpy as np
import pytest
import torch

from stages.models.schedules import schedule
from stages.sampling import SamplerSpec
from stages.sampling.ddim import Ddim
from stages.sampling.loop import sample
from stages.sampling.respacing import fast27

CPU = torch.device("cpu")
X = torch.randn(2, 3, 4, 4, generator=torch.Generator().manual_seed(0))


def own(**settings):
    return diffusers.DDIMScheduler(**({"clip_sample": False, "beta_schedule": "squaredcos_cap_v2"} | settings))


def noise():
    return [torch.Generator().manual_seed(n) for n in range(2)]


def network(x, t):
    return torch.sin(3 * x) + t / 1000


def ours(scheduler, eta=0.0):
    """Our DDIM over the steps of a scheduler of diffusers."""
    levels = [*scheduler.alphas_cumprod[scheduler.timesteps].tolist(), float(scheduler.final_alpha_cumprod)]
    return Ddim(scheduler.timesteps, levels, scheduler.config.prediction_type, lambda clean: clean, eta)


@pytest.mark.parametrize("predicts", ["epsilon", "v_prediction", "sample"])
@pytest.mark.parametrize("eta", [0.0, 0.7, 1.0])
@pytest.mark.parametrize("settings", [{}, {"set_alpha_to_one": False, "steps_offset": 1}], ids=str)
def test_over_even_steps_it_is_diffusers(predicts, eta, settings):
    theirs = own(prediction_type=predicts, **settings)
    theirs.set_timesteps(20)
    x, random = X, noise()
    for t in theirs.timesteps:
        x = theirs.step(network(x, t), t, x, eta=eta, generator=random).prev_sample
    found = sample(ours(theirs, eta), network, X, noise())
    torch.testing.assert_close(found, x, rtol=1e-4, atol=1e-4)


STD = 0.5


def exact(signal):
    """Epsilon of data from N(0, STD^2)."""
    return lambda x, t: x * (1 - signal[int(t)]).sqrt() / (signal[int(t)] * STD**2 + 1 - signal[int(t)])


def uneven(steps):
    """Ours, and diffusers' own, on data whose probability flow is known: it scales noise by the data's deviation."""
    scheduler = own(beta_schedule="linear", timestep_spacing="linspace")
    made = schedule(scheduler, SamplerSpec(scheduler="ddim", steps=steps), {"num_inference_steps": steps}, CPU)
    assert isinstance(made, Ddim)
    predict, x = exact(scheduler.alphas_cumprod), X
    scheduler.set_timesteps(steps)
    for t in scheduler.timesteps:
        x = scheduler.step(predict(x, t), t, x).prev_sample
    return [(end - STD * X).abs().max().item() for end in (sample(made, predict, X, noise()), x)]


def test_over_uneven_steps_it_converges_and_diffusers_does_not():
    """diffusers steps by 1000 // 210 = 4 where the network is told of 4.76, and so stops short of the clean picture."""
    steps = np.array([30, 70, 210])
    ours, theirs = np.array([uneven(int(n)) for n in steps]).T
    order = -np.polyfit(np.log(steps), np.log(ours), 1)[0]
    assert 0.9 < order < 1.1
    assert theirs[-1] > 5 * ours[-1]


@pytest.mark.parametrize(
    ("spacing", "steps", "uneven"),
    [
        ("leading", 50, False),
        ("leading", 30, False),
        ("trailing", 50, False),
        ("trailing", 30, True),
        ("linspace", 50, True),
    ],
)
def test_it_takes_over_only_where_diffusers_would_step_beside(spacing, steps, uneven):
    made = schedule(
        own(timestep_spacing=spacing), SamplerSpec(scheduler="ddim", steps=steps), {"num_inference_steps": steps}, CPU
    )
    assert isinstance(made, Ddim) == uneven


def test_it_visits_given_steps_and_bounds_the_clean_prediction():
    made = schedule(own(clip_sample=True), SamplerSpec(scheduler="ddim", steps=27), {"timesteps": fast27(1000)}, CPU)
    assert made.timesteps.tolist() == fast27(1000)
    end = sample(made, lambda x, _: -5 * x, X, noise())
    assert end.abs().max() <= 1 + 1e-6


def test_it_ends_in_a_measured_state():
    """Behind the protocol of inverse problems: the same clean prediction, in either form."""
    made = schedule(
        own(timestep_spacing="linspace"), SamplerSpec(scheduler="ddim", steps=30), {"num_inference_steps": 30}, CPU
    )
    t = made.timesteps[11]
    at = made.coefficients(t)
    direct = made.clean(X, network(X, t), t)
    torch.testing.assert_close(at.skip * at.size * X + at.out * network(X, t), direct, rtol=1e-4, atol=1e-4)
    assert made.growth(3) == 1
