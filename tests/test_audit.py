"""The audit of the locked packages and the list of them, against an answering, an alarmed and an absent osv.dev."""

import json
import os
import shutil
import subprocess
import threading
import tomllib
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
UV = shutil.which("uv") or str(ROOT / ".uv" / "bin" / "uv")
pytestmark = pytest.mark.skipif(not Path(UV).is_file(), reason="no uv, which `make setup` brings")
NOTHING_LISTENS_HERE = "http://127.0.0.1:9"


@contextmanager
def osv(vulnerable: str) -> Iterator[str]:
    """A server on this machine that speaks as osv.dev does and knows of one vulnerability of one package."""

    class Answers(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            asked = json.loads(self.rfile.read(int(self.headers["content-length"])))["queries"]
            known = {"vulns": [{"id": "GHSA-0", "modified": "2026-01-01T00:00:00Z"}]}
            self.answer({"results": [known if one["package"]["name"] == vulnerable else {} for one in asked]})

        def do_GET(self) -> None:
            self.answer({"id": "GHSA-0", "modified": "2026-01-01T00:00:00Z", "summary": "a hole", "affected": []})

        def answer(self, value: object) -> None:
            body = json.dumps(value).encode()
            self.send_response(200)
            self.send_header("content-length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            pass

    with HTTPServer(("127.0.0.1", 0), Answers) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


def audit(service: str) -> tuple[int, str]:
    words = [str(ROOT / ".ci" / "audit"), UV, "--service-url", service]
    environment = {**os.environ, "UV_HTTP_RETRIES": "0"}
    done = subprocess.run(words, capture_output=True, text=True, env=environment, check=False)
    return done.returncode, done.stdout


@pytest.mark.parametrize(("vulnerable", "status"), [("ray", 1), ("a package that is not locked", 0)])
def test_a_known_vulnerability_is_status_1(vulnerable: str, status: int):
    with osv(vulnerable) as service:
        found, said = audit(service)
    assert found == status, said
    assert ("a hole" in said) == bool(status)
    assert "NOT AUDITED" not in said


def test_without_a_network_it_says_so():
    status, said = audit(NOTHING_LISTENS_HERE)
    assert status == 0
    assert said.splitlines()[-1] == "NOT AUDITED: osv.dev could not be reached"


def test_a_wrong_command_line_is_no_missing_network():
    assert audit("no address")[0] == 2


def test_the_list_of_packages_is_that_of_the_lock(tmp_path: Path):
    (command,) = (line for line in (ROOT / "Makefile").read_text().splitlines() if "cyclonedx" in line)
    words = command.replace("$(UV)", UV).replace("sbom.json", str(tmp_path / "sbom.json")).split()
    subprocess.run(words, cwd=ROOT, check=True)
    bill = json.loads((tmp_path / "sbom.json").read_text())
    assert bill["bomFormat"] == "CycloneDX"
    listed = {part["purl"].partition("?")[0] for part in bill["components"]}
    locked = {
        f"pkg:pypi/{package['name']}@{package['version']}"
        for package in tomllib.loads((ROOT / "uv.lock").read_text())["package"]
    }
    assert listed < locked
    assert {"pkg:pypi/ray", "pkg:pypi/torch", "pkg:pypi/mlflow"} <= {purl.partition("@")[0] for purl in listed}
    assert not any("pytest" in purl for purl in listed)
