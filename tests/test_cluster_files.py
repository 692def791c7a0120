"""The files that start clusters: Ray takes them, no address is open to the world, and versions are the lock's."""

import re
import shutil
import subprocess
import tomllib
from pathlib import Path
from typing import Any
from zipfile import ZipFile

import jsonschema
import pytest
import yaml

ROOT = Path(__file__).parent.parent
LAUNCHED = [ROOT / "cluster.yaml", *(ROOT / "cluster" / f"{name}.yaml" for name in ("gcp", "onpremises"))]
CLOUDS = LAUNCHED[:2]
FILLED = [*LAUNCHED, ROOT / "cluster" / "rayjob.yaml", ROOT / "cluster" / "slurm.sh"]
LOCK = {package["name"]: package["version"] for package in tomllib.loads((ROOT / "uv.lock").read_text())["package"]}
COPIED = {"pyproject.toml", "uv.lock", "README.md", "stages", "pipelines", "tuning"}


def named(path: Path) -> str:
    return path.name


def read(path: Path) -> dict[str, Any]:
    return yaml.safe_load(path.read_text())


def taken_by_ray(config: dict[str, Any]) -> dict[str, Any]:
    """The config as Ray completes it; raises where Ray refuses it."""
    from ray.autoscaler._private.util import prepare_config, validate_config

    validate_config(prepared := prepare_config(config))
    return prepared


@pytest.mark.parametrize("path", LAUNCHED, ids=named)
def test_ray_takes_the_file(path: Path):
    config = taken_by_ray(read(path))
    assert all(not kind.get("min_workers") for kind in config["available_node_types"].values()) or path not in CLOUDS


@pytest.mark.parametrize("path", LAUNCHED, ids=named)
@pytest.mark.parametrize("wrong", [{"max_worker": 3}, {"idle_timeout_minutes": "ten"}, {"auth": {"ssh_port": 22}}])
def test_ray_refuses_what_it_does_not_know(path: Path, wrong: dict[str, Any]):
    with pytest.raises(jsonschema.ValidationError):
        taken_by_ray(read(path) | wrong)


@pytest.mark.parametrize("path", FILLED, ids=named)
def test_three_places_are_to_be_filled_in(path: Path):
    assert re.findall(r"FILL IN (\d)", path.read_text()) == ["1", "2", "3"]


@pytest.mark.parametrize("path", [*FILLED, ROOT / "cluster" / "Dockerfile"], ids=named)
def test_nothing_is_open_to_the_world(path: Path):
    text = path.read_text()
    assert not re.search(r"0\.0\.0\.0|::|LoadBalancer$|NodePort$", text, flags=re.MULTILINE)
    for command in re.findall(r"ray start --head.*", text):
        assert "--dashboard-host=127.0.0.1" in command


@pytest.mark.parametrize("path", LAUNCHED, ids=named)
def test_every_node_has_the_token_and_the_locked_environment(path: Path):
    config = read(path)
    setup = "\n".join(config["setup_commands"])
    assert "uv sync --frozen --no-dev" in setup
    assert "--compile-bytecode" in setup
    assert "RAY_AUTH_MODE=token" in setup
    assert "chmod 600 ~/.ray/auth_token" in setup
    assert "SEEDQUAKE_OUTPUT=/mnt/seedquake/runs" in setup
    assert config["file_mounts"].pop("~/.ray/auth_token") == "~/.ray/auth_token"
    assert set(config["file_mounts"].values()) == COPIED
    assert all((ROOT / local).exists() and remote == f"~/seedquake/{local}" for remote, local in mounts(config))


def mounts(config: dict[str, Any]) -> list[tuple[str, str]]:
    return [(remote, local) for remote, local in config["file_mounts"].items() if "auth_token" not in remote]


@pytest.mark.parametrize("path", CLOUDS, ids=named)
def test_clouds_start_from_nothing_on_private_addresses_and_spot_machines(path: Path):
    config = read(path)
    assert config["provider"]["use_internal_ips"] is True
    assert 0 < config["idle_timeout_minutes"] <= 30
    head, worker = (config["available_node_types"][name] for name in ("head", "worker"))
    assert head["resources"] == {"CPU": 0}
    assert worker["min_workers"] == 0 < worker["max_workers"]
    assert "spot" in str(worker["node_config"]) or "preemptible': True" in str(worker["node_config"])
    assert "spot" not in str(head["node_config"])
    assert "preemptible" not in str(head["node_config"])


