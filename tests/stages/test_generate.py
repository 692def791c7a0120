import numpy as np
import pytest
import torch

from stages.base import objects
from stages.degradations import BoxInpainting
from stages.degradations.pictures import FolderPicture
from stages.generate import Generate, GenerateSpec
from stages.models.source import fingerprint
from stages.perturbations import Control, UniformMeanShift, parse, unlikeliness
from stages.randomness import rng
from stages.sampling import SamplerSpec
from stages.sampling.measurement import Measurement

CONTROL = Control().canonical()
SHIFTED = UniformMeanShift(shift=0.2).canonical()
SAMPLER = SamplerSpec(steps=3, guidance=3.0).canonical()
ANCESTRAL = SamplerSpec(scheduler="ddpm", steps=3, guidance=3.0).canonical()

pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")  # diffusers, in Euler


@pytest.fixture(scope="module")
def stage_of(folder_of):
    stages = {}

    def stage(family="stable_diffusion_1", batch=4):
        if (family, batch) not in stages:
            stages[family, batch] = Generate(GenerateSpec(model=folder_of(family), batch=batch, threads=1))
        return stages[family, batch]

    return stage


def rows_for(stage, n=6, **columns):
    """Rows of alternating prompts, perturbations and samplers, each with its own seed."""
    defaults = {
        "model": [stage.spec.model] * n,
        "revision": [fingerprint(stage.spec.model)] * n,
        "prompt": ["a cat", "a dog"] * n,
        "perturbation": [CONTROL, SHIFTED, SHIFTED] * n,
        "sampler": [SAMPLER, SAMPLER, SAMPLER, ANCESTRAL] * n,
        "error": [None] * n,
    }
    texts = {name: objects((columns.get(name) or values)[:n]) for name, values in defaults.items()}
    return texts | {"seed": np.array(columns.get("seed") or range(n), dtype=np.int64)}


def take(batch, rows):
    return {name: column[list(rows)] for name, column in batch.items()}


def same(a, b):
    return all(x.tobytes() == y.tobytes() for x, y in zip(a, b, strict=True))


@pytest.mark.parametrize("family", ["stable_diffusion_1", "stable_diffusion_xl", "stable_diffusion_3", "pixart"])
def test_a_picture_depends_on_its_row_alone(stage_of, family):
    """Bit for bit: in another order, in partial batches, one at a time, beside rows that fail."""
    stage = stage_of(family)
    samplers = [SAMPLER] * 6 if family == "stable_diffusion_3" else None
    rows = rows_for(stage, sampler=samplers)
    whole = stage(rows)["image"]
    order = [3, 5, 0, 2, 4, 1]
    assert same(stage(take(rows, order))["image"], whole[order])
    assert same(stage(take(rows, [4, 1]))["image"], whole[[4, 1]])
    assert same(np.concatenate([stage(take(rows, [n]))["image"] for n in range(6)]), whole)
    bad = rows | {"prompt": objects(["", *rows["prompt"][1:]])}
    assert same(stage(bad)["image"][1:], whole[1:])
    assert len({picture.tobytes() for picture in whole}) == 6
    assert {(picture.shape, picture.dtype.name) for picture in whole} == {((16, 16, 3), "uint8")}


@pytest.mark.slow  # two threads spin while other work holds the cores
@pytest.mark.parametrize("family", ["stable_diffusion_1", "stable_diffusion_xl", "stable_diffusion_3", "pixart"])
def test_threads_change_nothing_of_that(stage_of, family):
    stage = stage_of(family)
    rows = rows_for(stage, n=4, sampler=[SAMPLER] * 4)
    torch.set_num_threads(2)
    try:
        whole = stage(rows)["image"]
        assert same(stage(take(rows, [3, 1, 0, 2]))["image"], whole[[3, 1, 0, 2]])
        assert same(stage(take(rows, [2]))["image"], whole[[2]])
    finally:
        torch.set_num_threads(1)


@pytest.mark.parametrize("family", ["pixel_unet", "pixel_transformer"])
def test_a_picture_of_a_class_of_none_or_of_a_measurement_depends_on_its_row_alone(stage_of, family):
    stage = stage_of(family)
    free = SamplerSpec(scheduler="heun", steps=3, guidance=2.0).canonical()
    measurement = Measurement(operator=BoxInpainting())
    followed = SamplerSpec(scheduler="edm_euler", steps=3, guidance=2.0, measurement=measurement).canonical()
    prompts, samplers = ["heart", "", "circle", "a cat", "", "heart"], [free, free, followed, free, followed, followed]
    rows = rows_for(stage, prompt=prompts, sampler=samplers)
    out = stage(rows)
    assert [picture is None for picture in out["image"]] == [False, False, False, True, False, False]
    assert "must be empty or one of circle, square, heart, but is 'a cat'" in out["error"][3]
    whole, order = out["image"], [5, 0, 2, 4, 1]
    assert same(stage(take(rows, order))["image"], whole[order])
    assert same(np.concatenate([stage(take(rows, [n]))["image"] for n in order]), whole[order])
    assert len({picture.tobytes() for picture in whole[order]}) == 5


def test_a_row_that_measures_nothing_fails_alone(stage_of, tmp_path):
    stage = stage_of("pixel_unet")
    measurement = Measurement(operator=BoxInpainting(), picture=FolderPicture(path=str(tmp_path)))
    followed = SamplerSpec(scheduler="edm_euler", steps=3, guidance=1, measurement=measurement).canonical()
    samplers = [SamplerSpec(steps=3, guidance=1).canonical(), followed]
    out = stage(rows_for(stage, n=2, prompt=["", ""], sampler=samplers))
    assert out["error"][0] is None
    assert "expected a picture number 0" in out["error"][1]


