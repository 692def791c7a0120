import numpy as np
import pytest
import torch
from pydantic import ValidationError
from scipy.ndimage import binary_dilation

from tuning.sage.edges import Edges


def square(contrast=0.6, side=32, dtype=torch.float64):
    picture = torch.full((1, 3, side, side), 0.2, dtype=dtype)
    picture[..., 9:24, 8:22] += contrast
    return picture


@pytest.mark.parametrize("contrast", [0.3, 0.6])
def test_soft_edges_are_close_to_canny(contrast):
    """Every edge of Canny's is a soft one, and no soft edge is further than three pixels from one of Canny's."""
    edges = Edges()
    soft = edges.soft(square(contrast))[0, 0].numpy() > 0.5
    canny = edges.canny(square(contrast))[0, 0].numpy() > 0
    assert 40 < canny.sum() < 70  # its outline is 2 (15 + 14) - 4 pixels long
    assert soft[canny].all()
    assert binary_dilation(canny, iterations=3)[soft].all()


def test_a_threshold_above_the_edge_leaves_none():
    edges = Edges(threshold=2.7 * 0.6 + 0.3)
    assert edges.soft(square()).max() < 0.05
    assert edges.canny(square()).sum() == 0


def test_a_flat_picture_has_no_edges_and_a_finite_gradient():
    picture = torch.full((1, 3, 16, 16), 0.5, requires_grad=True)
    soft = Edges().soft(picture)
    assert soft.max() < 0.01
    (gradient,) = torch.autograd.grad(soft.sum(), picture)
    assert gradient.isfinite().all()


def test_soft_edges_are_differentiable():
    picture = square(0.2)[:, :, 4:14, 4:14] + 0.05 * torch.from_numpy(np.random.default_rng(0).random((1, 3, 10, 10)))
    assert torch.autograd.gradcheck(Edges(softness=0.2).soft, picture.requires_grad_())
    (gradient,) = torch.autograd.grad(Edges(softness=0.2).soft(picture).sum(), picture)
    assert (gradient != 0).any()


def test_a_batch_is_its_pictures():
    both = torch.cat([square(0.3), square(0.6)])
    for look in (Edges().soft, Edges().canny):
        torch.testing.assert_close(look(both), torch.cat([look(square(0.3)), look(square(0.6))]))
        assert look(both).shape == (2, 1, 32, 32)
        assert look(both).dtype == both.dtype


def test_settings_without_meaning_are_refused():
    with pytest.raises(ValidationError):
        Edges(sigma_px=0.0)
