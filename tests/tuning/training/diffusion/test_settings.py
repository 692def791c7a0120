"""The settings: what a training costs, counted both ways; plain descriptions without heavy libraries."""

import subprocess
import sys
from typing import get_args

import pytest
from pydantic import TypeAdapter, ValidationError

from tuning.training.diffusion.perturbations import Adversarial, AnyPerturbation, InputNoise, Unperturbed
from tuning.training.diffusion.settings import DiffusionSpec

TABLE = [
    (Unperturbed(), 1, 1),
    (InputNoise(gamma=0.15), 1, 1),
    (Adversarial(passes=3), 3, 3),
    (Adversarial(passes=3, inner="pgd"), 1, 3),
    (Adversarial(passes=1, norm="linf", gradient="detached"), 1, 1),
]


def settings(**changes) -> DiffusionSpec:
    found = {
        "network": {"kind": "unet", "width": 8, "multipliers": (1, 2), "head_channels": 8},
        "data": {"source": {"kind": "world", "side_px": 8, "count": 24, "classes": False}},
        "budget": {"pictures": 48, "batch": 8, "warmup": 8, "half_life": 32, "checkpoint": 16, "seed": 3},
    }
    return DiffusionSpec.model_validate(found | changes)


@pytest.mark.parametrize(("perturbation", "updates", "passes"), TABLE, ids=repr)
def test_costs_are_counted_in_minibatches_updates_and_passes(perturbation, updates, passes):
    spec = settings(perturbation=perturbation)
    assert (spec.minibatches, spec.updates, spec.passes) == (6, 6 * updates, 6 * passes)


@pytest.mark.parametrize("perturbation", [row[0] for row in TABLE], ids=repr)
def test_survives_json(perturbation):
    assert TypeAdapter(AnyPerturbation).validate_json(perturbation.model_dump_json()) == perturbation
    spec = settings(perturbation=perturbation)
    assert DiffusionSpec.model_validate_json(spec.model_dump_json()) == spec


def test_every_kind_is_in_the_table():
    assert {type(row[0]) for row in TABLE} == set(get_args(get_args(AnyPerturbation)[0]))


@pytest.mark.parametrize(
    "wrong", [{"accumulate": 3}, {"times": "early"}, {"perturbation": {"kind": "none", "gamma": 1}}]
)
def test_refuses_what_cannot_be(wrong):
    with pytest.raises(ValidationError):
        settings(**wrong)


def test_the_settings_load_without_heavy_libraries():
    code = "import sys, tuning.training.diffusion.settings; print(*(set(sys.modules) & {'torch', 'diffusers', 'ray'}))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == ""
