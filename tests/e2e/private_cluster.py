"""A Ray head of a test's own: on this machine, with ports, a folder and a token that nothing else has."""

import os
import secrets
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import psutil

BIN = Path(sys.executable).parent
START_S, COMMAND_S = 400, 500
"""Long: these tests may share their cores with others."""
PATIENT = {
    "RAY_DASHBOARD_STARTUP_TIMEOUT_S": "300",
    "RAY_DASHBOARD_SUBPROCESS_MODULE_WAIT_READY_TIMEOUT": "300",
    "RAY_agent_register_timeout_ms": "300000",
    "RAY_health_check_failure_threshold": "60",
}
"""Ray's own limits on its start, for the same reason."""


@dataclass(frozen=True)
class Head:
    """What a command needs to reach it."""

    folder: Path
    address: str
    dashboard: str
    environment: dict[str, str]

    def start(self, *words: str, cwd: Path, **variables: str) -> subprocess.Popen[str]:
        """Start a command that has the token."""
        return subprocess.Popen(
            words,
            cwd=cwd,
            env=self.environment | variables,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )

    def run(self, *words: str, cwd: Path, status: int = 0, **variables: str) -> str:
        """Run a command that has the token, and return what it says."""
        with self.start(*words, cwd=cwd, **variables) as started:
            try:
                said, _ = started.communicate(timeout=COMMAND_S)
            finally:
                end(started.pid)
        assert started.returncode == status, f"status {started.returncode}\n{said}"
        return said


@contextmanager
def private_head(cpus: int) -> Iterator[Head]:
    """Give a head that is gone, with all its processes and files, whatever happens."""
    folder = Path(tempfile.mkdtemp(prefix="sq", dir="/tmp"))  # short: Ray's sockets lie below it
    port, dashboard, client, agent = free_ports(4)
    (folder / "token").touch(mode=0o600)
    (folder / "token").write_text(secrets.token_hex(24))
    environment = {name: value for name, value in os.environ.items() if not name.startswith("RAY_")} | {
        "PATH": f"{BIN}:{os.environ['PATH']}",
        "RAY_AUTH_MODE": "token",
        "RAY_AUTH_TOKEN_PATH": str(folder / "token"),
        "RAY_USAGE_STATS_ENABLED": "0",
        "HF_HUB_OFFLINE": "1",
        **PATIENT,
    }
    words = ["ray", "start", "--head", "--block", f"--num-cpus={cpus}", f"--temp-dir={folder / 'ray'}"]
    words += [f"--port={port}", "--dashboard-host=127.0.0.1", f"--dashboard-port={dashboard}"]
    words += [f"--ray-client-server-port={client}", f"--dashboard-agent-listen-port={agent}"]
    with (folder / "log").open("w") as log:
        started = subprocess.Popen(
            [str(BIN / words[0]), *words[1:]], env=environment, stdout=log, stderr=log, start_new_session=True
        )
    try:
        wait_for("Ray runtime started", folder / "log", started)
        yield Head(folder, f"127.0.0.1:{port}", f"http://127.0.0.1:{dashboard}", environment)
    finally:
        end(started.pid)
        started.wait()
        shutil.rmtree(folder, ignore_errors=True)


def wait_for(text: str, log: Path, started: "subprocess.Popen[bytes]") -> None:
    deadline = time.monotonic() + START_S
    while text not in log.read_text():
        assert started.poll() is None, log.read_text()
        assert time.monotonic() < deadline, log.read_text()
        time.sleep(0.2)


def free_ports(count: int) -> list[int]:
    """Ports below those that the system hands out by itself, so that nothing takes one before Ray does."""
    found: list[int] = []
    while len(found) < count:
        with socket.socket() as one, suppress(OSError):
            one.bind(("127.0.0.1", port := 20_000 + secrets.randbelow(12_000)))
            found += [port] if port not in found else []
    return found


def end(pid: int) -> None:
    """Kill a process and all that it started."""
    try:
        parent = psutil.Process(pid)
        processes = [*parent.children(recursive=True), parent]
    except psutil.NoSuchProcess:
        return
    for process in processes:
        try:
            process.kill()
        except psutil.NoSuchProcess:
            continue
    psutil.wait_procs(processes, timeout=20)
