from itertools import product

import numpy as np
import pytest

from stages.models.zoo import scenes, world
from stages.models.zoo.sentences import (
    BACKGROUNDS,
    ENDINGS,
    OTHERS,
    PLACES,
    UNSAID,
    VALUES,
    Claims,
    following,
    parse,
    texts,
)

INDEX = np.arange(world.HELD_OUT, world.HELD_OUT + 4000)
NOTHING = dict.fromkeys(VALUES, np.array([UNSAID]))


def claiming(**words: str) -> Claims:
    return Claims(**NOTHING | {name: np.array([VALUES[name].index(word)]) for name, word in words.items()})


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ({"shape": "star"}, "a photo of a star"),
        ({"shape": "arrow", "number": "one"}, "a photo of one arrow"),
        ({"shape": "fish", "colour": "orange"}, "a photo of an orange fish"),
        ({"shape": "fish", "colour": "orange", "number": "two"}, "a photo of two orange fish"),
        ({"shape": "cross", "size": "small", "number": "three"}, "a photo of three small crosses"),
        ({"shape": "moon", "place": "in the centre"}, "a photo of a moon in the centre"),
        ({"shape": "tree", "joiner": "and", "other_shape": "arrow"}, "a photo of a tree and an arrow"),
        (
            {"shape": "tree", "joiner": "next to", "other_shape": "arrow", "other_colour": "blue"},
            "a photo of a tree next to a blue arrow",
        ),
        ({"shape": "ring", "tone": "grey"}, "a photo of a ring on a grey background"),
        ({"shape": "ring", "surface": "striped"}, "a photo of a ring on a striped background"),
        (
            {"shape": "house", "place": "at the top", "tone": "sand", "surface": "dotted"},
            "a photo of a house at the top on a sand dotted background",
        ),
    ],
)
def test_a_caption_says_its_claims_and_nothing_else(words, expected):
    assert texts(claiming(**words)) == [expected]
    found = parse([expected])
    assert {name: getattr(found, name).tolist() for name in VALUES} == {
        name: [VALUES[name].index(words[name]) if name in words else UNSAID] for name in VALUES
    }


def test_parsing_undoes_writing():
    claims = scenes.claims(INDEX)
    found = parse(texts(claims))
    for name in VALUES:
        np.testing.assert_array_equal(getattr(found, name), getattr(claims, name))


@pytest.mark.parametrize(
    "text",
    [
        "",
        "a star",
        "a photo of a unicorn",
        "a photo of a orange star",
        "a photo of two star",
        "a photo of one stars",
        "a photo of a star on a background",
        "a photo of a star at the top on the left",
        "a photo of a star on a grey background at the top",
        "a photo of a star next to a",
        "A photo of a star",
        "a photo of a star ",
    ],
)
def test_another_text_is_refused(text):
    with pytest.raises(ValueError, match=r"scenes: expected a caption such as .*found"):
        parse(["a photo of a star", text])


def test_every_ending_follows_a_thing():
    for phrase in (*PLACES, *OTHERS, *BACKGROUNDS):
        parse([f"a photo of a red star {phrase}"])
    assert len(set(sum(ENDINGS, ()))) == 5 + 3 * 12 * 9 + 41


def test_the_words_that_may_come_next_are_those_of_the_grammar():
    """Beside brute force: every text of a small part of the grammar, cut at every word."""
    others = ("next to a blue fish", "and an arrow")
    whole = [
        f"a photo of a red star {' '.join(filter(None, parts))}".split()
        for parts in product(("", *PLACES), ("", *others), ("", *BACKGROUNDS))
    ]
    cuts: dict[str, set[str]] = {}
    for words in whole:
        for length in range(6, len(words)):
            cuts.setdefault(" ".join(words[:length]), set()).add(words[length])
    assert len(cuts) > 100
    for text, words in cuts.items():
        assert words <= set(following(text))
        known = set(" ".join((*PLACES, *others, *BACKGROUNDS)).split())
        if "next to" not in text and " and" not in text:
            assert set(following(text)) & known == words | (set(following(text)) & {"next", "and"})


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a photo of a red star", ("and", "at", "in", "next", "on", "with")),
        ("a photo of two small red stars on", ("a", "the")),
        ("a photo of a star on the", ("left", "right")),
        ("a photo of a star on the left", ("and", "next", "on", "with")),
        ("a photo of a star and a red", world.CLASSES),
        ("a photo of a star on a grey dotted", ("background",)),
        ("a photo of a star on a grey dotted background", ()),
        ("a photo of a star upon", ()),
    ],
)
def test_words_that_may_come_next(text, expected):
    assert following(text) == tuple(sorted(expected))


@pytest.mark.parametrize("text", ["", "a photo of a red", "a photo of a redstar", "a photo of a stardust"])
def test_a_text_without_its_thing_has_no_next_word(text):
    with pytest.raises(ValueError, match=r"scenes: expected a text that begins .*found"):
        following(text)
