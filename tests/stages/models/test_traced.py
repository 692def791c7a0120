"""What is kept of trajectories while pictures are drawn."""

import numpy as np
import pytest
import torch

from stages.base import objects
from stages.degradations import BoxInpainting
from stages.generate import Generate, GenerateSpec
from stages.models.source import fingerprint
from stages.perturbations import Control, UniformMeanShift
from stages.randomness import rng
from stages.sampling import SamplerSpec
from stages.sampling.measurement import Measurement
from stages.sampling.recording import Recording
from stages.sampling.trajectory import fit_plane, save_plane
from stages.sampling.upsampling import Upsampling

SHIFTED = UniformMeanShift(shift=0.2).canonical()
FAMILIES = ("stable_diffusion_1", "stable_diffusion_xl", "stable_diffusion_3", "flux", "latent_learned", "pixel_text")

pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")  # diffusers, in Euler


def drawn(folder, record, sampler, n=3, prompt="a cat", perturbation=SHIFTED):
    stage = Generate(GenerateSpec(model=folder, batch=2, threads=1, record=record))
    texts = {"model": folder, "revision": fingerprint(folder), "prompt": prompt, "perturbation": perturbation}
    rows = {name: objects([text] * n) for name, text in (texts | {"sampler": sampler.canonical()}).items()}
    return stage(rows | {"seed": np.arange(n, dtype=np.int64), "error": objects([None] * n)})


def sampler(family, **settings):
    return SamplerSpec(**({"steps": 3, "guidance": 2.0, "size_px": 16 if family == "flux" else None} | settings))


@pytest.mark.parametrize("family", FAMILIES)
def test_pictures_are_those_drawn_unwatched_and_curves_have_the_rows_steps(folder_of, family):
    spec = sampler(family)
    record = Recording(control=True, frames=2, frames_of=(1,))
    plain, watched = (drawn(folder_of(family), r, spec) for r in (None, record))
    assert all(a.tobytes() == b.tobytes() for a, b in zip(plain["image"], watched["image"], strict=True))
    assert set(watched) - set(plain) == {"step_distance", "control_distance", "strip"}
    calls = {len(curve) for curve in watched["step_distance"]}
    assert {len(curve) - 1 for curve in watched["control_distance"]} == calls
    assert len(calls) == 1
    for curve in watched["control_distance"]:
        assert curve[0] == pytest.approx(0.2, abs=1e-4) if family != "flux" else curve[0] > 0
        assert (curve > 0).all()
    assert [strip is None for strip in watched["strip"]] == [True, False, True]
    assert watched["strip"][1].shape == (2, *plain["image"][1].shape)
    assert watched["strip"][1].dtype == np.uint8


@pytest.mark.parametrize("family", ["stable_diffusion_1", "pixel_text"])
def test_curves_depend_on_the_row_alone(folder_of, family):
    record, spec = Recording(control=True), sampler(family, scheduler="ddpm")
    many, few = drawn(folder_of(family), record, spec, n=5), drawn(folder_of(family), record, spec, n=1)
    for name in record.writes():
        assert many[name][0].tobytes() == few[name][0].tobytes()


def test_the_control_has_no_distance_from_itself(folder_of):
    out = drawn(folder_of("latent_learned"), Recording(control=True), sampler(""), perturbation=Control().canonical())
    assert all((curve == 0).all() for curve in out["control_distance"])


def test_the_last_frame_is_the_picture_where_the_last_step_ends_in_the_prediction(folder_of):
    spec = sampler("", scheduler="ddim", steps=5)
    out = drawn(folder_of("pixel_text"), Recording(frames=5, frames_of=(0,)), spec)
    strip, picture = out["strip"][0].astype(int), out["image"][0].astype(int)
    assert np.abs(strip[-1] - picture).max() <= 1
    assert np.abs(strip[0] - picture).max() > 20


def test_a_strip_of_a_model_with_two_stages_is_of_the_first(folder_of):
    spec = sampler("", upsampling=Upsampling(steps=2))
    out = drawn(folder_of("pixel_text"), Recording(frames=2, frames_of=(0,)), spec)
    assert out["strip"][0].shape == (2, 8, 8, 3)
    assert out["image"][0].shape == (16, 16, 3)


def test_states_are_projected_onto_a_plane(folder_of, tmp_path):
    states = torch.randn(4, 5, 256, generator=torch.Generator().manual_seed(0))
    save_plane(fit_plane(states), tmp_path / "plane.npy")
    plane = fit_plane(states)
    out = drawn(folder_of("stable_diffusion_1"), Recording(plane=str(tmp_path / "plane.npy")), sampler(""))
    start = rng(1, "latent").standard_normal((4, 8, 8), dtype=np.float32) + np.float32(0.2)
    np.testing.assert_allclose(out["projection"][1][0], plane.project(torch.from_numpy(start)[None])[0], rtol=1e-4)
    assert out["projection"][1].shape == (len(out["step_distance"][1]) + 1, 2)


def test_a_row_that_fails_has_no_curve(folder_of):
    out = drawn(folder_of("stable_diffusion_1"), Recording(), sampler(""), prompt="")
    assert list(out["step_distance"]) == [None] * 3


def test_a_measured_row_is_not_recorded(folder_of):
    spec = sampler("", scheduler="ddim", measurement=Measurement(operator=BoxInpainting()))
    out = drawn(folder_of("stable_diffusion_1"), Recording(), spec)
    assert all("whose trajectories nobody watches" in error for error in out["error"])


def test_a_pipeline_with_its_own_loop_is_not_watched(folder_of):
    with pytest.raises(ValueError, match="PixArtAlphaPipeline runs its own loop, which nobody watches"):
        Generate(GenerateSpec(model=folder_of("pixart"), record=Recording()))


def test_without_a_recording_the_spec_is_as_it_was():
    assert "record" not in GenerateSpec(model="a/b").canonical()
