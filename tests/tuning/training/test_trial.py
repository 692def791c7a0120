"""A trial: resumed after a kill it is the straight one, done once, and what it draws is what every question draws."""

import numpy as np
import pytest
import torch

from stages.generate import Generate, GenerateSpec
from stages.models.source import revision
from stages.perturbations import Control
from stages.sampling import SamplerSpec
from tuning.training.drawn import read
from tuning.training.networks import UNet
from tuning.training.pictures import TrainingSet, WorldPictures
from tuning.training.settings import Budget, EdmSpec
from tuning.training.trial import Drawing, Task, run

SAMPLER = SamplerSpec(scheduler="heun", steps=6, guidance=1.0)


def task(output, count: int = 6, **settings) -> Task:
    source = WorldPictures(side_px=8, count=40, plain=True, classes=False)
    return Task(
        model=EdmSpec(
            network=UNet(width=8, multipliers=(1, 1), head_channels=8),
            data=TrainingSet(source=source, count=count, parts=2),
            budget=Budget(pictures=48, batch=8, warmup=8, half_life=32, checkpoint=16),
        ),
        drawing=Drawing(noises=5, sampler=SAMPLER, descriptor="pixels:8", threshold=0.5, features=None),
        output=str(output),
        **settings,
    )


def point(task: Task) -> dict:
    return {"name": "one", "task": task.model_dump(mode="json")}


def weights(task: Task) -> bytes:
    return (task.folder / "model" / "unet" / "diffusion_pytorch_model.safetensors").read_bytes()


def test_a_killed_trial_goes_on_where_it_was(tmp_path):
    straight, killed = task(tmp_path / "straight"), task(tmp_path / "killed")
    told = list(run(point(straight)))
    assert [metrics["pictures"] for metrics in told] == [16, 32, 48, 48]
    first = next(run(point(killed)))
    assert first["loss"] == told[0]["loss"]
    rest = list(run(point(killed)))
    assert [m.get("loss") for m in [first, *rest]] == [m.get("loss") for m in told]
    assert weights(killed) == weights(straight)
    np.testing.assert_array_equal(read(killed).pictures, read(straight).pictures)
    assert not (killed.folder / "checkpoint.pt").exists()


def test_a_finished_trial_does_nothing(tmp_path):
    done = task(tmp_path)
    list(run(point(done)))
    before = {file: file.stat().st_mtime_ns for file in done.folder.rglob("*")}
    assert [list(m) for m in run(point(done))] == [["pictures"]]
    assert {file: file.stat().st_mtime_ns for file in done.folder.rglob("*")} == before


def test_other_pictures_under_one_name_are_refused(tmp_path):
    done = task(tmp_path)
    list(run(point(done)))
    note = done.folder / "training.json"
    note.write_text(note.read_text().replace('"pictures": "', '"pictures": "0'))
    with pytest.raises(ValueError, match=r"expected the pictures and the first weights .* found others"):
        list(run(point(done)))


def test_the_stage_draws_the_same_pictures(tmp_path):
    """So that `seedquake reproducibility` on the trained folders rests on the same pictures."""
    done = task(tmp_path)
    list(run(point(done)))
    model = str(done.folder / "model")
    stage = Generate(GenerateSpec(model=model, batch=256, device="cpu", dtype="float32"))
    seeds = np.arange(100_000, 100_005)
    row = {"model": model, "revision": revision(model, "float32"), "prompt": "", "sampler": SAMPLER.canonical()}
    columns = {name: np.array([value] * 5, dtype=object) for name, value in row.items()}
    columns |= {"seed": seeds, "perturbation": np.array([Control().canonical()] * 5, dtype=object)}
    drawn = stage(columns | {"error": np.array([None] * 5, dtype=object)})
    np.testing.assert_array_equal(np.stack(list(drawn["image"])), read(done).pictures)


def test_the_optimal_denoiser_draws_copies(tmp_path):
    optimal = task(tmp_path, optimal=True)
    sampler = SamplerSpec(scheduler="heun", steps=18, guidance=1.0)
    optimal = optimal.model_copy(update={"drawing": optimal.drawing.model_copy(update={"sampler": sampler})})
    list(run(point(optimal)))
    drawn = read(optimal)
    assert drawn.nearest.max() < 0.1  # 8 x 8 x 3 values, each rounded to 1 / 255
    assert drawn.ratio.max() < 1 / 3


def test_measures_against_brute_force(tmp_path):
    done = task(tmp_path)
    list(run(point(done)))
    drawn, data = read(done), done.model.data
    flat = [x.reshape(len(x), -1) / 255.0 for x in (drawn.pictures, data.load().images)]
    flat.append(data.source.load(data.unseen(5)).images.reshape(5, -1) / 255.0)
    distance = [np.linalg.norm(x[:, None] - flat[1][None], axis=-1) for x in flat]
    np.testing.assert_allclose(drawn.nearest, distance[0].min(axis=1), rtol=1e-5)
    ordered = np.sort(distance[0], axis=1)
    np.testing.assert_allclose(drawn.ratio, ordered[:, 0] / ordered[:, 1], rtol=1e-5)
    np.testing.assert_allclose(drawn.background, np.sort(distance[1], axis=1)[:, 1], rtol=1e-5)
    np.testing.assert_allclose(drawn.unseen, distance[2].min(axis=1), rtol=1e-5)


def test_weights_are_read_without_pickle(tmp_path):
    started = task(tmp_path)
    next(run(point(started)))
    state = torch.load(started.folder / "checkpoint.pt", weights_only=True)
    assert state["step"] == 2
