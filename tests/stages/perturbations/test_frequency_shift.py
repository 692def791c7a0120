import numpy as np
import pytest

from stages.perturbations import FrequencyShift
from stages.randomness import rng


@pytest.mark.parametrize("shape", [(4, 12, 16), (3, 9, 7), (4, 64, 64)])
@pytest.mark.parametrize("cutoff", [0.3, 0.5])
@pytest.mark.parametrize("band", ["low", "high"])
def test_has_no_power_outside_its_band_and_the_exact_rms_within(band, cutoff, shape):
    field = FrequencyShift(band=band, rms=0.2, cutoff=cutoff)(np.zeros(shape, np.float32), rng(1, "perturbation"))
    assert np.sqrt(np.mean(field.astype(np.float64) ** 2)) == pytest.approx(0.2, rel=1e-6)
    radius = np.hypot(*np.meshgrid(np.fft.fftfreq(shape[1]), np.fft.fftfreq(shape[2]), indexing="ij")) / 0.5
    within = (radius > 0) & (radius <= cutoff) if band == "low" else radius > cutoff
    power = np.abs(np.fft.fft2(field.astype(np.float64))) ** 2
    assert power[:, ~within].max() < 1e-12 * power[:, within].mean()


def test_leaves_the_means_of_the_channels(large):
    for band in ("low", "high"):
        out = FrequencyShift(band=band, rms=0.2)(large, rng(1, "perturbation"))
        np.testing.assert_allclose(out.mean(axis=(1, 2)), large.mean(axis=(1, 2)), atol=1e-6)


def test_bands_and_means_share_out_the_spectrum():
    passed = [FrequencyShift(band=band, rms=0.2).passes(12, 16) for band in ("low", "high")]
    everything = passed[0].astype(int) + passed[1]
    assert everything[0, 0] == 0
    assert (everything.ravel()[1:] == 1).all()


def test_refuses_an_empty_band():
    with pytest.raises(ValueError, match=r"found none at cutoff=0\.1"):
        FrequencyShift(band="low", rms=0.2, cutoff=0.1)(np.zeros((4, 8, 8), np.float32), rng(1, "perturbation"))
