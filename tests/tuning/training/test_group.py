"""Two processes train one model, against one process that takes every minibatch in two parts."""

import pytest
import torch
from safetensors.torch import load_file

from tests.tuning.training.diffusion.test_settings import settings
from tuning.training.group import ALONE, Group
from tuning.training.settings import EdmSpec
from tuning.training.trial import Training, shared_steps, trained

CHANGES = {
    "data": {"source": {"kind": "world", "side_px": 8, "count": 64, "classes": True}, "count": 24},
    "budget": {"pictures": 32, "batch": 8, "warmup": 8, "half_life": 16, "checkpoint": 16},
    "times": "loss_aware",
    "noise_levels": 20,
    "dropout": 0.1,
    "perturbation": {"kind": "adversarial", "passes": 2},
}


class Still(Group):
    """One of a group whose other members answer the same."""

    def add(self, gradients):
        list(gradients)

    def total(self, value, _device):
        return value

    def gather(self, part):
        return part.repeat(self.size)


def task(output, workers: int = 1, **changes) -> Training:
    return Training(model=settings(**CHANGES | changes), output=str(output), workers=workers)


def weights(of: Training) -> dict[str, torch.Tensor]:
    return load_file(of.folder / "model" / "unet" / "diffusion_pytorch_model.safetensors")


@pytest.mark.timeout(300)
def test_two_processes_train_what_one_trains_in_two_parts(tmp_path):
    """The same bits: the sum of two gradients has no order, and everything random follows from step and part."""
    shared, alone = task(tmp_path, workers=2), task(tmp_path, accumulate=2)
    told, wanted = list(trained(shared)), list(trained(alone))
    strip = {"cpu_seconds"}
    assert [{k: v for k, v in one.items() if k not in strip} for one in told] == [
        {k: pytest.approx(v, rel=1e-6) for k, v in one.items() if k not in strip} for one in wanted
    ]
    assert all(torch.equal(a, weights(alone)[name]) for name, a in weights(shared).items())
    assert not (shared.folder / "checkpoint.pt").exists()


def test_who_follows_writes_nothing(tmp_path):
    one = task(tmp_path)
    told = shared_steps(one, one.model.data.load(), Still(1, 2))
    assert [metrics["updates"] for metrics in told] == [4.0, 8.0]
    assert not one.folder.exists()


def test_alone_nothing_is_exchanged():
    rows = torch.arange(6)
    assert torch.equal(ALONE.share(rows), rows)
    assert torch.equal(ALONE.gather(rows), rows)
    assert ALONE.total(2.0, "cpu") == 2.0
    assert ALONE.leads


def test_shares_are_the_rows_in_order():
    rows = torch.arange(6)
    assert torch.equal(torch.cat([Group(rank, 3).share(rows) for rank in range(3)]), rows)
    assert [Group(rank, 2).device("cuda") for rank in range(2)] == ["cuda:0", "cuda:1"]
    assert Group(1, 2).device("cpu") == "cpu"


@pytest.mark.parametrize(
    ("changes", "workers", "found"), [({}, 3, "3 workers of 1 parts"), ({"accumulate": 4}, 4, "4 workers of 4 parts")]
)
def test_unequal_shares_are_refused(tmp_path, changes, workers, found):
    with pytest.raises(ValueError, match=rf"divides budget\.batch=8, found {found}"):
        task(tmp_path, workers, **changes)


def test_a_model_of_edm_is_trained_by_one_process(tmp_path):
    model = settings(**CHANGES)
    edm = EdmSpec(network=model.network, data=model.data, budget=model.budget)
    with pytest.raises(ValueError, match="workers: expected 1"):
        Training(model=edm, output=str(tmp_path), workers=2)
