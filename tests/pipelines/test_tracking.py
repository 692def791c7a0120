"""What goes to MLflow: settings flattened, missing values left out."""

from pipelines.config import load
from pipelines.robustness import RobustnessSpec
from pipelines.tracking import address, flattened, git_revision, versions


def test_settings_are_flattened_to_text():
    flat = flattened({"a": {"b": 1, "c": None}, "d": [1, 2], "e": {}})
    assert flat == {"a.b": "1", "a.c": "None", "d": "[1, 2]", "e": "{}"}


def test_long_lists_become_their_length_and_hash():
    flat = flattened(load(RobustnessSpec, "robustness_paper").model_dump(mode="json"))
    assert flat["perturbations"].startswith("83 entries, ")
    assert flat["seeds.count"] == "100"


def test_the_default_address_is_beside_the_runs(tmp_path):
    assert address(None, str(tmp_path)) == f"sqlite:///{tmp_path}/mlflow.db"
    assert address("http://127.0.0.1:5000", "runs") == "http://127.0.0.1:5000"


def test_versions_name_what_computes():
    assert {"version.torch", "version.diffusers", "version.ray", "version.seedquake"} <= versions().keys()
    assert git_revision() is None or len(git_revision().rstrip("+")) == 40
