"""Trajectories, against Gaussian data on which every distance has a closed form."""

import math
from itertools import pairwise

import diffusers
import numpy as np
import pytest
import torch

from stages.models.analytic import Gaussian, save
from stages.models.generator import step_noise
from stages.models.loading import load_generator
from stages.models.spec import ModelSpec
from stages.models.traced import traced
from stages.sampling import SamplerSpec
from stages.sampling.contraction import contraction
from stages.sampling.recording import Recording, normalised, spread_over
from stages.sampling.trajectory import Plane, Recorder, States, fit_plane, load_plane, save_plane

pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")  # diffusers, in Euler

SHAPE, VARIANCE, SHIFT = (3, 4, 4), 0.09, 0.3
VP = diffusers.DDIMScheduler(clip_sample=False, beta_start=0.00085, beta_end=0.012, beta_schedule="scaled_linear")


@pytest.fixture(scope="module")
def gaussian_by(tmp_path_factory):
    """Isotropic Gaussian pictures, asked in the way of a variance-preserving schedule and in EDM's."""
    folder = tmp_path_factory.mktemp("gaussian")
    size = math.prod(SHAPE)
    model = Gaussian(torch.linspace(-0.4, 0.4, size).view(SHAPE), VARIANCE * torch.eye(size))
    save(model, folder / "vp", VP)
    save(model, folder / "edm")
    return {name: load_generator(ModelSpec(model=str(folder / name))) for name in ("vp", "edm")}


def curves(generator, recording=None, rows=2, shift=SHIFT, **settings):
    """The traces of rows that are shifted by a constant, beside their controls."""
    controls = [np.random.default_rng(n).standard_normal(SHAPE, dtype=np.float32) for n in range(rows)]
    shifted = [x + np.float32(shift) for x in controls]
    recording = recording or Recording(control=True)
    spec = SamplerSpec(guidance=1, **settings)
    return traced(generator, (shifted, controls), ([""] * rows, list(range(rows))), spec, recording)[1]


def visited(steps):
    """Alpha-bar of the visited steps, and the clean picture's."""
    scheduler = diffusers.DDIMScheduler.from_config(VP.config)
    scheduler.set_timesteps(steps)
    return [*scheduler.alphas_cumprod[scheduler.timesteps].double().tolist(), 1.0]


def marginal(signal):
    return signal * VARIANCE + 1 - signal


@pytest.mark.parametrize("steps", [10, 50])
@pytest.mark.parametrize(("name", "eta"), [("ddim", 0.0), ("ddim", 0.5), ("ddim", 1.0), ("ddpm", 1.0)])
def test_an_initial_mean_shift_contracts_as_the_closed_form_says(gaussian_by, name, eta, steps):
    expected = SHIFT * contraction(visited(steps), VARIANCE, eta)
    settings = {"eta": eta} if name == "ddim" else {}
    for trace in curves(gaussian_by["vp"], scheduler=name, steps=steps, **settings):
        np.testing.assert_allclose(trace.control_distance, expected, rtol=1e-3, atol=2e-6)


def test_ancestral_sampling_multiplies_by_the_regression_on_the_later_state():
    """The posterior mean is exact: sqrt(a / b) V(b) / V(a), worked out apart from the step of DDIM."""
    signal = visited(50)
    factors = [math.sqrt(a / b) * marginal(b) / marginal(a) for a, b in pairwise(signal)]
    np.testing.assert_allclose(contraction(signal, VARIANCE, 1.0), np.cumprod([1.0, *factors]))


def test_ancestral_sampling_forgets_the_shift_and_ddim_keeps_it(gaussian_by):
    """The products telescope: sqrt(a) v / V for ancestral steps, however many; sqrt(v / V) for many of DDIM.

    a is alpha-bar where sampling starts, v the data's variance, V = a v + 1 - a. Their ratio, sqrt(a v / V), is what
    the non-zero terminal SNR leaves of the shift.
    """
    for steps in (10, 50, 1000):
        start = visited(steps)[0]
        (trace,) = curves(gaussian_by["vp"], rows=1, scheduler="ddpm", steps=steps)
        expected = SHIFT * math.sqrt(start) * VARIANCE / marginal(start)
        assert trace.control_distance[-1] == pytest.approx(expected, rel=2e-3)
    (trace,) = curves(gaussian_by["vp"], rows=1, scheduler="ddim", steps=1000)
    assert trace.control_distance[-1] == pytest.approx(SHIFT * math.sqrt(VARIANCE / marginal(start)), rel=0.01)


