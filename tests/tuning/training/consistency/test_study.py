"""The study of students: what they cost, where they lie, what is compared, and the whole of it at a tiny size."""

import pytest
from rich.console import Console
from safetensors.torch import load_file

from tests.tuning.training.diffusion.test_twins_table import QUALITY
from tuning.study import conduct
from tuning.training.consistency.page import page
from tuning.training.consistency.study import DistillationSpec, Distilled, run

LOOP = {"steps": 2, "batch": 4, "learning_rate": 1e-4, "warmup_steps": 1, "checkpoint_steps": 1}
LCM = {
    "samplers": [{"name": "LCM", "sampler": {"scheduler": "lcm", "guidance": 4.0}}],
    "prompts": {"kind": "list", "prompts": ["a photo of a red star", "a photo of a blue fish"]},
}


def study(output, **changes) -> DistillationSpec:
    found = {
        "name": "students",
        "student": {"images": 16, "loop": LOOP},
        "attack": {"passes": 2, "step": 0.3},
        "quality": QUALITY | LCM,
        "run": {"output": str(output)},
    }
    return DistillationSpec.model_validate(found | changes)


def point(task: Distilled) -> dict:
    return {"name": "one", "task": task.model_dump(mode="json")}


def test_plain_students_match_those_under_attack_counted_both_ways(tmp_path):
    spec = study(tmp_path)
    students = spec.students()
    unattacked = [f"unattacked, {way}, 2 x" for way in ("target", "both")]
    assert list(students) == ["plain", "plain, 2 x", *unattacked, "adversarial, target", "adversarial, both"]
    assert students["plain, 2 x"].loop.steps == 2 * students["plain"].loop.steps
    assert students["plain, 2 x"].loop.rate(2) == students["plain"].loop.rate(1)
    assert students["adversarial, both"].perturbation.orientation == "both"
    assert [pair for pair in spec.controls() if pair[0] == "adversarial, both"] == [
        ("adversarial, both", other) for other in ("unattacked, both, 2 x", "plain", "plain, 2 x")
    ]
    assert spec.headline() == ("adversarial, target", "unattacked, target, 2 x")
    assert spec.plain() == ("adversarial, target", "plain, 2 x")
    assert any("adversarial, both" in line and "2 minibatches, 4 updates, 4 passes" in line for line in spec.plan())


def test_the_closest_control_differs_in_the_attack_alone(tmp_path):
    spec = study(tmp_path)
    for attacked, control in (pair for pair in spec.controls() if pair[1].startswith("unattacked")):
        attack, none = (spec.students()[name].perturbation for name in (attacked, control))
        assert none == attack.model_copy(update={"step": 0.0})


def test_one_update_a_minibatch_without_attack_is_plain_distillation(tmp_path):
    alone = study(tmp_path, attack={"passes": 2, "inner": "pgd"})
    assert list(alone.students()) == ["plain", "unattacked, both", "adversarial, target", "adversarial, both"]
    assert alone.headline() == alone.plain() == ("adversarial, target", "plain")


def test_a_folder_is_named_by_what_is_learned_not_by_where(tmp_path):
    task = study(tmp_path).tasks()["plain"]
    elsewhere = study(tmp_path, run={"output": str(tmp_path), "trials": {"cpus": 2}}).tasks()["plain"]
    assert (task.threads, elsewhere.threads) == (1, 2)
    assert task.folder == elsewhere.folder
    assert len({one.folder for one in study(tmp_path).tasks().values()}) == 6


def test_a_killed_student_goes_on_as_it_was(tmp_path):
    whole, killed = (study(tmp_path / name).tasks()["adversarial, target"] for name in ("a", "b"))
    assert [metrics["updates"] for metrics in run(point(whole)) if "updates" in metrics] == [2, 4]
    next(run(point(killed)))
    assert not killed.measured.exists()
    list(run(point(killed)))
    ours, theirs = (load_file(t.folder / "model/unet/diffusion_pytorch_model.safetensors") for t in (whole, killed))
    assert all((ours[name] == theirs[name]).all() for name in ours)
    assert list(run(point(whole))) == [{"pictures": 8.0}]


def test_what_could_never_run_is_refused(tmp_path):
    study(tmp_path).check()
    with pytest.raises(ValueError, match="expected null, found one; set attack instead"):
        study(tmp_path, student={"images": 16, "loop": LOOP, "perturbation": {"passes": 2}})
    with pytest.raises(ValueError, match="the embedded models are"):
        study(tmp_path, student={"images": 16, "loop": LOOP, "teacher": "nobody"}).check()


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_students_are_judged_by_what_they_draw(tmp_path):
    spec = study(tmp_path)
    found, report = conduct(spec, Console(quiet=True))
    assert report.is_file()
    assert found.verdict == page(spec).verdict
    assert list(found.shown["model"]) == list(spec.students())
    assert len(found.others) == len(spec.controls())
