"""The judge control: tints are added exactly, clipped, to the pictures that they are meant for."""

import numpy as np

from pipelines.judge_control import CASTS, Cast, Tint, renders, shares, tinted
from pipelines.save import decode, png
from stages.base import Spec, objects


def test_a_tint_is_added_and_clipped():
    image = np.array([[[0, 100, 250]]], dtype=np.uint8)
    np.testing.assert_array_equal(tinted(image, np.array([-5.0, 10.4, 20.0])), [[[0, 110, 255]]])
    np.testing.assert_array_equal(tinted(image, np.zeros(3)), image)


def test_renders_and_stored_pictures_are_told_apart():
    from stages.models.zoo.world import HELD_OUT, render

    stored = np.random.default_rng(1).integers(0, 256, (64, 64, 3), dtype=np.uint8)
    batch = {"png": objects([None, png(stored), None]), "render": np.array([HELD_OUT, -1, HELD_OUT + 5])}
    images = Tint(Spec()).transform(batch | {name: np.zeros(3) for name in CASTS})["image"]
    worlds = render([HELD_OUT, HELD_OUT + 5])
    for image, expected in zip(images, (worlds[0], stored, worlds[1]), strict=True):
        np.testing.assert_array_equal(image, expected)


def test_png_keeps_every_bit():
    image = np.random.default_rng(2).integers(0, 256, (7, 5, 3), dtype=np.uint8)
    np.testing.assert_array_equal(decode(png(image)), image)


def test_renders_are_held_out_and_balanced():
    found = renders(24)
    assert (found["render"] >= 10_000_000).all()
    assert np.bincount(found["label"]).tolist() == [2] * 12


def test_shares_are_by_cast():
    import pandas as pd

    frame = pd.DataFrame({"number": [0, 1, 2, 3], "top1_correct": [1.0, 1.0, 0.0, 1.0]})
    found = shares(frame, [Cast(0, 0, 0, 0, 0), Cast(0, 3, 9, 9, 9)], 2)
    assert [found[key]["top1_correct"].value for key in ((0, 0), (0, 3))] == [1.0, 0.5]
