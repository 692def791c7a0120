"""Small analytic models that the tests share."""

import torch

from stages.models.analytic import Empirical, Gaussian, random_molrg
from stages.randomness import rng

SHAPE = (3, 4, 4)
SIZE = 48


def normal(*shape, purpose="test"):
    return torch.from_numpy(rng(0, purpose).standard_normal(shape))


def gaussian(rank=SIZE, mean=0.2):
    factor = 0.5 * normal(SIZE, rank, purpose="factor") / rank**0.5
    return Gaussian(mean * normal(*SHAPE, purpose="mean"), factor @ factor.mT)


def empirical(count=20, **settings):
    return Empirical(torch.tanh(normal(count, *SHAPE, purpose="points")), **settings)


def molrg(*ranks):
    return random_molrg(SHAPE, ranks or (6, 6), seed=1)


TABLE = {
    "gaussian": gaussian(),
    "low_rank_gaussian": gaussian(rank=5),
    "molrg": molrg(),
    "unequal_molrg": molrg(2, 7, 4),
    "empirical": empirical(),
}
