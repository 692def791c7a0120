"""Which Ray is used and how large it may become: what the environment says, and what settings say over it."""

import os
from pathlib import Path

import pytest
import yaml

from pipelines import joining
from pipelines.cluster import HEAP, join, keep_token_private, refuse_impossible, start
from pipelines.compute import Compute
from pipelines.config import UserError, load
from pipelines.pipeline import Pipeline, Step
from pipelines.plan import lines, plan
from pipelines.robustness import Robustness, RobustnessSpec
from pipelines.run import RunSpec
from tests.pipelines.toys import Draw, ToySpec
from tuning.search import SearchRun

HEAD = {"node:__internal_head__": 1.0, "node:10.0.0.1": 1.0}
WORKER = {"CPU": 8.0, "GPU": 1.0}


@pytest.fixture(autouse=True)
def bare(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in (joining.ADDRESS, joining.NODES, joining.OUTPUT):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def grows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    types = {"head": {"resources": {"CPU": 0}}, "worker": {"resources": WORKER, "min_workers": 0, "max_workers": 3}}
    path = tmp_path / "bootstrap.yaml"
    path.write_text(yaml.safe_dump({"available_node_types": types, "head_node_type": "head", "max_workers": 3}))
    monkeypatch.setenv(joining.NODES, str(path))
    return path


@pytest.mark.parametrize(
    ("setting", "variable", "found"),
    [
        ("local", None, "local"),
        ("local", "", "local"),
        ("local", "10.0.0.1:6379", "10.0.0.1:6379"),
        ("auto", "10.0.0.1:6379", "auto"),
        ("10.0.0.2:6379", "10.0.0.1:6379", "10.0.0.2:6379"),
    ],
)
def test_a_setting_counts_more_than_rays_variable(setting, variable, found, monkeypatch):
    if variable is not None:
        monkeypatch.setenv(joining.ADDRESS, variable)
    assert joining.address(setting) == found


def test_a_plan_says_which_ray_it_would_use(tmp_path, monkeypatch):
    asked = Robustness(load(RobustnessSpec, "robustness_demo", [f"run.output={tmp_path}"]))
    assert "ray        one of its own, on this machine" in lines(asked, found := plan(asked))
    monkeypatch.setenv(joining.ADDRESS, "10.0.0.1:6379")
    assert "ray        joins 10.0.0.1:6379, which RAY_ADDRESS names" in lines(asked, found)


def test_results_go_where_the_cluster_says(monkeypatch):
    assert (RunSpec().output, SearchRun().output) == ("runs", "runs")
    monkeypatch.setenv(joining.OUTPUT, "/mnt/shared")
    assert (RunSpec().output, SearchRun().output) == ("/mnt/shared", "/mnt/shared")
    assert RunSpec(output="here").output == "here"


def test_results_in_the_copy_that_ray_deletes_are_refused(tmp_path, monkeypatch):
    copy = tmp_path / "runtime_resources" / "working_dir_files" / "_ray_pkg_1234"
    copy.mkdir(parents=True)
    monkeypatch.chdir(copy)
    joining.refuse_fleeting(str(tmp_path))
    with pytest.raises(UserError, match="outlives the job, found 'runs' in the copy"):
        joining.refuse_fleeting("runs")


def test_a_cluster_of_a_fixed_size_is_what_it_is():
    assert joining.nodes([HEAD, WORKER]) == [HEAD, WORKER]


@pytest.mark.usefixtures("grows")
def test_a_cluster_that_grows_is_asked_for_all_that_it_may_become():
    assert joining.nodes([HEAD]) == joining.nodes([HEAD, WORKER]) == [HEAD, WORKER, WORKER, WORKER]
    pipeline = Pipeline("toys", Step(Draw, ToySpec(), Compute(actors=3, gpus=1)))
    refuse_impossible(pipeline, RunSpec(), joining.nodes([HEAD]))
    with pytest.raises(UserError, match=r"at least 4 GPUs .* found 3"):
        refuse_impossible(
            Pipeline("toys", Step(Draw, ToySpec(), Compute(actors=4, gpus=1))), RunSpec(), joining.nodes([HEAD])
        )


def test_machines_that_are_always_there_are_waited_for_and_then_counted(grows):
    """On premises one type stands for the head and all others, and nobody says what it has."""
    types = {"node": {"resources": {}, "min_workers": 2, "max_workers": 2}}
    grows.write_text(yaml.safe_dump({"available_node_types": types, "head_node_type": "node"}))
    assert joining.expected() == 3
    assert joining.nodes([HEAD, WORKER, WORKER]) == [HEAD, WORKER, WORKER]


def test_nothing_is_waited_for_where_nothing_is_said():
    assert joining.expected() == 1


def test_a_file_of_nodes_that_is_none_is_named(grows):
    for text in ("[]", "head_node_type: head", "a: [", "available_node_types: {a: {resources: {CPU: many}}}"):
        grows.write_text(text)
        with pytest.raises(UserError, match=r"SEEDQUAKE_NODES: expected a file like cluster\.yaml"):
            joining.nodes([HEAD])
    grows.unlink()
    with pytest.raises(UserError, match="No such file"):
        joining.nodes([HEAD])


def test_rays_token_is_its_users_alone(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    keep_token_private()  # nothing there: nothing happens
    (tmp_path / ".ray").mkdir()
    (tmp_path / ".ray" / "auth_token").write_text("token")
    keep_token_private()
    assert (tmp_path / ".ray" / "auth_token").stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize("wrong", ["http://127.0.0.1:8265", "127.0.0.1:9"])
def test_what_is_no_running_ray_is_refused_in_one_sentence(wrong: str):
    with pytest.raises(UserError, match=r"run\.address: expected") as refused:
        join(wrong)
    assert ("RAY_API_SERVER_ADDRESS" in str(refused.value)) == wrong.startswith("http")


def test_processes_of_a_local_ray_keep_their_heap_unless_told_otherwise(tmp_path, monkeypatch):
    import ray

    given = {}
    monkeypatch.setattr(ray, "init", lambda **_: given.update(os.environ))
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("MALLOC_ARENA_MAX", "7")
    for name in set(HEAP) - {"MALLOC_ARENA_MAX"}:
        monkeypatch.setenv(name, "")
        monkeypatch.delenv(name)
    start(RunSpec(output=str(tmp_path)), 1)
    assert {name: given[name] for name in HEAP} == HEAP | {"MALLOC_ARENA_MAX": "7"}
