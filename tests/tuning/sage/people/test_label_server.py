"""The server of the human check is closed to other sites, other hosts and other files."""

import re

import pytest

from tests.tuning.sage.people.label_client import SAVED, answer, ask, asked, serving
from tests.tuning.sage.people.made_up import run_folder
from tuning.sage.people.label_server import is_own_name
from tuning.sage.people.labelling import read

XSS = "<script>alert('x')</script>"


@pytest.fixture
def run(tmp_path):
    return run_folder(tmp_path, SAVED)


@pytest.fixture
def port(run):
    with serving(run) as port:
        yield port


class TestClosed:
    def test_nothing_is_fetched_from_elsewhere(self, port):
        code, headers, body = ask(port, "/rater/ann")
        assert code == 200
        assert "default-src 'none'" in headers["content-security-policy"]
        assert headers["cache-control"] == "no-store"
        assert not re.search(r'(?:src|href|action)="(?!/)', body.decode())

    @pytest.mark.parametrize("host", ["evil.example", "evil.example:80", "127.0.0.1.evil.example", "", "[", "10.0.0.1"])
    def test_another_host_is_refused(self, port, host):
        for form in (None, {"answer": "star"}):
            assert ask(port, "/rater/ann", form, Host=host)[0] == 421

    @pytest.mark.parametrize("origin", ["http://evil.example", "null", "", "http://127.0.0.1:1"])
    def test_another_page_cannot_answer(self, port, run, origin):
        form = {"picture": asked(port), "answer": "star"}
        assert ask(port, "/rater/ann", form, Origin=origin)[0] == 403
        assert read(run) == {}

    @pytest.mark.parametrize(
        "path",
        ["/picture/..%2f..%2fspec.yaml", "/picture/../spec.yaml", "/spec.yaml", "/rater/..%2f..%2fx", "/picture/x"],
    )
    def test_no_path_leads_to_files(self, port, path):
        assert ask(port, path)[0] == 404

    @pytest.mark.parametrize("rater", ["a" * 41, "a%20b", "%3Ci%3E", "a%00", "ann%0a"])
    def test_a_rater_is_a_name(self, port, run, rater):
        for found in (
            ask(port, f"/rater/{rater}"),
            ask(port, f"/?rater={rater}"),
            ask(port, f"/rater/{rater}/undo", {}),
        ):
            assert found[0] == 400
        assert not (run / "labels").exists()

    @pytest.mark.parametrize("form", [{}, {"picture": "x", "answer": "star"}, {"answer": "dragon"}, {"answer": XSS}])
    def test_only_choices_about_its_pictures_are_answers(self, port, run, form):
        code, headers, _ = ask(port, "/rater/ann", {"picture": asked(port)} | form if "picture" not in form else form)
        assert code == 400
        assert headers["content-type"].startswith("text/plain")
        assert read(run) == {}

    def test_a_large_form_is_refused(self, port):
        assert ask(port, "/rater/ann", {"answer": "x" * 5000})[0] == 413

    def test_names_of_classes_are_escaped(self, run):
        with serving(run, classes=(XSS, 'a"b')) as port:
            page = ask(port, "/rater/ann")[2].decode()
            assert XSS not in page
            assert "&lt;script&gt;" in page
            answer(port, XSS)
        assert list(read(run)["ann"].values()) == [XSS]


def test_the_start_asks_for_a_name_or_takes_the_given_one(run):
    with serving(run) as port:
        assert b"Who are you?" in ask(port, "/")[2]
        assert ask(port, "/?rater=bob")[1]["location"] == "/rater/bob"
    with serving(run, rater="ann") as port:
        assert ask(port, "/")[1]["location"] == "/rater/ann"


@pytest.mark.parametrize(
    ("asked", "host", "own"),
    [
        ("localhost:8000", "127.0.0.1", True),
        ("[::1]:8000", "::1", True),
        ("10.0.0.7:8000", "0.0.0.0", True),  # noqa: S104
        ("evil.example", "0.0.0.0", False),  # noqa: S104
        ("10.0.0.7", "10.0.0.7", True),
        ("127.0.0.1", "10.0.0.7", False),
        ("box.lan:1", "box.lan", True),
    ],
)
def test_what_a_server_is_called(asked, host, own):
    assert is_own_name(asked, host) == own
