"""The human check: blind, kept at once, for any number of raters."""

import io
import json
import re
import sys
import threading

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from pipelines.config import UserError
from tests.tuning.sage.people.label_client import SAVED, answer, ask, asked, serving
from tests.tuning.sage.people.made_up import CLASSES, made, run_folder
from tests.tuning.test_cli import status
from tuning import cli
from tuning.sage.failures import sha256
from tuning.sage.people.labelling import NOTHING, OTHER, Labelling, controls, kept, read, token
from tuning.sage.people.run_folder import attempted, failures_of


@pytest.fixture
def run(tmp_path):
    return run_folder(tmp_path, SAVED)


@pytest.fixture
def port(run):
    with serving(run) as port:
        yield port


class TestBlind:
    def test_found_and_controls_are_asked_once_each(self, run):
        pictures = Labelling(run, SAVED, CLASSES).pictures
        assert len(pictures) == 9  # the plain seed that fails is no control
        assert {sha256(one) for one in pictures.values()} == {
            *(one.failure.sha256 for one in SAVED),
            *(sha256(one.before) for one in SAVED[:4]),
        }

    def test_a_picture_that_fails_is_no_control(self):
        other = made(9)
        assert not controls([other._replace(before=SAVED[0].after), SAVED[0]._replace(before=SAVED[0].after)])

    def test_answers_differ_by_the_pixels_alone(self, port):
        pages, pictures = set(), {}
        for _ in range(9):
            one = asked(port)
            page, (code, headers, body) = ask(port, "/rater/ann"), ask(port, f"/picture/{one}")
            pictures[one] = Image.open(io.BytesIO(body))
            same = page[2].decode().replace(one, "TOKEN")
            pages.add((page[0], re.sub(r"\d+ of 9|value=\"\d\"|<form.*?undo.*?</form>", "", same, flags=re.DOTALL)))
            assert (code, headers["content-type"], pictures[one].info) == (200, "image/png", {})
            answer(port, "moon")
        assert len(pages) == 1
        assert len(pictures) == 9
        assert {sha256(np.asarray(one)) for one in pictures.values()} == {
            sha256(one) for saved in SAVED for one in (saved.before, saved.after)
        }

    def test_nothing_recorded_is_on_the_page_or_in_its_names(self, port):
        one = asked(port)
        page = ask(port, "/rater/ann")[2].decode()
        for saved in SAVED:
            failure = saved.failure
            for told in (failure.name, failure.sha256, failure.model, failure.prompt, "before", "after", "failure"):
                assert told not in page
                assert told not in one

    def test_each_rater_has_an_own_order(self, run):
        labelling = Labelling(run, SAVED, CLASSES)
        orders = [labelling.order(rater) for rater in ("ann", "bob", "ann")]
        assert orders[0] == orders[2] != orders[1]
        assert sorted(orders[0]) == sorted(orders[1])


