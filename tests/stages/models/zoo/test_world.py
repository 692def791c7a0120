import hashlib
from itertools import combinations

import numpy as np
import pytest

from stages.models.zoo import world
from stages.models.zoo.shapes import SIZE, templates

SOME = np.array([0, 1, 17, 95, 96, 1_234_567, world.HELD_OUT, world.HELD_OUT + 4_321])
DIGEST = "98c85b145b25670934b463828c14c9ed1c2d434b597a4deffd19e78aa0e35b7a"
"""SHA-256 of the renders of `SOME`, made by `render` on 2026-11-23, numpy 2.4, x86-64 with AVX-512."""


def test_the_world_never_changes():
    assert hashlib.sha256(world.render(SOME).tobytes()).hexdigest() == DIGEST


@pytest.mark.parametrize("block", [1, 3, 16])
def test_an_index_is_the_same_bits_in_any_batch(block):
    together = world.render(SOME, block)
    alone = np.concatenate([world.render([index]) for index in SOME])
    np.testing.assert_array_equal(together, alone)
    np.testing.assert_array_equal(world.render(SOME[::-1], block), alone[::-1])


def test_labels_and_colours_are_arithmetic():
    assert world.labels([0, 11, 12, 25]).tolist() == [0, 11, 0, 1]
    assert world.colours([0, 11, 12, 95, 96]).tolist() == [0, 0, 1, 7, 0]
    assert len(set(world.captions(range(96)))) == 96
    assert len(world.CLASSES) == 12
    assert len(world.COLOURS) == 8


@pytest.mark.parametrize(
    ("thing", "colour", "expected"),
    [
        ("circle", "red", "a photo of a red circle"),
        ("fish", "orange", "a photo of an orange fish"),
        ("arrow", "blue", "a photo of a blue arrow"),
        ("arrow", "", "a photo of an arrow"),
    ],
)
def test_captions_have_the_right_article(thing, colour, expected):
    assert world.caption(thing, colour) == expected


def test_silhouettes_differ():
    inside = templates() < 0
    assert inside.any(axis=(1, 2)).all()
    for one, other in combinations(inside, 2):
        common, either = (one & other).sum(), (one | other).sum()
        assert common / either < 0.9


def test_things_stay_inside_the_picture():
    inside = templates() < 0
    edge = np.zeros((SIZE, SIZE), bool)
    edge[[0, -1], :] = edge[:, [0, -1]] = True
    assert not (inside & edge).any()


def test_indices_of_one_class_and_colour_differ():
    same = world.render(np.arange(20) * 96)
    assert len({picture.tobytes() for picture in same}) == 20


def test_fields_are_spread_and_independent():
    scene = world.scene(range(9600))
    (things,), background = scene.things, scene.background
    reals = np.stack([things.x, things.y, things.scale, things.half_turn, background.light, background.phase])
    correlations = np.corrcoef(reals) - np.eye(len(reals))
    assert np.abs(correlations).max() < 0.05
    assert set(background.colour) == set(range(len(world.TONES)))
    assert set(background.pattern) == set(range(len(world.PATTERNS)))
