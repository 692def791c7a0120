"""The failures of a linear generator under one logistic classifier: a half-space, about which everything is known."""

import math
from typing import NamedTuple

import numpy as np
import torch
from scipy import stats

from stages.randomness import rng
from tests.tuning.sage.models import ANYTHING, LABELS, SAMPLER, SHAPE, SIZE, Logistic, linear_generator, spec
from tuning.sage.region.oracle import Oracle, Query
from tuning.sage.region.sphere import polar, tangent, walk
from tuning.sage.surrogate import Surrogate

GENERATOR = linear_generator()
QUERY = Query(prompt="", label="circle")
SEARCH = spec(batch=64, validity=ANYTHING)


def draws(count, purpose):
    return rng(0, purpose).standard_normal((count, *SHAPE), dtype=np.float32)


def slopes():
    """The gradient of the log-odds in the seed latent; at the latent 0 they are the classifier's bias."""
    pixels = GENERATOR.draw(torch.eye(SIZE).view(-1, *SHAPE), [""] * SIZE, SAMPLER, [])
    return Logistic(bias=0.0).logits(pixels.permute(0, 3, 1, 2))[:, 1].numpy().reshape(SHAPE)


SLOPES = slopes()
LENGTH = float(np.linalg.norm(SLOPES))
NORMAL = SLOPES / LENGTH
ROUNDING = 0.05 / LENGTH
"""Standard deviation of the error that 8-bit pictures bring, in units of the latent."""


class Arc(NamedTuple):
    """Height a + r cos(angle - phase) along a great circle."""

    a: float
    r: float
    phase: float

    def exit(self):
        """The first angle from a failure at which the height is 0."""
        return self.phase + math.acos(-self.a / self.r)

    def rise(self, height):
        """The angle at which it rises to a height."""
        return self.phase - math.acos((height - self.a) / self.r)


class HalfSpace:
    """A latent fails where its height, NORMAL . z - distance, is above 0."""

    def __init__(self, distance, search=SEARCH, classifier=Logistic):
        self.distance, self.probability = distance, float(stats.norm.sf(distance))
        member, judge = (classifier(name, bias=-distance * LENGTH) for name in ("member", "judge"))
        self.surrogate = Surrogate([member], judge, LABELS)
        self.oracle = Oracle(search, GENERATOR, self.surrogate)

    def height(self, latents):
        return np.sum(NORMAL * latents, axis=(1, 2, 3)) - self.distance

    def arc(self, latent, direction, sign=1):
        """The height on a great circle; of a sign of -1 that over the opposite half-space."""
        at, normal = polar(latent), sign * NORMAL
        along, across = (at.radius * float(np.sum(normal * d)) for d in (at.direction, direction))
        return Arc(at.mean * float(normal.sum()) - self.distance, math.hypot(along, across), math.atan2(across, along))

    def reached(self, seed, height, sign=1):
        """The latent of this height on the shortest way from a seed."""
        way = tangent(seed, sign * NORMAL)
        return walk(seed, way, self.arc(seed, way, sign).rise(height))


SPACE = HalfSpace(3.0)
