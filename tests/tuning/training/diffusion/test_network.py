"""What a training starts from: outputs added, dropout set, models of other noise levels refused."""

import pytest
import torch

from tests.tuning.training.diffusion.test_recipe import CLASSES, TRANSFORMER, recipe
from tests.tuning.training.test_edm import recipe as edm_recipe
from tuning.training.diffusion.network import answering
from tuning.training.pixels import as_function
from tuning.training.zoo.loop import Loop


def start_from(folder, **changes):
    return recipe(network={"kind": "pretrained", "model": str(folder)}, **changes)


def saved(folder, **changes):
    made = recipe(**changes)
    for parameter in made.module.parameters():  # some layers of a new network are zero
        parameter.data.normal_(std=0.1, generator=torch.Generator().manual_seed(0))
    made.save(made.module, folder)
    return made


@pytest.mark.parametrize("changes", [{}, {"network": TRANSFORMER, "data": CLASSES}], ids=["unet", "transformer"])
def test_a_learned_variance_starts_in_the_middle_and_leaves_the_noise_as_it_is(changes, tmp_path):
    fixed = saved(tmp_path / "fixed", variance="fixed", **changes)
    learned = start_from(tmp_path / "fixed", **({"data": changes["data"]} if changes else {}))
    draw = fixed.draw(0)
    with torch.no_grad():
        old, new = (as_function(made.module.eval())(draw.clean, draw.time, draw.label) for made in (fixed, learned))
    noise, v = new.split(3, dim=1)
    torch.testing.assert_close(noise, old)
    assert not v.any()
    learned.save(learned.module, tmp_path / "learned")
    again = start_from(tmp_path / "learned", **({"data": changes["data"]} if changes else {}))
    assert again.module.config.out_channels == 6


def test_a_variance_that_was_learned_cannot_be_forgotten(tmp_path):
    saved(tmp_path)
    with pytest.raises(ValueError, match=r"expected one of 3 outputs, .* found 6 outputs; set variance"):
        start_from(tmp_path, variance="fixed")


def test_fine_tuning_starts_where_the_model_was(tmp_path):
    made = saved(tmp_path / "start")
    tuned = start_from(tmp_path / "start")
    assert tuned.loss(0).item() == pytest.approx(made.loss(0).item(), rel=1e-5)  # weights in another memory layout
    Loop(tuned, tuned.spec.loop, tmp_path / "run.pt").run(1)
    assert tuned.loss(0).item() != pytest.approx(made.loss(0).item(), rel=1e-5)


def test_a_model_of_other_noise_levels_is_refused(tmp_path):
    saved(tmp_path / "cosine")
    with pytest.raises(ValueError, match=r"expected a model that predicts the noise on the schedule 'linear' of 1000"):
        start_from(tmp_path / "cosine", schedule="linear")
    other = edm_recipe(classes=False)
    other.save(other.module, tmp_path / "edm")
    with pytest.raises(ValueError, match=r"network\.model: expected .* found EDMEulerScheduler"):
        start_from(tmp_path / "edm")


def test_dropout_is_set_and_kept(tmp_path):
    made = recipe(dropout=0.3)
    assert {part.p for name, part in made.module.named_modules() if name.endswith(".dropout")} == {0.3}
    draw = made.draw(0)
    first, same, other = (made.errors(draw, torch.zeros_like(draw.noise), (0, n, 0)) for n in (0, 0, 1))
    assert torch.equal(first, same)
    assert not torch.equal(first, other)
    made.save(made.module, tmp_path)
    assert start_from(tmp_path).module.config.dropout == 0.3
    with pytest.raises(ValueError, match="dropout: expected a U-Net"):
        recipe(network=TRANSFORMER, data=CLASSES, dropout=0.3)


def test_enough_outputs_stay_as_they_are():
    module = recipe().module
    before = module.conv_out.weight
    assert answering(module, 6).conv_out.weight is before
