"""Causes by rules, and the page that shows them."""

import base64
import io
import re
import sys

import numpy as np
import pytest
from PIL import Image

from tests.tuning.sage.people.made_up import CLASSES, PLAIN, SEEN, made, run_folder
from tuning import cli
from tuning.sage.people.atlas import LARGEST_PX, atlas, groups
from tuning.sage.people.causes import CAUSES, UNEXPLAINED, Evidence, Vocabulary, causes, sight
from tuning.sage.people.labelling import NOTHING

VOCABULARY = Vocabulary(classes=CLASSES)
XSS = "<script>alert('x')</script>"
RING = {"member 1": "ring 0.90", "judge": "ring 0.70"}

PROMPTS = {
    "next to a fish": ["Composition dropping", "Position or relation"],
    "with two moons": ["Entity blending", "Counting"],
    "on a sand striped background": ["Context dominance"],
    "and three": ["Counting"],
    "very small": ["Size or scale conflict"],
    "on the left": ["Position or relation"],
    "in red": ["Attribute binding"],
    "in love": ["Unexplained"],
    "": ["Unexplained"],
}
LATENTS = {
    ("fish 0.9", "fish 0.5", "fish 0.51"): "Another class, natural looking",
    ("fish 0.9", "ring 0.8", "fish 0.9"): "Unexplained",
    ("fish 0.3", "fish 0.9", "fish 0.9"): "Unexplained",
    ("fish 0.9", "ring 0.3", "moon 0.49"): "Distorted",
    ("fish 0.3", "ring 0.3", "moon 0.4"): "Nothing recognisable",
    ("star 0.9", "star 0.9", "star 0.9"): "Unexplained",
    ("fish", "fish", "fish"): "Unexplained",
    ("fish 0.9", "fish", "fish 0.9"): "Unexplained",
}


def names(failure, people=None):
    return [cause.name for cause in causes(Evidence(failure, VOCABULARY, people))]


@pytest.mark.parametrize("added", PROMPTS)
def test_causes_of_prompts(added):
    one = made(search="prompt", prompt=f"{PLAIN} {added}".strip())
    assert names(one.failure) == PROMPTS[added]


def test_the_prompt_that_was_searched_from_explains_nothing():
    plain = "a photo of two small red stars next to a fish"
    assert names(made(search="prompt", before=plain, prompt=f"{plain} at the top").failure) == ["Position or relation"]


def test_a_prompt_that_only_begins_alike_was_changed_as_a_whole():
    one = made(search="prompt", prompt=f"{PLAIN}fish in red").failure
    assert Evidence(one, VOCABULARY).added == one.prompt
    assert names(one) == ["Attribute binding"]


def test_nothing_seen_explains_nothing():
    assert names(made(seen={}).failure) == ["Unexplained"]


@pytest.mark.parametrize("saw", LATENTS, ids=" ".join)
@pytest.mark.parametrize("search", ["latent", "seed"])
def test_causes_of_latents(saw, search):
    one = made(search=search, seen=dict(zip(("member 1", "member 2", "judge"), saw, strict=True)))
    assert names(one.failure)[0] == LATENTS[saw]


def test_raters_may_recognise_nothing():
    assert names(made().failure, NOTHING) == ["Nothing recognisable", "Another class, natural looking"]


@pytest.mark.parametrize(("target", "cause"), [("fish", "Target drawn"), ("moon", "Unexplained")])
def test_causes_of_tokens(target, cause):
    assert names(made(search="token", target={"kind": "targeted", "target": target}).failure) == [cause]


def test_every_rule_is_met_by_some_failure_here():
    known = {name for row in PROMPTS.values() for name in row} | {*LATENTS.values(), "Target drawn"}
    assert {cause.name for cause in (*CAUSES, UNEXPLAINED)} == known


@pytest.mark.parametrize("text", ["fish 0.98", "great white shark 1.00", "fish", "", "ring nan"])
def test_what_was_seen_is_read_back(text):
    name, p = sight(text)
    assert f"{name} {p:.2f}" == text if text[-1:].isdigit() else (name == text and np.isnan(p))


