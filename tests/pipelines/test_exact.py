"""RP and GL where the answers are known exactly: models with closed forms, drawn by solvers that know nothing of it."""

from pathlib import Path

import numpy as np
import pytest
import torch
from scipy.stats import chi2

from pipelines.pairs import Criterion
from stages.metrics import Estimate, Proportion
from stages.models.analytic import AnalyticModel, Empirical, Gaussian, MoLRG, random_molrg, save
from stages.models.generator import step_noise
from stages.models.loading import load_generator
from stages.models.spec import ModelSpec
from stages.neighbours import InMemory, search
from stages.neighbours.found import pair_scores
from stages.randomness import rng
from stages.sampling import SamplerSpec

pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")  # diffusers, in Heun

SHAPE, NOISES, SPREAD, RANK = (3, 4, 4), 400, 0.25, 6
HEUN = SamplerSpec(scheduler="heun", steps=40, guidance=1)
MULTISTEP = SamplerSpec(scheduler="edm_dpmpp", steps=80, guidance=1)


def drawn(folder: Path, sampler: SamplerSpec, noises: int = NOISES) -> np.ndarray:
    """Return what the model in a folder draws from the seeds' noises, one row a picture, unclipped."""
    generator = load_generator(ModelSpec(model=str(folder)))
    x = torch.from_numpy(rng(0, "exact").standard_normal((noises, *SHAPE), dtype=np.float32))
    made = generator.draw(x, [""] * noises, sampler, [step_noise(n) for n in range(noises)])
    return (made.permute(0, 3, 1, 2).flatten(1).numpy() * 2 - 1).astype(np.float32)


def alike(x: np.ndarray, y: np.ndarray, below: float) -> Estimate:
    """Return the share of rows whose distance is below a threshold."""
    return Proportion().of(Criterion("distance", below, larger_is_closer=False).met(pair_scores(x, y, "l2")))


def isotropic() -> tuple[AnalyticModel, float, float]:
    """Return a Gaussian, a threshold, and how often two independent draws are nearer: |x - y|^2 is 2 s^2 chi^2."""
    size, floor = int(np.prod(SHAPE)), 0.2
    model = Gaussian(torch.full(SHAPE, 0.1), SPREAD**2 * torch.eye(size))
    return model, SPREAD * float(np.sqrt(2 * chi2.ppf(floor, size))), floor


def mixture() -> tuple[AnalyticModel, float, float]:
    """Return orthogonal subspaces, a threshold, and the floor: in one of them 2 chi^2 of its rank, else of both."""
    model, below = random_molrg(SHAPE, (RANK, RANK), seed=1), 3.0
    assert isinstance(model, MoLRG)
    columns = model.basis.flatten(0, 2)
    assert torch.allclose(columns.mT @ columns, torch.eye(2 * RANK, dtype=columns.dtype), atol=1e-6)
    return model, below, float(chi2.cdf(below**2 / 2, RANK) + chi2.cdf(below**2, 2 * RANK)) / 2


@pytest.mark.parametrize("known", [isotropic, mixture])
def test_two_accurate_solvers_agree_always_and_independent_noise_as_often_as_computed(known, tmp_path: Path):
    model, below, floor = known()
    save(model, tmp_path / "model")
    one, other = (drawn(tmp_path / "model", sampler) for sampler in (HEUN, MULTISTEP))
    assert alike(one, other, below).value == 1
    chance = alike(one, np.roll(other, -1, axis=0), below)
    assert chance.low < floor < chance.high


def test_a_sample_of_the_training_set_is_never_new(tmp_path: Path):
    training = rng(0, "training").uniform(-1, 1, (50, *SHAPE)).astype(np.float32)
    save(Empirical(torch.from_numpy(training)), tmp_path / "model")
    references = InMemory(training.reshape(50, -1), "l2")
    for samples in (training.reshape(50, -1)[::3], drawn(tmp_path / "model", HEUN, 60)):
        nearest = search(references, samples, 1).scores[:, 0]
        assert Proportion().of(1 - Criterion("distance", 0.01, larger_is_closer=False).met(nearest)).value == 0  # GL


def test_fresh_pictures_of_a_wide_distribution_are_all_new():
    training, fresh = (SPREAD * rng(0, name).standard_normal((200, 48), dtype=np.float32) for name in ("a", "b"))
    nearest = search(InMemory(training, "l2"), fresh, 1).scores[:, 0]
    below = SPREAD * float(np.sqrt(2 * chi2.ppf(1e-9, 48)))  # met by one of 40,000 pairs once in 25,000 such tests
    assert Proportion().of(1 - Criterion("distance", below, larger_is_closer=False).met(nearest)).value == 1