@pytest.mark.parametrize("path", CLOUDS, ids=named)
def test_what_a_command_reads_of_the_file_is_in_it(path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    from pipelines import joining

    (tmp_path / "bootstrap").write_text(yaml.safe_dump(taken_by_ray(read(path))))
    monkeypatch.setenv(joining.NODES, str(tmp_path / "bootstrap"))
    assert len(joining.nodes([{"node:__internal_head__": 1.0}])) == 1 + 8
    assert f"{joining.NODES}=$HOME/ray_bootstrap_config.yaml" in path.read_text()


def test_versions_are_those_of_the_lock():
    for path in (ROOT / "cluster").iterdir():
        text = path.read_text()
        assert set(re.findall(r"(?:rayproject/ray:|rayVersion: )([\d.]+)", text)) <= {LOCK["ray"]}, path
    assert read(ROOT / "cluster" / "rayjob.yaml")["spec"]["rayClusterSpec"]["rayVersion"] == LOCK["ray"]
    uv = re.findall(r"^UV_VERSION := (.*)", (ROOT / "Makefile").read_text(), flags=re.MULTILINE)
    texts = "".join(path.read_text() for path in (*LAUNCHED, ROOT / "cluster" / "Dockerfile"))
    assert set(re.findall(r"uv(?:==|/)([\d.]+)\b", texts)) == set(uv)


def test_a_rayjob_is_one_cluster_of_one_image():
    job = read(ROOT / "cluster" / "rayjob.yaml")
    assert (job["apiVersion"], job["kind"]) == ("ray.io/v1", "RayJob")
    spec = job["spec"]
    assert spec["shutdownAfterJobFinishes"] is True
    assert spec["entrypoint"].startswith("seedquake ")
    cluster = spec["rayClusterSpec"]
    assert cluster["authOptions"] == {"mode": "token"}
    assert cluster["headGroupSpec"]["serviceType"] == "ClusterIP"
    (worker,) = cluster["workerGroupSpecs"]
    assert worker["replicas"] == worker["minReplicas"] == worker["maxReplicas"]
    pods = [group["template"]["spec"] for group in (cluster["headGroupSpec"], worker)]
    assert pods[0]["volumes"] == pods[1]["volumes"]
    head, drawing = (container for pod in pods for container in pod["containers"])
    for name in ("name", "image", "env", "volumeMounts", "securityContext"):
        assert head[name] == drawing[name]
    assert "nvidia.com/gpu" not in head["resources"]["limits"]
    assert drawing["resources"]["limits"]["nvidia.com/gpu"] == "1"


def test_the_image_holds_what_the_nodes_of_a_launched_cluster_hold():
    copies = re.findall(r"^COPY --chown=ray (.*) \S+$", (ROOT / "cluster" / "Dockerfile").read_text(), re.MULTILINE)
    assert {word for line in copies for word in line.split()} == COPIED


def test_the_script_of_slurm_is_whole():
    script = ROOT / "cluster" / "slurm.sh"
    subprocess.run(["bash", "-n", str(script)], check=True)
    if checker := shutil.which("shellcheck"):
        subprocess.run([checker, str(script)], check=True)


def test_what_is_secret_or_large_is_not_uploaded_with_a_job(tmp_path: Path):
    """By Ray's own packing, in a folder with this project's ignore files."""
    from ray._private.runtime_env.packaging import create_package

    kept = [
        "stages/a.py",
        "pipelines/b.yaml",
        "tuning/c.py",
        "stages/weights/model.safetensors",
        "mine.yaml",
        "uv.lock",
    ]
    secret = [".env", "my.pem", "id_ed25519", "auth_token", ".aws/credentials", ".ssh/config", "service-account-1.json"]
    large = [".venv/lib/a.py", "runs/store/a.parquet", ".git/a", "mlflow.db", "docs/a.png", ".training/a", ".uv/bin/uv"]
    for name in (*kept, *secret, *large):
        (tmp_path / "project" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "project" / name).touch()
    for name in (".gitignore", ".rayignore"):
        shutil.copy(ROOT / name, tmp_path / "project" / name)
    create_package(str(tmp_path / "project"), tmp_path / "package.zip", include_gitignore=True)
    with ZipFile(tmp_path / "package.zip") as package:
        assert set(package.namelist()) == {*kept, ".gitignore", ".rayignore"}


def test_the_project_is_small_enough_for_an_upload():
    """Ray's packages must fit one message, 512 MiB; it warns above half of that."""
    files = [path for name in COPIED for path in (ROOT / name, *(ROOT / name).rglob("*")) if path.is_file()]
    assert sum(path.stat().st_size for path in files if "__pycache__" not in path.parts) < 2**28
