import numpy as np
import pytest
import torch
from torch.nn.functional import normalize

from stages.models.descriptors.loading import load_descriptor
from stages.models.descriptors.spec import DescriptorSpec
from stages.models.zoo import world
from tests.tuning.training.zoo.test_loop import LOOP, descriptor
from tuning.training.zoo.data import pictures
from tuning.training.zoo.descriptor import batch, contrast, crowding, similarities
from tuning.training.zoo.loop import generator
from tuning.training.zoo.settings import SETTINGS
from tuning.training.zoo.views import ViewSpec, geometry, jitter, view

OFF = dict.fromkeys(("flip", "turn", "quarter_turn", "jitter", "grey", "text", "blur", "scaled", "noise", "jpeg"), 0.0)
NOTHING = ViewSpec(**OFF, smallest_area=1.0, largest_stretch=1.0)


@pytest.fixture
def vectors():
    return normalize(torch.randn(12, 8, generator=generator(0, "vectors"), dtype=torch.float64))


def test_contrast_is_the_formula(vectors):
    losses = []
    for i, z in enumerate(vectors):
        similar = torch.exp(vectors @ z / 0.1)
        partner = similar[(i + 6) % 12]
        others = sum(similar[k] for k in range(12) if k not in (i, (i + 6) % 12))
        losses.append(-torch.log(partner / (partner + others)))
    found = contrast(similarities(vectors), 0.1)
    assert found.item() == pytest.approx(np.mean(losses), abs=1e-6)


def test_crowding_is_the_formula(vectors):
    nearest = [min((vectors[k] - z).norm() for k in range(12) if k % 6 != i % 6) for i, z in enumerate(vectors)]
    assert crowding(similarities(vectors)).item() == pytest.approx(-np.mean(np.log(nearest)), abs=1e-6)


def test_a_batch_holds_pictures_that_are_alike_and_never_one_twice():
    seen = set()
    for step in range(30):
        index = batch(step, 64, 4, 200_000)
        assert len(set(index)) == 64
        assert len(set(zip(world.labels(index), world.colours(index), strict=True))) == 16
        seen |= set(index.tolist())
    assert len(seen) == 30 * 64


def test_training_never_sees_held_out_renders():
    spec = SETTINGS["descriptor"]
    index = [batch(step, spec.loop.batch, spec.alike, spec.images) for step in range(spec.loop.steps)]
    assert np.max(index) < spec.images <= world.HELD_OUT


def test_views_are_seeded_in_range_and_strong():
    x = pictures(np.arange(32))
    one, again, other = (view(x, ViewSpec(), generator(seed, "view")) for seed in (0, 0, 1))
    assert torch.equal(one, again)
    assert not torch.equal(one, other)
    assert one.min() >= 0
    assert one.max() <= 1
    assert (one - x).abs().mean() > 0.05


def test_a_view_without_changes_is_the_picture():
    x = pictures(np.arange(8))
    torch.testing.assert_close(view(x, NOTHING, generator(0, "view")), x, atol=1e-5, rtol=0)


def test_a_quarter_turn_and_a_mirror_move_pixels_and_nothing_else():
    x = pictures(np.arange(8))
    turned = geometry(x, NOTHING.model_copy(update={"quarter_turn": 1.0}), generator(0, "view"))
    torch.testing.assert_close(turned, x.rot90(1, (2, 3)), atol=1e-4, rtol=0)
    mirrored = geometry(x, NOTHING.model_copy(update={"flip": 1.0}), generator(0, "view"))
    torch.testing.assert_close(mirrored, x.flip(3), atol=1e-4, rtol=0)


def test_hue_and_saturation_leave_grey_alone():
    grey = torch.full((4, 3, 8, 8), 0.5)
    jittered = jitter(grey, ViewSpec(), generator(0, "view"))
    torch.testing.assert_close(jittered, jittered[:, :1].expand(-1, 3, -1, -1))


def test_what_is_saved_is_what_was_trained(tmp_path):
    recipe = descriptor(tmp_path)
    recipe.save(recipe.module, tmp_path / "saved")
    x = pictures(np.arange(4))
    with torch.no_grad():
        expected = recipe.module.eval()((x - 0.5) / 0.25)
    found = load_descriptor(DescriptorSpec(model=str(tmp_path / "saved"))).embed(list(world.render(np.arange(4))))
    np.testing.assert_allclose(found, expected, atol=1e-5)


def test_its_loss_is_finite(tmp_path):
    assert torch.isfinite(descriptor(tmp_path).loss(LOOP.steps - 1))