def test_the_perturbation_reaches_the_unscaled_latent_of_the_seed(stage_of):
    stage = stage_of()
    out = stage(rows_for(stage, seed=[7] * 6))
    latent = rng(7, "latent").standard_normal((4, 8, 8), dtype=np.float32)
    for row in (0, 1):
        x = parse(out["perturbation"][row])(latent, rng(7, "perturbation"))
        expected = unlikeliness(x)
        assert (out["latent_mean_z"][row], out["latent_norm_z"][row], out["latent_ks_p"][row]) == expected
    assert out["latent_mean_z"][1] != out["latent_mean_z"][0]


def test_the_picture_is_the_pipelines_own(stage_of):
    stage = stage_of()
    rows = rows_for(stage, n=2, sampler=[SAMPLER] * 2, perturbation=[CONTROL] * 2)
    pipe = stage.generator.pipe
    x = np.stack([rng(seed, "latent").standard_normal((4, 8, 8), dtype=np.float32) for seed in range(2)])
    options = {"num_inference_steps": 3, "guidance_scale": 3.0, "output_type": "np"}
    theirs = pipe(prompt=["a cat", "a dog"], latents=torch.as_tensor(x), **options).images
    ours = np.stack(list(stage(rows)["image"])).astype(int)
    assert np.abs(ours - (theirs * 255).round()).max() <= 1


def test_control_and_shifted_rows_share_their_step_noise(stage_of):
    stage = stage_of()
    tiny = UniformMeanShift(shift=1e-6).canonical()
    rows = rows_for(stage, n=3, seed=[3, 3, 4], perturbation=[CONTROL, tiny, CONTROL], sampler=[ANCESTRAL] * 3)
    rows["prompt"] = objects(["a cat"] * 3)
    control, shifted, other = (picture.astype(int) for picture in stage(rows)["image"])
    assert np.abs(control - shifted).max() <= 1
    assert np.abs(control - other).max() > 20


FAILURES = {
    "prompt": ("", "the prompt must be a text, but is ''"),
    "perturbation": ('{"kind":"no_such"}', "no_such"),
    "sampler": ('{"steps":-1}', "steps"),
    "model": ("another/model", "the row wants another/model@.*, but this actor holds"),
    "revision": ("f" * 32, "the row wants .*ffff, but this actor holds"),
    "error": ("it failed before", "^it failed before$"),
}


@pytest.mark.parametrize("column", FAILURES)
def test_a_row_that_fails_says_why_and_harms_no_other(stage_of, column):
    stage = stage_of()
    rows = rows_for(stage)
    value, message = FAILURES[column]
    bad = rows | {column: objects([*rows[column][:2], value, *rows[column][3:]])}
    out, clean = stage(bad), stage(rows)
    assert out["image"][2] is None
    assert np.isnan([out[name][2] for name in ("latent_mean_z", "latent_norm_z", "latent_ks_p")]).all()
    with pytest.raises(ValueError, match=message):
        raise ValueError(out["error"][2])
    assert "\n" not in out["error"][2]
    others = [0, 1, 3, 4, 5]
    assert same(out["image"][others], clean["image"][others])
    assert [out["error"][row] for row in others] == [None] * 5


def test_a_scheduler_that_the_model_cannot_run_fails_the_row(stage_of):
    stage = stage_of()
    out = stage(rows_for(stage, n=2, sampler=[SamplerSpec(scheduler="flow_euler").canonical()] * 2))
    assert list(out["image"]) == [None, None]
    assert "cannot run a model that predicts epsilon" in out["error"][0]


def test_pictures_that_are_not_finite_fail_alone(stage_of):
    stage = stage_of()
    rows = rows_for(stage)
    clean = stage(rows)["image"]
    huge = SamplerSpec(steps=3, guidance=1e38).canonical()
    out = stage(rows | {"sampler": objects([huge, *rows["sampler"][1:]])})
    assert out["image"][0] is None
    assert out["error"][0] == "the picture has values that are not finite"
    assert np.isfinite(out["latent_mean_z"][0])
    assert same(out["image"][1:], clean[1:])


def test_a_latent_that_is_not_finite_fails_alone(stage_of, monkeypatch):
    stage = stage_of()
    rows = rows_for(stage)
    clean = stage(rows)["image"]
    monkeypatch.setattr(UniformMeanShift, "perturb", lambda _, x, __: x * np.float32("nan"))
    out = stage(rows)
    for row in range(6):
        shifted = rows["perturbation"][row] == SHIFTED
        assert shifted == ("the perturbed latent has values that are not finite" in str(out["error"][row]))
        assert shifted or out["image"][row].tobytes() == clean[row].tobytes()


def test_what_the_text_encoder_does_not_see_is_said(stage_of):
    stage = stage_of()
    out = stage(rows_for(stage, n=2, prompt=["a cat", "abcdefghijklmnopq"]))
    assert list(out["truncated"]) == [None, "opq"]
    assert list(out["error"]) == [None, None]


def test_a_batch_of_failures_only_and_an_empty_batch(stage_of):
    stage = stage_of()
    out = stage(rows_for(stage, n=2, prompt=["", " "]))
    assert list(out["image"]) == [None, None]
    empty = stage(take(rows_for(stage, n=2), []))
    assert {len(column) for column in empty.values()} == {0}
