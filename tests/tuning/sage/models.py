"""A generator and classifiers whose every answer is known, in double precision where it matters."""

import diffusers
import torch
from torch.nn.functional import log_softmax

from stages.models.analytic import Gaussian
from stages.models.analytic.generator import AnalyticGenerator, AnalyticPipe
from stages.models.placement import Placement
from stages.randomness import rng
from stages.sampling import SamplerSpec
from tuning.sage.latent import Attempt, LatentSearchSpec
from tuning.sage.surrogate import Looking, Surrogate
from tuning.sage.validity import Validity

SHAPE = (3, 8, 8)
SIZE = 192
LABELS = ("circle", "square")
SAMPLER = SamplerSpec(scheduler="ddim", steps=4, guidance=1)
ANYTHING = Validity(norm_z=1e9, mean_z=1e9, ks_p=0, autocorrelation_z=1e9, entry=1e9)


def normal(*shape, purpose):
    return torch.from_numpy(rng(0, purpose).standard_normal(shape))


def linear_generator(smooth=0.0):
    """A generator that is linear in its seed: grey pictures, of a contrast so small that hardly any is clipped."""
    factor = 0.2 * normal(SIZE, SIZE, purpose="factor") / SIZE**0.5
    model = Gaussian(smooth * normal(*SHAPE, purpose="mean"), factor @ factor.mT)
    scheduler = diffusers.DDIMScheduler(clip_sample=False)
    return AnalyticGenerator(AnalyticPipe(model, scheduler), Placement(torch.device("cpu"), torch.float64))


class Logistic:
    """Two classes whose log-odds are linear in the picture; larger is the second."""

    def __init__(self, name="logistic", purpose="weights", bias=-1.0, noise=0.0, strength=43.0):
        self.name, self.bias = name, bias
        own = normal(SIZE, purpose=purpose) + noise * normal(SIZE, purpose=name)
        self.weights = strength * own / own.norm()

    def logits(self, pictures):
        odds = (pictures.double() - 0.5).flatten(1) @ self.weights + self.bias
        return torch.stack([torch.zeros_like(odds), odds], dim=1)

    def log_probabilities(self, pictures):
        return log_softmax(self.logits(pictures), dim=-1)

    def verdict(self, pictures):
        return self.log_probabilities(pictures)


def linear_surrogate(bias=-1.0, members=2):
    """Members and a judge that see nearly the same."""
    ensemble = [Logistic(f"member {number}", bias=bias, noise=0.2) for number in range(members)]
    return Surrogate(ensemble, Logistic("judge", bias=bias, noise=0.2), LABELS)


def attempts(count, **settings):
    return [Attempt(seed=seed, prompt="", label="circle", **settings) for seed in range(count)]


def spec(**settings):
    return LatentSearchSpec(**({"sampler": SAMPLER, "gradient": {"kind": "full"}, "batch": 4} | settings))


__all__ = ["ANYTHING", "LABELS", "Logistic", "Looking", "attempts", "linear_generator", "linear_surrogate", "spec"]
