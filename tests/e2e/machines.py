"""Machines of a test's own, inside this one: each with its network, processes, home, shared memory and SSH server.

They reach each other over a bridge of private addresses that leads nowhere else. They share this machine's disk, as a
cluster's machines share a folder.
"""

import os
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

from tests.e2e.private_cluster import end

ROOT = Path(__file__).parent.parent.parent
NEEDED = ("ip", "unshare", "sshd", "ssh", "ssh-keygen", "rsync")
INIT = """
set -e
mount --make-rprivate /
mount -t tmpfs tmpfs /dev/shm
mkdir -p /tmp/ray /run/sshd
mount -t tmpfs tmpfs /tmp/ray
for place in "$python" "$project"; do
    case "$place" in "$HOME"/*)
        mkdir -p "$home/${place#"$HOME"/}"
        mount --rbind "$place" "$home/${place#"$HOME"/}"
    esac
done
mount --rbind "$home" "$HOME"
hostname "$name"
exec "$sshd" -D -e -f /dev/null -h "$folder/host_key" -o UsePAM=no -o StrictModes=no -o PidFile=none \
    -o PermitRootLogin=prohibit-password -o AuthorizedKeysFile="$folder/key.pub" -o ListenAddress="$address"
"""


def missing() -> str | None:
    """What this machine lacks to hold others; None where nothing."""
    lacking = [name for name in NEEDED if not shutil.which(name)]
    if os.getuid() != 0 or lacking:
        return f"machines inside this one need root and {', '.join(lacking or NEEDED)}"
    done = subprocess.run(["unshare", "--net", "--pid", "--mount", "--uts", "--fork", "true"], check=False)
    return None if done.returncode == 0 else "this machine may not divide itself"


@dataclass(frozen=True)
class Machines:
    """Their addresses, and the key that opens each as this user."""

    addresses: tuple[str, ...]
    key: Path
    folder: Path


@contextmanager
def machines(count: int) -> Iterator[Machines]:
    """Give machines that are gone, with all their processes and networks, whatever happens."""
    folder = Path(tempfile.mkdtemp(prefix="sqm", dir="/tmp"))
    tag = f"sq{os.getpid() % 100_000}"
    addresses = tuple(f"10.99.0.{number + 11}" for number in range(count))
    started: list[subprocess.Popen[bytes]] = []
    try:
        for name in ("key", "host_key"):
            run("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(folder / name))
        run("ip", "link", "add", tag, "type", "bridge")
        run("ip", "address", "add", "10.99.0.1/24", "dev", tag)
        run("ip", "link", "set", tag, "up")
        for number, address in enumerate(addresses):
            connect(f"{tag}-{number}", address, tag)
            started.append(boot(f"{tag}-{number}", address, folder))
        for address in addresses:
            wait_for_ssh(address)
        yield Machines(addresses, folder / "key", folder)
    finally:
        for machine in started:
            end(machine.pid)
            machine.wait()
        for name in [f"{tag}-{number}" for number in range(count)]:
            run("ip", "netns", "delete", name, check=False)
        run("ip", "link", "delete", tag, check=False)
        shutil.rmtree(folder, ignore_errors=True)


def connect(name: str, address: str, bridge: str) -> None:
    """Make a network of one address, with a cable to the bridge."""
    run("ip", "netns", "add", name)
    run("ip", "link", "add", f"{name}a", "type", "veth", "peer", "name", f"{name}b")
    run("ip", "link", "set", f"{name}a", "master", bridge, "up")
    run("ip", "link", "set", f"{name}b", "netns", name)
    for words in (("address", "add", f"{address}/24", "dev", f"{name}b"), ("link", "set", f"{name}b", "up")):
        run("ip", "-n", name, *words)
    run("ip", "-n", name, "link", "set", "lo", "up")
    # To nowhere, but Ray asks which of its addresses a machine would use.
    run("ip", "-n", name, "route", "add", "default", "via", "10.99.0.1")


def boot(name: str, address: str, folder: Path) -> "subprocess.Popen[bytes]":
    """Start a machine's first process, its SSH server; with it ends all that runs there."""
    (home := folder / name).mkdir(mode=0o700)
    settings = {"home": home, "folder": folder, "name": name, "address": address, "sshd": shutil.which("sshd")}
    settings |= {"python": sys.base_prefix, "project": ROOT}
    environment = {**os.environ, **{key: str(value) for key, value in settings.items()}}
    divided = ["unshare", "--pid", "--mount", "--uts", "--fork", "--kill-child", "--mount-proc", "bash", "-c", INIT]
    with (folder / f"{name}.log").open("w") as log:
        return subprocess.Popen(["ip", "netns", "exec", name, *divided], env=environment, stdout=log, stderr=log)


def wait_for_ssh(address: str) -> None:
    deadline = time.monotonic() + 60
    while True:
        with suppress(OSError), socket.create_connection((address, 22), timeout=5):
            return
        assert time.monotonic() < deadline, f"no SSH server at {address}"
        time.sleep(0.2)


def run(*words: str, check: bool = True) -> None:
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    assert not check or done.returncode == 0, f"{words}: {done.stderr}"
