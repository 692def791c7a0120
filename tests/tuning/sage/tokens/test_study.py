"""The study of universal tokens, at a size that says nothing but runs every part."""

import pytest
from safetensors.numpy import load_file

from pipelines.config import load
from stages.models.zoo import world
from tuning.sage.tokens.page import ARMS, page
from tuning.sage.tokens.study import TokenStudySpec
from tuning.sage.tokens.task import run
from tuning.studies_cli import CONFIGS

SPEC = {
    "model": "zoo:text-to-image",
    "surrogate": {
        "labels": world.CLASSES,
        "members": [{"kind": "classifier", "model": "zoo:classifier"}],
        "judge": {"kind": "classifier", "model": "zoo:judge"},
    },
    "clip": "zoo:clip",
    "search": {
        "sampler": {"scheduler": "ddim", "steps": 2, "guidance": 1.0},
        "gradient": {"kind": "residual", "last_steps": 1},
        "iterations": 2,
        "minibatch": 2,
        "controls": ["random_vector", "target_word"],
    },
    "targets": ["fish"],
    "classes": ["star", "moon"],
    "held_out_classes": ["heart"],
    "seeds": 2,
    "held_out_seeds": 1,
}


def study(output, **changes) -> TokenStudySpec:
    return TokenStudySpec.model_validate(SPEC | {"run": {"output": str(output)}} | changes)


@pytest.fixture(scope="module")
def done(tmp_path_factory) -> TokenStudySpec:
    spec = study(tmp_path_factory.mktemp("runs"))
    for phase in spec.phases():
        for name, task in phase.items():
            list(run({"name": name, "task": task.model_dump(mode="json")}))
    return spec


def test_the_page_holds_every_arm(done):
    found = page(done)
    assert found.tables["transfer"]["behind the prompt"].tolist() == [
        ARMS[arm] for arm in ("plain", "found", "random_vector", "target_word")
    ]
    assert set(found.tables["transfer"]["n"]) == {"1"}  # one new prompt on one new seed
    assert "new prompts and seeds" in found.verdict


def test_what_is_done_is_not_done_again(done):
    task = done.task("fish")
    file = task.file(task.attempts[0])
    before = file.stat().st_mtime_ns
    assert len(list(run({"name": "fish", "task": task.model_dump(mode="json")}))) == 1
    assert file.stat().st_mtime_ns == before
    assert load_file(file.with_suffix(".safetensors"))["vectors"].shape == (1, 128)


def test_prompts_to_try_are_new_and_say_their_colour(tmp_path):
    spec = study(tmp_path, colours=["red", "orange"])
    search = spec.token_search()
    assert [prompt.text for prompt in search.held_out.prompts] == [
        "a photo of a red heart",
        "a photo of an orange heart",
    ]
    assert not {*search.train.seeds} & {*search.held_out.seeds}
    with pytest.raises(ValueError, match="that are not in train"):
        study(tmp_path, held_out_classes=["star"])


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"targets": ["dragon"]}, "dragon"),
        ({"classes": ["fish"], "targets": ["fish"]}, "found none"),
        ({"model": "zoo:nothing"}, "nothing"),
    ],
    ids=str,
)
def test_bad_settings_are_one_sentence(tmp_path, change, said):
    with pytest.raises(ValueError, match=said):
        study(tmp_path, **change).check()


def test_the_packaged_study_is_planned():
    spec = load(TokenStudySpec, "sage_token_demo", [], CONFIGS)
    spec.check()
    assert any(line.startswith("tokens     2") for line in spec.plan())