class TestPage:
    saved = (
        *(made(number) for number in range(5)),
        *(made(number, seen=RING | {"judge": "ring 0.20"}) for number in range(5, 7)),
        made(7, search="prompt", prompt=f"{PLAIN} {XSS}", objective=None, measured={}),
    )

    def page(self, tmp_path, saved=saved, **settings):
        return atlas(saved, VOCABULARY, tmp_path, **settings)

    def test_groups_by_size_and_examples_by_objective(self, tmp_path):
        found = groups(self.saved, VOCABULARY, tmp_path, {}, limit=3)
        assert [(one.cause.name, one.total) for one in found] == [
            ("Another class, natural looking", 5),
            ("Distorted", 2),
            ("Unexplained", 1),
        ]
        assert [one.saved.failure.objective for one in found[0].examples] == [4, 3, 2]
        assert "2 more are not shown" in self.page(tmp_path, limit=3)
        assert "not shown" not in self.page(tmp_path)

    def test_those_without_an_objective_are_last(self, tmp_path):
        saved = [made(0, objective=None), made(1, objective=-2.0), made(2, objective=0.0)]
        (one,) = groups(saved, VOCABULARY, tmp_path, {}, limit=3)
        assert [example.saved.failure.objective for example in one.examples] == [0, -2, None]

    def test_everything_is_on_it(self, tmp_path):
        text = self.page(tmp_path)
        for one in self.saved:
            assert f"seedquake replay {tmp_path}/failures/{one.failure.name}" in text
        for said in ("a taxonomy of our own", "member 2 saw", SEEN["judge"], "norm_z 0.5, ks_p 0.25", "seed 3"):
            assert said in text
        assert "people saw" not in text

    def test_pictures_are_inside_and_nothing_is_fetched(self, tmp_path):
        text = self.page(tmp_path, self.saved[:1])
        links = re.findall(r'(?:src|href)="([^"]*)"', text)
        assert all(link.startswith(("data:image/png;base64,", "#")) for link in links)
        first, second = (one.removeprefix("data:image/png;base64,") for one in links if one.startswith("data"))
        for data, picture in ((first, self.saved[0].before), (second, self.saved[0].after)):
            np.testing.assert_array_equal(np.asarray(Image.open(io.BytesIO(base64.b64decode(data)))), picture)

    def test_large_pictures_are_shrunk(self, tmp_path):
        one = made()
        large = one._replace(after=np.zeros((300, 600, 3), np.uint8))
        found = re.findall(r"base64,([^\"]*)", self.page(tmp_path, [large]))
        assert Image.open(io.BytesIO(base64.b64decode(found[1]))).size == (LARGEST_PX, LARGEST_PX // 2)

    def test_everything_is_escaped(self, tmp_path):
        wild = made(prompt=XSS, before=XSS, label=XSS, seen={XSS: XSS}, measured={XSS: 1.0}, model=XSS)
        text = self.page(tmp_path / XSS, [wild], labels={XSS: {wild.failure.sha256: XSS}})
        assert "<script" not in text
        assert "&lt;script&gt;" in text

    def test_what_people_saw(self, tmp_path):
        (one, *_), saw = self.saved, {"a": "moon", "b": "moon", "c": "fish"}
        labels = {rater: {one.failure.sha256: answer} for rater, answer in saw.items()}
        assert "moon (3 asked)" in self.page(tmp_path, [one], labels=labels)
        assert "no majority (2 asked)" in self.page(tmp_path, [one], labels={"b": labels["b"], "c": labels["c"]})


def test_the_command_writes_the_page(tmp_path, monkeypatch, capsys):
    run = run_folder(tmp_path, TestPage.saved)
    monkeypatch.setattr(sys, "argv", ["seedquake", "atlas", str(run), "--limit", "2"])
    cli.main()
    assert str(run / "atlas.html") in capsys.readouterr().out
    assert "3 more are not shown" in (run / "atlas.html").read_text()