@pytest.mark.parametrize(
    ("model", "name"),
    [("vp", "ddim"), ("vp", "ddpm"), ("vp", "euler"), ("vp", "heun"), ("edm", "heun"), ("edm", "edm_euler")],
)
def test_alpha_bar_and_channel_means_are_those_of_the_states(gaussian_by, model, name):
    record = Recording(channels=True, states=True)
    (trace,) = curves(gaussian_by[model], record, rows=1, scheduler=name, steps=12)
    assert len(trace.signal) == len(trace.states) == len(trace.step_distance) + 1
    assert (np.diff(trace.signal) >= 0).all()
    assert trace.signal[0] < 0.02
    assert trace.signal[-1] == 1
    if name in ("ddim", "ddpm"):
        np.testing.assert_allclose(trace.signal, visited(12), rtol=1e-5)
    states = trace.states.reshape(-1, *SHAPE)
    np.testing.assert_allclose(trace.channel_z, 4 * states.mean(axis=(2, 3)), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("name", ["euler", "heun", "dpmpp", "ddim"])
def test_states_of_all_schedulers_are_in_one_unit(gaussian_by, name):
    """Deterministic samplers follow one flow: in the variance-preserving unit its shift goes from s to s sqrt(v)."""
    (trace,) = curves(gaussian_by["vp"], rows=1, scheduler=name, steps=200)
    assert trace.control_distance[0] == pytest.approx(SHIFT, rel=0.02)
    start = visited(200)[0]
    assert trace.control_distance[-1] == pytest.approx(SHIFT * math.sqrt(VARIANCE / marginal(start)), rel=0.05)


@pytest.mark.parametrize("name", ["edm_euler", "heun", "edm_dpmpp"])
def test_edm_too(gaussian_by, name):
    """It starts at 80 times the noise, which in the variance-preserving unit is the noise again."""
    (trace,) = curves(gaussian_by["edm"], rows=1, scheduler=name, steps=64)
    assert trace.control_distance[0] == pytest.approx(SHIFT, rel=1e-3)
    assert trace.control_distance[-1] == pytest.approx(SHIFT * math.sqrt(VARIANCE), rel=0.05)
    calls = 127 if name == "heun" else 64
    assert trace.step_distance.shape == (calls,)
    assert trace.control_distance.shape == (calls + 1,)


@pytest.mark.parametrize("name", ["ddim", "ddpm", "euler", "heun"])
def test_without_a_shift_nothing_ever_differs(gaussian_by, name):
    for trace in curves(gaussian_by["vp"], shift=0.0, scheduler=name, steps=7):
        assert (trace.control_distance == 0).all()


def test_steps_are_measured_state_by_state(gaussian_by):
    """Against the states themselves, kept by another observer."""
    generator, spec, kept = gaussian_by["vp"], SamplerSpec(guidance=1, scheduler="ddpm", steps=9), States()
    x = torch.randn(2, *SHAPE, generator=torch.Generator().manual_seed(0))
    generator.clean(x, [""] * 2, spec, [step_noise(n) for n in range(2)], kept)
    recorder = Recorder(Recording())
    generator.clean(x, [""] * 2, spec, [step_noise(n) for n in range(2)], recorder)
    steps = np.stack([trace.step_distance for trace in recorder.traces()])
    states = torch.stack(kept.kept, dim=1).flatten(2).double().numpy()
    np.testing.assert_allclose(steps, np.sqrt((np.diff(states, axis=1) ** 2).mean(2)), rtol=1e-5)
    assert kept.kept[0].equal(x)
    assert steps.dtype == np.float32


def test_shares_of_the_way():
    np.testing.assert_allclose(normalised(np.array([1, 3], np.float32)), [0.25, 0.75])
    assert np.isnan(normalised(np.zeros(3, np.float32))).all()


def test_frames_are_the_first_the_last_and_evenly_between():
    assert spread_over(50, 6) == [0, 10, 20, 29, 39, 49]
    assert spread_over(3, 10) == [0, 1, 2]
    assert spread_over(50, 1) == [0]
    assert spread_over(50, 0) == []


class TestPlane:
    def test_it_is_the_plane_of_planar_trajectories(self):
        """States on a known plane: coordinates and distances come back."""
        random = torch.Generator().manual_seed(0)
        axes = torch.linalg.qr(torch.randn(48, 2, generator=random)).Q.T
        coordinates = torch.randn(5, 9, 2, generator=random) * torch.tensor([3.0, 1.0])
        states = coordinates @ axes + 0.7
        plane = fit_plane(states)
        found = plane.project(states.flatten(0, 1).view(-1, *SHAPE)).view(5, 9, 2)
        torch.testing.assert_close(
            torch.cdist(found, found), torch.cdist(coordinates, coordinates), rtol=1e-3, atol=1e-3
        )
        assert (found[:, -1].mean(0) > -1e-4).all()
        assert found[..., 0].std() > found[..., 1].std()

    def test_it_survives_its_file(self, tmp_path):
        plane = fit_plane(torch.randn(3, 4, 48, generator=torch.Generator().manual_seed(0)))
        save_plane(plane, tmp_path / "new" / "plane.npy")
        again = load_plane(tmp_path / "new" / "plane.npy")
        assert again.origin.equal(plane.origin)
        assert again.axes.equal(plane.axes)

    def test_no_plane(self, tmp_path):
        (tmp_path / "other.npy").write_bytes(b"nothing")
        np.save(tmp_path / "wrong.npy", np.zeros((2, 5)))
        for name, message in (("other", "found none"), ("none", "found none"), ("wrong", r"of shape \(2, 5\)")):
            with pytest.raises(ValueError, match=message):
                load_plane(tmp_path / f"{name}.npy")

    def test_a_plane_of_other_states(self):
        plane = Plane(torch.zeros(5), torch.zeros(2, 5))
        with pytest.raises(ValueError, match="expected states of 5 numbers, found 48"):
            plane.project(torch.zeros(1, *SHAPE))
