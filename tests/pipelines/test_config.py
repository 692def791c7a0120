"""Configs: what they mean, and that no input at all gives a traceback."""

from pathlib import Path

import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pipelines.config import PACKAGED, UserError, assign, load, validate
from pipelines.questions import QUESTIONS
from pipelines.robustness import RobustnessSpec

DEMO = yaml.safe_load((PACKAGED / "robustness_demo.yaml").read_text())


@pytest.mark.parametrize("path", sorted(PACKAGED.glob("*.yaml")), ids=lambda p: p.stem)
def test_packaged_configs_are_valid_and_say_what_they_are(path: Path):
    load(QUESTIONS[yaml.safe_load(path.read_text())["question"]].settings, path.stem)
    head = path.read_text().splitlines()[:8]
    for word in ("# Question:", "# Command:", "# Expected:"):
        assert any(line.startswith(word) for line in head), word


def test_lists_in_a_perturbation_are_swept():
    shifts = [p for p in load(RobustnessSpec, "robustness_demo").perturbations if p.kind == "uniform_mean_shift"]
    assert [p.shift for p in shifts] == [-1.2, -0.8, -0.4, 0.4, 0.8, 1.2]


def test_the_papers_grid_is_complete():
    spec = load(RobustnessSpec, "robustness_paper")
    kinds = [p.kind for p in spec.perturbations]
    counts = {kind: kinds.count(kind) for kind in dict.fromkeys(kinds)}
    paper = {"uniform_mean_shift": 8, "uniform_random_mean_shift": 8, "std_shift": 6, "mixed_shift": 49}
    assert counts.items() >= paper.items()
    assert counts["arrangement_shift"] == 2 * 4
    assert (spec.seeds.count, spec.sampler[0].steps, spec.sampler[0].guidance) == (100, 50, 7.5)
    assert len(spec.prompts.load()) == 100


def test_overrides_reach_nested_settings_and_lists():
    spec = load(RobustnessSpec, "robustness_demo", ["seeds.count=7", "perturbations.0.shift=0.3", "run.layout=staged"])
    assert (spec.seeds.count, spec.perturbations[0].strength, spec.run.layout) == (7, 0.3, "staged")


def test_where_it_runs_is_no_part_of_the_question():
    one, other = (load(RobustnessSpec, "robustness_demo", [f"run.batch_size={b}"]) for b in (8, 64))
    assert one.identity() == other.identity()
    assert load(RobustnessSpec, "robustness_demo", ["seeds.count=9"]).identity() != one.identity()


@pytest.mark.parametrize(
    ("override", "said"),
    [
        ("sampler.step=3", "did you mean steps?"),
        ("seedz.count=3", "did you mean seeds?"),
        ("sampler.scheduler=ddimm", "sampler.0.scheduler"),
        ("sampler.steps=-3", "sampler.0.steps"),
        ("prompts={kind: list, prompts: []}", "prompts.list.prompts"),
        ("perturbations=[]", "perturbations"),
        ("perturbations.0.shift=.nan", "perturbations.0"),
        ("seeds.count=0", "seeds.count"),
        ("run.device=gpu", "run.device"),
        ("noequals", "expected name=value"),
        ("a.b", "expected name=value"),
        ("perturbations.99.shift=1", "is not a setting"),
        ("name=a/b", "name"),
        ("seeds=[", "expected a YAML value"),
    ],
)
def test_a_mistake_is_one_sentence_with_its_place(override: str, said: str):
    with pytest.raises(UserError) as caught:
        load(RobustnessSpec, "robustness_demo", [override])
    assert said in str(caught.value)
    assert all(len(line) < 400 for line in str(caught.value).splitlines())


@pytest.mark.parametrize(
    "text", ["", "- 1", "a: [", "1: 2", "a: 2001-99-99", "a: !!python/object:os.system x", "a: &x [*x]", "\x00"]
)
def test_files_that_are_no_config(tmp_path: Path, text: str):
    path = tmp_path / "x.yaml"
    path.write_text(text)
    with pytest.raises(UserError):
        load(RobustnessSpec, str(path))


def test_a_missing_file_names_the_packaged_ones():
    with pytest.raises(UserError, match="robustness_demo"):
        load(RobustnessSpec, "no/such/file.yaml")


def test_a_cyclic_file_ends(tmp_path: Path):
    path = tmp_path / "x.yaml"
    path.write_text("a: &x {b: *x}")
    with pytest.raises(UserError, match="levels"):
        load(RobustnessSpec, str(path))


json = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=8,
)
keys = st.sampled_from(sorted(RobustnessSpec.model_fields))


@settings(max_examples=300, deadline=None)
@given(st.dictionaries(keys, json, max_size=6))
def test_fuzz_no_settings_give_a_traceback(changes):
    try:
        spec = validate(RobustnessSpec, {**DEMO, **changes}, "fuzz")
    except UserError as error:
        assert str(error)
    else:
        assert RobustnessSpec.model_validate_json(spec.model_dump_json()) == spec


@settings(max_examples=200, deadline=None)
@given(st.text(max_size=60))
def test_fuzz_no_override_gives_a_traceback(text: str):
    try:
        assign({"a": {"b": [1, 2]}}, text)
    except UserError as error:
        assert str(error)


@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.binary(max_size=200))
def test_fuzz_no_file_gives_a_traceback(tmp_path: Path, content: bytes):
    path = tmp_path / "fuzz.yaml"
    path.write_bytes(content)
    with pytest.raises(UserError):
        load(RobustnessSpec, str(path))
