"""Way (c): `ray up`, `ray submit`, `ray down` with the file for one's own machines, on two inside this one."""

import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from tests.e2e.commands import SEEDQUAKE
from tests.e2e.machines import Machines, machines, missing
from tests.e2e.private_cluster import BIN, PATIENT
from tests.e2e.test_cluster import ROOT, WORDS, samples

pytestmark = [
    pytest.mark.e2e,
    pytest.mark.slow,
    pytest.mark.timeout(2400),
    pytest.mark.skipif(bool(missing()), reason=str(missing())),
]


@pytest.fixture(scope="session", autouse=True)
def shared_ray() -> None:
    """None: these commands reach a Ray by themselves."""


def filled_in(hosts: Machines, output: Path) -> str:
    """The project's own file with its three places filled in, on machines that have the environment already."""
    text = (ROOT / "cluster" / "onpremises.yaml").read_text()
    text = text.replace("/mnt/seedquake/runs", str(output)).replace("$HOME/seedquake/.venv/bin", str(BIN))
    config = yaml.safe_load(text)
    config["cluster_name"] = hosts.folder.name
    config["provider"] |= {"head_ip": hosts.addresses[0], "worker_ips": [*hosts.addresses[1:]]}
    config["auth"] = {"ssh_user": "root", "ssh_private_key": str(hosts.key)}
    config["setup_commands"] = [command for command in config["setup_commands"] if ".local/bin/uv" not in command]
    config["setup_commands"] += [f"echo 'export {name}={value}' >> ~/.bashrc" for name, value in PATIENT.items()]
    config["file_mounts"] = {"~/.ray/auth_token": str(hosts.folder / "token")}
    return yaml.safe_dump(config)


class Client:
    """The machine that the user types on."""

    def __init__(self, hosts: Machines, output: Path) -> None:
        self.file = str(hosts.folder / "cluster.yaml")
        Path(self.file).write_text(filled_in(hosts, output))
        (hosts.folder / "token").write_text("a-token-of-this-test-alone")
        (hosts.folder / "client").mkdir()
        self.environment = {
            "PATH": f"{BIN}:/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin",
            "HOME": str(hosts.folder / "client"),
            "RAY_TMPDIR": str(hosts.folder),
            "RAY_UP_enable_autoscaler_v2": "0",
            "RAY_USAGE_STATS_ENABLED": "0",
        }

    def ray(self, *words: str, status: int = 0) -> str:
        done = subprocess.run(
            [str(BIN / "ray"), *words],
            cwd=ROOT,
            env=self.environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=900,
            check=False,
        )
        assert done.returncode == status, f"status {done.returncode}\n{done.stdout}"
        return done.stdout

    def submit(self, *words: str, status: int = 0) -> str:
        quoted = [f"'{word}'" for word in words]
        submitted = ("submit", self.file, "cluster/submit.py", "--no-config-cache", "--", *quoted)
        return self.ray(*submitted, status=status)


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Client]:
    output = tmp_path_factory.mktemp("launched") / "runs"
    with machines(2) as hosts:
        client = Client(hosts, output)
        client.ray("up", "-y", client.file, "--no-config-cache")
        yield client
        client.ray("down", "-y", client.file)


def test_a_submitted_question_gives_the_rows_of_one_machine(client: Client, tmp_path: Path):
    """The head has no CPU to give: all is drawn on the other machine, which is waited for."""
    said = client.submit(*WORDS)
    assert "goes on without this terminal" in said
    assert "24 of 24" in said
    environment = client.environment | {"RAY_AUTH_MODE": "disabled", "HF_HUB_OFFLINE": "1"}
    subprocess.run([SEEDQUAKE, *WORDS, "run.output=alone"], cwd=tmp_path, env=environment, check=True, timeout=500)
    output = Path(yaml.safe_load(Path(client.file).read_text())["setup_commands"][0].split("=")[1].split("'")[0])
    assert samples(output) == samples(tmp_path / "alone")


def test_a_wrong_setting_fails_and_reaches_no_shell(client: Client):
    """Ray's own command knows the statuses 0 and 1 only."""
    stolen = Path(client.file).parent / "stolen"
    said = client.submit("robustness", "robustness_demo", f"seeds.cuont=$(touch {stolen})", status=1)
    assert "did you mean count?" in said
    assert not stolen.exists()
