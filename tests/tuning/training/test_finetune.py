"""The fine-tuning study, at a size that says nothing but runs every part."""

import pytest
from safetensors.torch import load_file

from pipelines.config import load
from tuning.studies_cli import CONFIGS
from tuning.training.finetune import FinetuneSpec, Tuned
from tuning.training.finetune_page import FinetuneScores
from tuning.training.trial import Task, run

BUDGET = {"pictures": 16, "batch": 8, "warmup": 8, "half_life": 16, "checkpoint": 16}
WORLD = {"kind": "world", "side_px": 8, "count": 32, "plain": True, "classes": False}


def study(output) -> FinetuneSpec:
    return FinetuneSpec.model_validate(
        {
            "network": {"kind": "unet", "width": 8, "multipliers": (1, 1), "head_channels": 8},
            "source": {**WORLD, "objects": ("circle", "square")},
            "budget": BUDGET,
            "target": {**WORLD, "objects": ("moon", "fish")},
            "counts": (2, 4),
            "tuning": BUDGET,
            "drawing": {
                "noises": 8,
                "sampler": {"scheduler": "heun", "steps": 2, "guidance": 1.0},
                "descriptor": "pixels:8",
                "threshold": 0.5,
                "features": None,
            },
            "run": {"output": str(output)},
        }
    )


def weights(task: Task) -> dict:
    return load_file(task.folder / "model" / "unet" / "diffusion_pytorch_model.safetensors")


@pytest.fixture(scope="module")
def done(tmp_path_factory) -> FinetuneSpec:
    spec = study(tmp_path_factory.mktemp("runs"))
    for phase in spec.phases():
        for name, task in phase.items():
            list(run({"name": name, "task": task.model_dump(mode="json")}))
    return spec


def test_the_packaged_study_is_planned():
    spec = load(FinetuneSpec, "finetune_small", [], CONFIGS)
    spec.check()
    assert any("16 with the optimal denoisers" in line for line in spec.plan())


def test_all_go_on_from_one_model_and_attention_alone_moves_less(done):
    start = weights(done.base())
    moved = {}
    for layers in ("all", "attention"):
        tuned = weights(done.task(Tuned(4, layers, 0)))
        moved[layers] = {name for name, value in tuned.items() if not value.equal(start[name])}
    assert moved["all"] == set(start)
    assert moved["attention"] == {name for name in start if ".attentions." in name}


def test_the_page_says_what_attention_alone_changes(done):
    page = done.page()
    assert list(page.shown["N"]) == ["2", "2", "4", "4"]
    assert "at N = 2, attention alone changes GL by" in page.verdict
    assert any("still gives what the first model drew from it: all, N = 2:" in said for said in page.sentences)
    kinds = {s.kind for s in FinetuneScores(done).all}
    assert kinds == {"RP", "RP, kinds", "RP, optimal", "RP, start", "floor", "GL", "copies", "GL, unseen"}


def test_a_model_that_is_there_is_not_trained_again(done):
    start = str(done.base().folder / "model")
    again = FinetuneSpec.model_validate(done.model_dump() | {"network": {"kind": "pretrained", "model": start}})
    (tasks,) = again.phases()
    assert all(task.measured.is_file() for task in tasks.values())


def test_the_starting_model_is_part_of_what_is_noted(done):
    task = done.task(Tuned(2, "all", 0))
    file = done.base().folder / "model" / "unet" / "config.json"
    text = file.read_text()
    file.write_text(text.replace("{", "{ ", 1))
    try:
        with pytest.raises(ValueError, match="found others; delete the folder to train again"):
            list(run({"name": "again", "task": task.model_dump(mode="json")}))
    finally:
        file.write_text(text)
