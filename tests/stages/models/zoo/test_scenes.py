import hashlib
from dataclasses import replace

import numpy as np
import pytest

from stages.models.zoo import scenes, world
from stages.models.zoo.sentences import NUMBERS, PLACES, UNSAID, VALUES

SOME = np.array([0, 1, 17, 95, 96, 1_234_567, world.HELD_OUT, world.HELD_OUT + 4_321])
DIGEST = "5bbc6c40f4c093295987edec45b389d8ab286e7e5a8875cd5fd5b8f26220bdaf"
"""SHA-256 of the renders and captions of `SOME`, made by `render` on 2026-11-26, numpy 2.4, x86-64 with AVX-512."""
INDEX = np.arange(world.HELD_OUT, world.HELD_OUT + 9600)


def rows(claims, row):
    return replace(claims, **{name: getattr(claims, name)[row] for name in VALUES})


def test_scenes_never_change():
    found = hashlib.sha256(scenes.render(SOME).tobytes())
    found.update("\n".join(scenes.captions(SOME)).encode())
    assert found.hexdigest() == DIGEST


@pytest.mark.parametrize("block", [1, 3, 16])
def test_an_index_is_the_same_bits_in_any_batch(block):
    index = np.concatenate([SOME, INDEX[:12]])
    together = scenes.render(index, block)
    alone = np.concatenate([scenes.render([i]) for i in index])
    np.testing.assert_array_equal(together, alone)
    np.testing.assert_array_equal(scenes.render(index[::-1], block), alone[::-1])
    assert scenes.captions(index) == [text for i in index for text in scenes.captions([i])]


def test_what_is_not_shown_does_not_matter():
    """Drawing the whole scene, with the things that are away, is the same bits."""
    np.testing.assert_array_equal(scenes.render(INDEX[:64]), world.draw(scenes.scene(INDEX[:64])))


def test_main_things_are_those_of_the_plain_world():
    np.testing.assert_array_equal(scenes.labels(INDEX), world.labels(INDEX))
    np.testing.assert_array_equal(scenes.colours(INDEX), world.colours(INDEX))


def test_classes_and_colours_are_balanced_whatever_the_scene():
    assert (np.bincount(scenes.labels(INDEX)) == len(INDEX) / 12).all()
    claims = scenes.claims(INDEX)
    for said in (claims.number == 1, claims.place == 0, claims.other_shape >= 0, claims.tone == 2):
        of_class = np.bincount(scenes.labels(INDEX[said]), minlength=12) / said.sum()
        np.testing.assert_allclose(of_class, 1 / 12, atol=5 * np.sqrt(1 / 12 / said.sum()))


def test_a_caption_is_true_of_its_picture():
    assert scenes.holds(INDEX, scenes.claims(INDEX)).all()


@pytest.mark.parametrize("name", [name for name in VALUES if name not in {"joiner", "place"}])
def test_a_caption_changed_in_one_claim_is_false(name):
    claims = scenes.claims(INDEX)
    value = getattr(claims, name)
    said = value != UNSAID
    other = replace(claims, **{name: np.where(said, (value + 1) % len(VALUES[name]), value)})
    assert said.sum() > 300
    assert not scenes.holds(INDEX, other)[said].any()


def test_a_thing_is_at_no_other_place_than_it_is_said_to_be():
    claims = scenes.claims(INDEX)
    said = claims.place != UNSAID
    for shift in range(1, len(PLACES)):
        other = replace(claims, place=np.where(said, (claims.place + shift) % len(PLACES), UNSAID))
        assert not scenes.holds(INDEX, other)[said].any()


def test_every_pair_is_judged_as_it_would_be_alone():
    some = INDEX[:96]
    claims = scenes.claims(some)
    true = scenes.true_of(some, claims)
    assert true.shape == (96, 96)
    for shift in (0, 1, 12, 48):
        others = (np.arange(96) + shift) % 96
        np.testing.assert_array_equal(true[np.arange(96), others], scenes.holds(some, rows(claims, others)))
    assert true.sum() > 96


def test_about_a_third_of_the_captions_are_plain():
    claims = scenes.claims(INDEX)
    more = [getattr(claims, name) != UNSAID for name in VALUES if name not in {"shape", "colour"}]
    plain = ~np.any(more, axis=0)
    assert 0.28 < plain.mean() < 0.38
    assert {len(text.split()) for text in scenes.captions(INDEX[plain])} == {5, 6}
    assert all(getattr(claims, name).max() == len(words) - 1 for name, words in VALUES.items())


def test_things_are_as_many_as_large_and_where_the_picture_says():
    """Measured in pixels, on what differs between a scene and its background."""
    index = INDEX[:480]
    claims, whole = scenes.claims(index), scenes.scene(index)
    empty = world.draw(world.Scene(whole.background, ()))
    main = world.draw(world.Scene(whole.background, whole.things[1:]))
    changed = (main != empty).any(axis=-1)
    rows_hit, columns_hit = changed.any(axis=2), changed.any(axis=1)
    middle = [(hit.argmax(axis=1) + 63 - hit[:, ::-1].argmax(axis=1)) / 2 / 31.5 - 1 for hit in (columns_hit, rows_hit)]
    for place, (axis, sign) in enumerate([(0, -1), (0, 1), (1, -1), (1, 1)]):
        assert (middle[axis][claims.place == place] * sign > 0.1).all()
    shown = sum((things.x < scenes.AWAY).astype(int) for things in whole.things[1:])
    for number in range(len(NUMBERS)):
        assert (shown[claims.number == number] == number + 1).all()
    area = changed.mean(axis=(1, 2)) / shown
    assert area[claims.size == 0].max() < area[claims.size == 1].min() * 1.5
    assert area[claims.size == 0].mean() * 3 < area[claims.size == 1].mean()


def test_everything_lies_within_the_picture_and_the_other_thing_is_smaller():
    whole = scenes.scene(INDEX)
    behind, *copies = whole.things
    for things in whole.things:
        shown = things.x < scenes.AWAY
        reach = np.maximum(np.abs(things.x), np.abs(things.y)) + things.scale
        assert reach[shown].max() <= 1 + 1e-6
    beside = behind.x < scenes.AWAY
    assert 0.2 < beside.mean() < 0.45
    assert (behind.scale < 0.67 * copies[0].scale)[beside].all()
    assert (behind.shape != copies[0].shape)[beside].all()
    assert (behind.colour != copies[0].colour)[beside].all()
