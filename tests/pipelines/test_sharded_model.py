"""A training set in several actors draws what it draws in one process."""

from pathlib import Path

import numpy as np
import pytest
import torch

from pipelines.compute import Compute
from pipelines.config import UserError
from pipelines.sharded_model import ShardedGenerate, ShardedGenerateSpec, hosted_model
from stages.base import objects
from stages.generate import Generate, GenerateSpec
from stages.models.analytic import Empirical, Gaussian, save
from stages.models.analytic.remote import RemoteTrainingSet
from stages.models.source import revision
from stages.randomness import rng
from stages.sampling import SamplerSpec

SIZE = (13, 3, 4, 4)


@pytest.fixture(scope="module")
def points() -> torch.Tensor:
    return torch.from_numpy(rng(0, "points").uniform(-1, 1, SIZE))


@pytest.fixture(scope="module")
def folder(tmp_path_factory, points) -> str:
    place = tmp_path_factory.mktemp("empirical")
    save(Empirical(points), place)
    return str(place)


def rows(model: str) -> dict[str, np.ndarray]:
    sampler = SamplerSpec(scheduler="heun", steps=6, guidance=1).canonical()
    text = {"model": model, "revision": revision(model, "auto"), "prompt": "", "sampler": sampler}
    columns = {name: objects([value] * 5) for name, value in text.items()}
    columns["perturbation"] = objects(['{"kind":"none"}'] * 5)
    return columns | {"seed": np.arange(5), "error": objects([None] * 5)}


def test_a_remote_training_set_answers_as_the_one_it_asks(points):
    here = Empirical(points)
    there = RemoteTrainingSet(SIZE, here.partial)
    x = here.points[:3] + 0.3
    assert torch.equal(there.denoise(x, 0.5), here.denoise(x, 0.5))
    assert torch.equal(there.log_density(x, 0.5), here.log_density(x, 0.5))
    assert there.shape == SIZE[1:]


def test_only_an_empirical_model_is_held_in_parts(tmp_path: Path, folder: str):
    save(Gaussian(torch.zeros(1, 2, 2), torch.eye(4)), tmp_path)
    with pytest.raises(UserError, match="expected the folder of an empirical model"), hosted_model(str(tmp_path), 1):
        pass
    with pytest.raises(UserError, match=r"expected 1 to 13, the training pictures of .*, found 14"):
        hosted_model(folder, 14).__enter__()


@pytest.mark.ray
@pytest.mark.usefixtures("ray_cluster")
def test_its_pictures_are_those_of_one_process(folder: str):
    expected = Generate(GenerateSpec(model=folder))(rows(folder))["image"]
    with hosted_model(folder, 3, compute=Compute(cpus=0.25)) as shards:
        spec = ShardedGenerateSpec(model=folder, name=shards.name, count=shards.count)
        drawn = ShardedGenerate(spec)(rows(folder))["image"]
    for one, other in zip(drawn, expected, strict=True):
        np.testing.assert_array_equal(one, other)
