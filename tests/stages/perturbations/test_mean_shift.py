import math

import numpy as np
import pytest

from stages.perturbations import ChannelShift, UniformMeanShift, UniformRandomMeanShift
from stages.randomness import rng


@pytest.mark.parametrize(("shift", "ratio"), [(0.1, 1.0050), (0.2, 1.0198), (-0.3, 1.0440)])
def test_uniform_mean_shift_lengthens_the_norm_by_sqrt_1_plus_a_squared(shift, ratio, large):
    x = (large - large.mean()) / large.std()  # the law of the expectation, exact for exact moments
    out = UniformMeanShift(shift=shift)(x, rng(1, "perturbation"))
    assert np.linalg.norm(out) / np.linalg.norm(x) == pytest.approx(math.sqrt(1 + shift**2), abs=1e-5)
    assert math.sqrt(1 + shift**2) == pytest.approx(ratio, abs=5e-5)


@pytest.mark.parametrize("scale", [0.2, -0.2])
def test_uniform_random_mean_shift_adds_mean_a_half_and_std_a_by_sqrt_12(scale, large):
    added = UniformRandomMeanShift(scale=scale)(large, rng(1, "perturbation")) - large
    assert added.mean() == pytest.approx(scale / 2, abs=4 * abs(scale) / math.sqrt(12 * large.size))
    assert added.std() == pytest.approx(abs(scale) / math.sqrt(12), rel=0.02)
    assert np.abs(added).max() <= abs(scale) + 1e-6


def test_uniform_random_mean_shift_per_image_adds_one_constant(large):
    added = [UniformRandomMeanShift(scale=0.2, per="image")(large, rng(s, "perturbation")) - large for s in range(400)]
    assert max(np.ptp(a) for a in added) < 1e-6
    constants = [float(a.mean()) for a in added]
    assert np.mean(constants) == pytest.approx(0.1, abs=4 * 0.2 / math.sqrt(12 * 400))
    assert np.std(constants) == pytest.approx(0.2 / math.sqrt(12), rel=0.1)


def test_channel_shift_moves_its_channel_alone(latent):
    added = ChannelShift(channel=2, shift=0.2)(latent, rng(1, "perturbation")) - latent
    np.testing.assert_allclose(added[2], 0.2, atol=1e-6)
    assert not added[[0, 1, 3]].any()


def test_channel_shifts_of_all_channels_make_the_uniform_mean_shift(latent):
    out = latent
    for channel in range(len(latent)):
        out = ChannelShift(channel=channel, shift=0.2)(out, rng(1, "perturbation"))
    np.testing.assert_array_equal(out, UniformMeanShift(shift=0.2)(latent, rng(1, "perturbation")))


def test_channel_shift_refuses_a_channel_that_is_not_there(latent):
    with pytest.raises(ValueError, match=r"channel from 0 to 3 .* found channel=4"):
        ChannelShift(channel=4, shift=0.2)(latent, rng(1, "perturbation"))
