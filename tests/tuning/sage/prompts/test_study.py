"""The study of searches over prompts on the embedded models of scenes, at a size that runs every part."""

import json

import numpy as np
import pytest

from pipelines.config import load
from stages.models.loading import load_generator
from stages.models.spec import ModelSpec
from stages.models.zoo import world
from tuning.sage import failures
from tuning.sage.prompts.page import page, read
from tuning.sage.prompts.study import PromptStudySpec
from tuning.sage.prompts.task import run
from tuning.studies_cli import CONFIGS

SPEC = {
    "model": "zoo:scenes",
    "surrogate": {
        "labels": world.CLASSES,
        "members": [{"kind": "classifier", "model": "zoo:scenes-style"}],
        "judge": {"kind": "classifier", "model": "zoo:scenes-judge"},
    },
    # so few steps that an appended word may break a picture
    "search": {
        "sampler": {"scheduler": "ddim", "steps": 4, "guidance": 2.0},
        "gradient": {"kind": "residual", "last_steps": 1},
        "iterations": 1,
        "verify": 3,
        "words": 3,
        "share": 0.5,
        "language": {"top": 8},
    },
    "classes": ["star", "moon"],
    "repeats": 2,
    "seeds": 2,
    "fresh_seeds": 2,
    "group": 2,
}


def study(output, **changes) -> PromptStudySpec:
    return PromptStudySpec.model_validate(SPEC | {"run": {"output": str(output)}} | changes)


@pytest.fixture(scope="module")
def done(tmp_path_factory) -> PromptStudySpec:
    spec = study(tmp_path_factory.mktemp("runs"))
    for phase in spec.phases():
        for name, task in phase.items():
            list(run({"name": name, "task": task.model_dump(mode="json")}))
    return spec


def test_every_attempt_has_an_outcome_and_no_control_more_pictures(done):
    answers = read(done)
    search = answers.found["search"]
    assert list(search) == done.attempts()
    for way in done.controls:
        control = answers.found[way]
        assert [one.natural for one in control.values()] == [one.natural for one in search.values()]
        assert {one.plain for one in control.values()} == {one.plain for one in search.values()}
    for attempt, one in answers.found["random_completions"].items():
        assert one.evaluations <= search[attempt].evaluations


def test_words_are_appended_and_the_loss_rises(done):
    for one in read(done).of("search"):
        objectives = [step.objective for step in one.path]
        assert objectives == sorted(objectives)
        assert one.prompt.startswith(one.plain)
        assert not one.success or one.words
        assert len(one.fresh) == len(one.plain_fresh) == done.fresh_seeds


def test_found_prompts_are_kept_and_drawn_again(done):
    found = [one for one in read(done).of("search") if one.success]
    assert found, "this size was chosen so that some searches succeed"
    task = next(iter(done.tasks("search").values()))
    generator = load_generator(ModelSpec(model=done.model, device="cpu", dtype="float32"))
    for one in found:
        saved = failures.load(task.folder / "failures" / one.failure)
        assert (saved.failure.prompt, saved.failure.before) == (one.prompt, one.plain)
        assert saved.failure.seed in one.attempt.seeds
        np.testing.assert_array_equal(failures.redraw(saved, generator), saved.after)


def test_what_is_done_is_not_done_again(done):
    (name, task) = next(iter(done.tasks("search").items()))
    before = {file: file.stat().st_mtime_ns for file in task.outcomes.glob("*.json")}
    task.measured.unlink()
    assert len(list(run({"name": name, "task": task.model_dump(mode="json")}))) == 1
    assert before == {file: file.stat().st_mtime_ns for file in before}


def test_the_page_answers(done):
    found = page(done)
    attempts = found.tables["attempts"]
    assert attempts.groupby("way").size().to_dict() == dict.fromkeys(("search", *done.controls), len(done.attempts()))
    assert found.shown["class"].tolist() == ["star", "moon", "all"]
    said = " ".join(found.sentences)
    assert "seeds that no search has seen" in said
    assert "nan" not in said
    kept = {file.parent.name for file in (done.folder / "failures").glob("*/failure.json")}
    assert kept == {one.failure for one in read(done).of("search") if one.failure}
    assert all(json.loads((done.folder / "failures" / name / "failure.json").read_text())["measured"] for name in kept)


def test_fresh_seeds_are_those_of_no_search(tmp_path):
    spec = study(tmp_path, first_seed=7)
    searched = {seed for attempt in spec.attempts() for seed in attempt.seeds}
    assert searched == {7, 8, 9, 10}
    assert spec.unseen() == (11, 12)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"classes": ["dragon"]}, "dragon"),
        ({"targets": [{"kind": "targeted", "target": "star"}], "classes": ["star"]}, "no attempt left"),
        ({"controls": ["search"]}, "found 'search', which is none"),
        ({"model": "zoo:nothing"}, "nothing"),
        ({"search": SPEC["search"] | {"language": {"model": "zoo:nothing"}}}, "nothing"),
    ],
    ids=str,
)
def test_bad_settings_are_one_sentence(change, said, tmp_path):
    with pytest.raises(ValueError, match=said):
        study(tmp_path, **change).check()


def test_the_packaged_study_is_planned():
    spec = load(PromptStudySpec, "sage_prompt_demo", [], CONFIGS)
    spec.check()
    assert any(line.startswith("searches   12") for line in spec.plan())
