"""Every law over every perturbation."""

from typing import get_args

import numpy as np
import pytest
from pydantic import ValidationError

from stages.perturbations import (
    AnyPerturbation,
    ArrangementShift,
    ChannelShift,
    Control,
    FrequencyShift,
    MixedShift,
    Plane,
    RandomDirection,
    Slerp,
    SpatialRoll,
    StdShift,
    UniformMeanShift,
    UniformRandomMeanShift,
    parse,
)
from stages.randomness import rng

TABLE = [
    UniformMeanShift(shift=0.2),
    UniformMeanShift(shift=-0.05),
    UniformRandomMeanShift(scale=0.2),
    UniformRandomMeanShift(scale=-0.2, per="image"),
    StdShift(shrink=0.3),
    StdShift(shrink=-0.3),
    MixedShift(shift=0.15, shrink=0.1),
    MixedShift(shift=0.0, shrink=0.1),
    ArrangementShift(count=64),
    ArrangementShift(count=8, region="block"),
    ArrangementShift(count=64, by="channel_mean"),
    ArrangementShift(count=8, region="block", by="channel_mean"),
    RandomDirection(rms=0.2),
    RandomDirection(rms=0.2, draw="sign"),
    Slerp(fraction=0.3),
    Slerp(fraction=1.0),
    FrequencyShift(band="low", rms=0.2),
    FrequencyShift(band="high", rms=0.2, cutoff=0.3),
    ChannelShift(channel=3, shift=0.2),
    SpatialRoll(columns_px=3),
    SpatialRoll(columns_px=0, rows_px=-2),
    Plane(a=0.3),
    Plane(a=-0.2, b=0.7),
]
CONTROL = Control()


@pytest.mark.parametrize("perturbation", [CONTROL, *TABLE], ids=repr)
class TestLaws:
    def test_keeps_shape_and_type(self, perturbation, latent):
        out = perturbation(latent, rng(1, "perturbation"))
        assert out.shape == latent.shape
        assert out.dtype == np.float32
        assert np.isfinite(out).all()

    def test_leaves_its_input_alone(self, perturbation, latent):
        before = latent.copy()
        latent.flags.writeable = False
        out = perturbation(latent, rng(1, "perturbation"))
        assert not np.shares_memory(out, latent)
        np.testing.assert_array_equal(latent, before)

    def test_changes_the_latent_unless_it_is_the_control(self, perturbation, latent):
        changed = (perturbation(latent, rng(1, "perturbation")) != latent).any()
        assert changed == (perturbation != CONTROL)

    def test_same_seed_same_result(self, perturbation, latent):
        first, second = (perturbation(latent, rng(1, "perturbation")) for _ in range(2))
        assert first.tobytes() == second.tobytes()

    def test_mildest_setting_is_the_identity_bit_for_bit(self, perturbation, latent):
        mildest = perturbation.model_copy(update=perturbation.mildest)
        assert mildest.is_mildest
        assert mildest(latent, rng(1, "perturbation")).tobytes() == latent.tobytes()

    def test_its_formula_agrees_that_the_mildest_setting_is_the_identity(self, perturbation, latent):
        mildest = perturbation.model_copy(update=perturbation.mildest)
        np.testing.assert_allclose(mildest.perturb(latent, rng(1, "perturbation")), latent, rtol=1e-6)

    def test_is_not_at_its_mildest_setting(self, perturbation, latent):  # noqa: ARG002
        assert perturbation.is_mildest == (perturbation == CONTROL)

    def test_survives_json(self, perturbation):
        assert parse(perturbation.model_dump_json()) == perturbation
        assert parse(perturbation.canonical()) == perturbation

    def test_refuses_an_unknown_field(self, perturbation):
        with pytest.raises(ValidationError, match="severity"):
            type(perturbation)(**perturbation.model_dump(), severity=3)

    def test_every_field_states_its_unit_and_its_bounds(self, perturbation):
        for name, field in type(perturbation).model_fields.items():
            if name == "kind":
                continue
            assert field.description, name
            assert field.metadata or get_args(field.annotation), name

    def test_refuses_what_is_not_finite(self, perturbation):
        for name, field in type(perturbation).model_fields.items():
            if field.annotation is float:
                for bad in (float("nan"), float("inf"), 1e9):
                    with pytest.raises(ValidationError, match=name):
                        type(perturbation)(**{**perturbation.model_dump(), name: bad})

    def test_a_curve_has_one_family_and_one_strength_per_point(self, perturbation):
        if perturbation.strength_field is None:
            assert perturbation.strength == 0
            assert perturbation.family == "none"
            return
        other = perturbation.model_copy(update={perturbation.strength_field: 1})
        assert other.strength == 1
        assert other.family == perturbation.family


def test_every_kind_is_in_the_table():
    assert {type(p) for p in [CONTROL, *TABLE]} == set(get_args(get_args(AnyPerturbation)[0]))


def test_every_choice_of_every_kind_is_in_the_table():
    """A choice that no entry takes has no law tested."""
    for kind in {type(p) for p in TABLE}:
        for name, field in kind.model_fields.items():
            choices = {c for c in get_args(field.annotation) if isinstance(c, str)}
            assert choices == {getattr(p, name) for p in TABLE if type(p) is kind} & choices, (kind, name)


@pytest.mark.parametrize(
    ("perturbation", "family"),
    [
        (UniformMeanShift(shift=0.2), "uniform_mean_shift"),
        (UniformRandomMeanShift(scale=0.2, per="image"), "uniform_random_mean_shift(per=image)"),
        (MixedShift(shift=0.15, shrink=0.1), "mixed_shift(shrink=0.1)"),
        (
            ArrangementShift(count=8, region="block", by="channel_mean"),
            "arrangement_shift(region=block, by=channel_mean)",
        ),
        (FrequencyShift(band="low", rms=0.2), "frequency_shift(band=low)"),
        (ChannelShift(channel=3, shift=0.2), "channel_shift(channel=3)"),
    ],
)
def test_family_names_what_a_curve_has_in_common(perturbation, family):
    assert perturbation.family == family


def test_the_control_is_the_shortest_json():
    assert CONTROL.canonical() == '{"kind":"none"}'


@pytest.mark.parametrize(
    "text", ["", "{}", "[]", '{"kind":"gaussian"}', '{"kind":"slerp"}', '{"kind":"slerp","fraction":2}']
)
def test_parse_refuses_what_is_no_perturbation(text):
    with pytest.raises(ValueError, match="validation error"):
        parse(text)


@pytest.mark.parametrize(
    "perturbation", [p for p in TABLE if p.strength_field in {"rms", "fraction", "scale"}], ids=repr
)
def test_strength_moves_along_one_direction(perturbation, latent):
    """The same generator state at every strength gives one curve from the control, not a new draw per point."""
    steps = [
        perturbation.model_copy(update={perturbation.strength_field: s})(latent, rng(1, "perturbation")) - latent
        for s in (0.01, 0.02)
    ]
    cosine = np.sum(steps[0] * steps[1]) / np.linalg.norm(steps[0]) / np.linalg.norm(steps[1])
    assert cosine > 0.999