class TestKept:
    def test_an_answer_is_a_line_at_once_and_the_next_picture_follows(self, port, run):
        first = answer(port, "star")
        (line,) = (run / "labels" / "ann.jsonl").read_text().splitlines()
        assert token(json.loads(line)["picture"]) == first
        assert json.loads(line)["answer"] == "star"
        assert asked(port) not in {first, None}

    def test_a_rater_goes_on_where_he_stopped(self, run):
        with serving(run) as port:
            done = [answer(port, "star"), answer(port, OTHER)]
            following = asked(port)
        with serving(run) as port:
            assert asked(port) == following
            while (one := asked(port)) is not None:
                done.append(one)
                answer(port, NOTHING)
            assert b"all 9 pictures" in ask(port, "/rater/ann")[2]
        assert len({*done}) == len(done) == 9

    def test_raters_do_not_meet(self, port, run):
        for rater, choice in (("ann", "star"), ("bob", "fish"), ("ann", "ring")):
            answer(port, choice, rater)
        assert {rater: list(answers.values()) for rater, answers in read(run).items()} == {
            "ann": ["star", "ring"],
            "bob": ["fish"],
        }

    def test_many_at_the_same_time_lose_nothing(self, port, run):
        def label(rater):
            for _ in range(9):
                answer(port, "moon", rater)

        threads = [threading.Thread(target=label, args=(f"rater-{number}",)) for number in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert [len(answers) for answers in read(run).values()] == [9] * 4

    def test_undo_asks_again_and_goes_back_one_by_one(self, port, run):
        done = [answer(port, choice) for choice in ("star", "fish", "moon")]
        for back in reversed(done):
            assert ask(port, "/rater/ann/undo", {})[0] == 303
            assert asked(port) == back
        assert ask(port, "/rater/ann/undo", {})[0] == 303
        assert read(run) == {}
        assert len((run / "labels" / "ann.jsonl").read_text().splitlines()) == 6

    def test_a_damaged_file_is_one_sentence(self, port, run):
        answer(port, "star")
        with (run / "labels" / "ann.jsonl").open("a") as file:
            file.write('{"picture": "1"}\n')
        code, _, body = ask(port, "/rater/ann")
        assert code == 400
        assert b"ann.jsonl, line 2: expected an answer" in body

    def test_a_later_answer_counts(self, run):
        labelling = Labelling(run, SAVED, CLASSES)
        one, other = labelling.order("ann")[:2]
        for picture, choice in ((one, "star"), (other, "fish"), (one, "moon")):
            labelling.answer("ann", picture, choice)
        assert list(kept(run / "labels" / "ann.jsonl").values()) == ["fish", "moon"]


class TestMistakes:
    @pytest.mark.parametrize("words", ["label", "label --rater a/b", "labels", "atlas"])
    def test_a_folder_without_failures(self, words, tmp_path, monkeypatch, capsys):
        assert status(monkeypatch, *words.split(), str(tmp_path)) == 2
        assert "expected failures/NAME/failure.json, found none" in capsys.readouterr().err

    def test_a_port_that_is_taken(self, run, port, monkeypatch, capsys):
        assert status(monkeypatch, "label", str(run), "--port", str(port)) == 2
        assert "name another --port" in capsys.readouterr().err

    def test_a_rater_that_is_no_name(self, run, monkeypatch, capsys):
        assert status(monkeypatch, "label", str(run), "--rater", "a/b") == 2
        assert "expected a name of 1 to 40 letters" in capsys.readouterr().err

    def test_a_run_without_a_label_set(self, run, monkeypatch, capsys):
        (run / "spec.yaml").unlink()
        assert status(monkeypatch, "label", str(run)) == 2
        assert "surrogate.labels" in capsys.readouterr().err

    @pytest.mark.parametrize("file", ["failure.json", "arrays.safetensors", "before.png", "after.png"])
    @pytest.mark.parametrize("content", [b"", b"\x89PNG\r\n\x1a\n broken", None])
    def test_a_failure_that_is_not_whole(self, run, file, content):
        folder = run / "failures" / SAVED[0].failure.name
        (folder / file).unlink() if content is None else (folder / file).write_bytes(content)
        if (file, content) == ("failure.json", None):
            assert len(failures_of(run)) == len(SAVED) - 1
            return
        with pytest.raises(UserError) as caught:
            failures_of(run)
        assert folder.name in str(caught.value)
        assert "\n" not in str(caught.value)

    def test_a_picture_that_was_changed(self, run):
        Image.fromarray(SAVED[1].after).save(run / "failures" / SAVED[0].failure.name / "after.png")
        with pytest.raises(UserError, match=r"expected after\.png to be picture"):
            failures_of(run)


def test_labels_prints_the_rates(run, monkeypatch, capsys):
    labelling = Labelling(run, SAVED, CLASSES)
    for rater in ("ann", "bob", "cy"):
        for picture in labelling.order(rater):
            plain = labelling.named[picture] in controls(SAVED)
            labelling.answer(rater, picture, "star" if plain else "fish")
    assert attempted(run) is None
    monkeypatch.setattr(sys, "argv", ["seedquake", "labels", str(run), "--attempted", "8"])
    cli.main()
    out = capsys.readouterr().out
    assert re.search(r"SSR\(H\): searches with one that raters confirm +0\.50", out)
    assert re.search(r"ann +9 +1\.00", out)
    assert re.search(r"kappa +1\.00 \[\?, \?\] \(n=9\)", out)


def test_searches_are_counted_in_the_runs_table(run):
    (run / "tables").mkdir()
    rows = [("search", False), ("search", True), ("search", False), ("fresh_seeds", False)]
    pd.DataFrame(rows, columns=["way", "natural"]).to_parquet(run / "tables" / "attempts.parquet")
    assert attempted(run) == 2


def test_labels_without_answers(run, monkeypatch, capsys):
    assert status(monkeypatch, "labels", str(run)) == 2
    assert "start with seedquake label" in capsys.readouterr().err
