import numpy as np
import pytest
import torch

from stages.models.zoo import scenes
from tuning.sage.edges import Edges
from tuning.training.zoo.classifier import ClassifierRecipe, ClassifierSpec, outlined
from tuning.training.zoo.data import pictures
from tuning.training.zoo.loop import LoopSpec, generator
from tuning.training.zoo.settings import SETTINGS
from tuning.training.zoo.style import StyleSpec, mix_amplitudes, recolour, restyle

QUICK = LoopSpec(steps=1, batch=16, learning_rate=1e-3)
NOTHING = StyleSpec(mix=0, recolour=0, negative=0)


@pytest.fixture(scope="module")
def x():
    return pictures(np.arange(24), "scene")


def test_styles_are_seeded_clipped_and_strong(x):
    one, again, other = (restyle(x, StyleSpec(), generator(seed, "style")) for seed in (0, 0, 1))
    assert torch.equal(one, again)
    assert not torch.equal(one, other)
    assert one.min() >= 0
    assert one.max() <= 1
    assert (one - x).abs().mean() > 0.05


def test_no_change_of_style_is_the_identity(x):
    assert torch.equal(restyle(x, NOTHING, generator(0, "style")), x)


def test_mixed_amplitudes_lie_between_two_pictures_and_phases_stay(x):
    mixed = mix_amplitudes(x, 1.0, generator(0, "style"))
    before, after = (torch.fft.rfft2(y.double()) for y in (x, mixed))
    inner = before.abs() > 1e-2  # below, the phase is rounding alone
    inner &= after.abs() > 1e-2
    turned = torch.polar(torch.ones_like(before.abs()), after.angle() - before.angle())
    torch.testing.assert_close(turned.real[inner], torch.ones_like(turned.real[inner]), atol=1e-3, rtol=0)
    random = generator(0, "style")
    partner = torch.randperm(len(x), generator=random)
    share = torch.rand(len(x), 1, 1, 1, generator=random)
    expected = (1 - share) * before.abs() + share * before.abs()[partner]
    torch.testing.assert_close(after.abs(), expected, atol=2e-3, rtol=1e-3)


def test_nothing_of_another_picture_changes_nothing(x):
    torch.testing.assert_close(mix_amplitudes(x, 0.0, generator(0, "style")), x, atol=1e-5, rtol=0)


def test_recoloured_pictures_are_linear_in_colour(x):
    """A pixel's new colour depends on its old one alone, and mid-grey stays."""
    changed = recolour(x, 0.7, generator(0, "style"))
    again = recolour(x.flip(3) * 0.5 + 0.25, 0.7, generator(0, "style"))
    torch.testing.assert_close(again, changed.flip(3) * 0.5 + 0.25, atol=1e-5, rtol=0)
    torch.testing.assert_close(recolour(x, 0.0, generator(0, "style")), x)


def test_edges_are_soft_ones_or_canny_s(x):
    edges = Edges()
    seen = outlined(x, edges, generator(0, "edges"))
    soft, thin = edges.soft(x).expand_as(x), edges.canny(x).expand_as(x)
    is_thin = torch.tensor([torch.equal(one, other) for one, other in zip(seen, thin, strict=True)])
    is_soft = torch.tensor([torch.equal(one, other) for one, other in zip(seen, soft, strict=True)])
    assert (is_thin ^ is_soft).all()
    assert 4 < is_thin.sum() < 20


def test_changes_set_in_step_by_step(x):
    """At first pictures are as drawn, and from the last easy step on as they would be without any."""
    spec = ClassifierSpec(architecture="test_resnet", grammar="scene", style=StyleSpec(), loop=QUICK)
    eased, at_once = (ClassifierRecipe(spec.model_copy(update={"ease_steps": n})) for n in (10, 0))
    index = np.arange(24)
    assert torch.equal(eased.seen(index, 0), x)
    assert torch.equal(eased.seen(index, 10), at_once.seen(index, 10))
    untouched = [(eased.seen(index, step) == x).all(dim=(1, 2, 3)).sum() for step in (2, 8)]
    assert untouched[0] > untouched[1]


@pytest.mark.parametrize("name", ["scenes-style", "scenes-edges", "scenes-judge"])
def test_classifiers_of_scenes_are_shown_scenes(name):
    spec = SETTINGS[name].model_copy(
        update={"loop": QUICK, "augment": SETTINGS[name].augment.model_copy(update={"share": 0.0})}
    )
    assert isinstance(spec, ClassifierSpec)
    if spec.style:
        spec = spec.model_copy(update={"style": NOTHING})
    seen = ClassifierRecipe(spec).seen(np.arange(16), 0)
    shown = torch.from_numpy(scenes.render(range(16))).permute(0, 3, 1, 2).float() / 255
    expected = outlined(shown, spec.edges, generator(QUICK.seed, "edges", 0)) if spec.edges else shown
    torch.testing.assert_close(seen, expected)
