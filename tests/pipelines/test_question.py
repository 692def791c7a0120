"""What holds for every question: its configs, its identity, its plan."""

from pathlib import Path

import pytest
import yaml

from pipelines.config import PACKAGED, UserError, load
from pipelines.questions import KINDS, QUESTIONS, resolved

CONFIGS = sorted(p.stem for p in PACKAGED.glob("*.yaml"))


@pytest.mark.parametrize("config", CONFIGS)
def test_packaged_configs_say_which_question_they_ask(config: str):
    tree = yaml.safe_load((PACKAGED / f"{config}.yaml").read_text())
    spec = load(QUESTIONS[tree["question"]].settings, config)
    assert spec.name == config
    head = (PACKAGED / f"{config}.yaml").read_text().partition("\nquestion:")[0].splitlines()
    for word in ("# Question: ", "# Command:  ", "# Expected: "):
        assert any(line.startswith(word) for line in head), word
    assert any(f"seedquake {spec.question} {config}" in line for line in head)


@pytest.mark.parametrize("config", CONFIGS)
def test_the_settings_of_a_run_folder_are_the_same_question(config: str, tmp_path: Path):
    spec = load(QUESTIONS[yaml.safe_load((PACKAGED / f"{config}.yaml").read_text())["question"]].settings, config)
    (tmp_path / "spec.yaml").write_text(yaml.safe_dump(spec.described(), sort_keys=False))
    again = load(type(spec), str(tmp_path / "spec.yaml"))
    assert again == spec
    assert again.folder == spec.folder
    assert list(spec.described())[-1] == "run"


def test_a_name_stands_for_one_question():
    expected = ["factorial", "memorization", "quality", "reproducibility", "robustness", "trajectory"]
    assert sorted(QUESTIONS) == expected
    assert len(QUESTIONS) == len(KINDS)


def test_the_identity_of_a_sweep_is_as_it_was_before_there_were_other_questions():
    """Its reports, and the ids of its rows, lie in folders of these names."""
    spec = load(QUESTIONS["robustness"].settings, "robustness_demo")
    assert spec.identity() == load(type(spec), "robustness_demo", ["run.output=elsewhere"]).identity()
    assert spec.identity() == "865f9701"


def test_where_it_runs_is_no_part_of_a_question():
    kind = QUESTIONS["reproducibility"].settings
    one, other = (load(kind, "reproducibility_samplers", [f"run.batch_size={n}"]) for n in (8, 16))
    assert one.identity() == other.identity()
    assert one.identity() != load(kind, "reproducibility_samplers", ["threshold=0.5"]).identity()


@pytest.mark.parametrize(
    ("text", "expected", "said"),
    [
        ("question: memorization\n", "robustness", "expected settings of robustness, found those of memorization"),
        ("question: robustnes\n", None, "expected one of robustness, reproducibility, memorization"),
        ("question: [1]\n", None, "expected one of robustness"),
    ],
)
def test_other_questions_are_refused(text: str, expected: str | None, said: str, tmp_path: Path):
    (tmp_path / "a.yaml").write_text(text)
    with pytest.raises(UserError, match=said):
        resolved(str(tmp_path / "a.yaml"), [], expected)


def test_a_config_without_a_question_is_of_robustness(tmp_path: Path):
    text = (PACKAGED / "robustness_demo.yaml").read_text().replace("question: robustness\n", "")
    (tmp_path / "old.yaml").write_text(text)
    found = resolved(str(tmp_path / "old.yaml"), [])
    assert found.spec == load(type(found.spec), "robustness_demo")
