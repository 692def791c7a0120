"""EDM's training: the conventions of diffusers' schedulers, the unit weight of the loss, memory of what it has seen."""

import numpy as np
import pytest
import torch
from diffusers import DDPMPipeline, EDMEulerScheduler

from stages.models.loading import load_generator
from stages.models.spec import ModelSpec
from stages.models.zoo import world
from stages.sampling import SamplerSpec
from tuning.training.edm import EdmRecipe, precondition, weight
from tuning.training.networks import Pretrained, Transformer, UNet
from tuning.training.pictures import TrainingSet, WorldPictures
from tuning.training.pixels import as_batch, as_function
from tuning.training.settings import Budget, EdmSpec
from tuning.training.zoo.loop import Loop

BUDGET = Budget(pictures=48, batch=8, learning_rate=1e-3, warmup=8, half_life=32, checkpoint=16, seed=3)
NETWORKS = [
    UNet(width=8, multipliers=(1, 2), head_channels=8, dropout=0.1),
    Transformer(width=16, depth=2, head_channels=8),
]
SIGMA = torch.tensor([0.002, 0.1, 0.5, 3.0, 80.0])


def recipe(network=NETWORKS[0], count: int = 24, classes: bool = True, **budget) -> EdmRecipe:
    data = TrainingSet(source=WorldPictures(side_px=8, count=64, classes=classes), count=count)
    return EdmRecipe(EdmSpec(network=network, data=data, budget=BUDGET.model_copy(update=budget)))


@pytest.mark.parametrize("network", NETWORKS, ids=lambda n: n.kind)
@pytest.mark.parametrize("classes", [False, True])
class TestConventions:
    def test_the_denoiser_is_that_of_diffusers(self, network, classes):
        made = recipe(network, classes=classes)
        scheduler, label = EDMEulerScheduler(), torch.zeros(5, dtype=torch.long)
        raw = as_function(made.module.eval())
        x = torch.randn(5, 3, 8, 8, generator=torch.Generator().manual_seed(0)) * SIGMA[:, None, None, None]
        with torch.no_grad():
            found = precondition(raw, label)(x, SIGMA)
            for i, sigma in enumerate(SIGMA):
                scaled = scheduler.precondition_inputs(x[i : i + 1], sigma)
                output = raw(scaled, scheduler.precondition_noise(sigma).view(1), label[:1])
                wanted = scheduler.precondition_outputs(x[i : i + 1], output, sigma)
                torch.testing.assert_close(found[i : i + 1], wanted, rtol=1e-4, atol=1e-4)

    def test_the_saved_folder_is_the_model(self, network, classes, tmp_path):
        made = recipe(network, classes=classes)
        made.save(made.module, tmp_path)
        again = DDPMPipeline.from_pretrained(tmp_path).unet
        assert all(torch.equal(a, b) for a, b in zip(made.module.parameters(), again.parameters(), strict=True))
        generator = load_generator(ModelSpec(model=str(tmp_path), device="cpu"))
        assert list(generator.classes) == (list(world.CLASSES) if classes else [])
        assert (tmp_path / "classes.json").is_file() == classes
        latents = [np.ones((3, 8, 8), np.float32)]
        for prompt in ["", "fish"] if classes else [""]:
            sampler = SamplerSpec(scheduler="heun", steps=2, guidance=1)
            assert generator.pictures(latents, [prompt], [0], sampler)[0].shape == (8, 8, 3)


def test_the_loss_weighs_the_raw_network_by_one():
    """The squared error of D is c_out^2 times that of F."""
    out = SIGMA * 0.5 / (SIGMA**2 + 0.25).sqrt()
    torch.testing.assert_close(weight(SIGMA).flatten() * out**2, torch.ones(5))


def test_every_epoch_sees_every_picture_once():
    made = recipe(count=12)  # three steps of 8 are two epochs
    rows = torch.cat([made.rows(step) for step in range(3)]).tolist()
    assert sorted(rows[:12]) == sorted(rows[12:]) == list(range(12))
    assert rows[:12] != rows[12:]


def test_some_classes_are_replaced_by_the_null_class():
    made = recipe()
    rows = torch.arange(24).repeat(100)
    labels = made._labels(rows, torch.Generator().manual_seed(0))
    null = labels == len(world.CLASSES)
    assert null.float().mean() == pytest.approx(0.1, abs=0.02)
    assert torch.equal(labels[~null], torch.from_numpy(made.pictures.labels)[rows][~null])


def test_a_network_that_sees_one_picture_learns_it(tmp_path):
    """At the largest noise level the best guess is the mean of the training set."""
    network = UNet(width=16, multipliers=(1, 2), head_channels=8)
    made = recipe(network, count=1, classes=False, pictures=1600, learning_rate=3e-3, half_life=200)
    loop = Loop(made, made.spec.loop, tmp_path / "one.pt")
    losses = loop.run()
    noise = torch.randn(8, 3, 8, 8, generator=torch.Generator().manual_seed(1)) * 80
    with torch.no_grad():
        raw = as_function(loop.average.eval())
        found = precondition(raw, torch.zeros(8, dtype=torch.long))(noise, torch.full((8,), 80.0))
    assert np.mean(losses[-20:]) < 0.2 * losses[0]
    assert (found - made.clean).square().mean().sqrt() < 0.2


@pytest.mark.parametrize("network", NETWORKS, ids=lambda n: n.kind)
def test_partial_fine_tuning_moves_attention_alone(network, tmp_path):
    start = recipe(network)
    start.save(start.module, tmp_path / "start")
    tuned = recipe(Pretrained(model=str(tmp_path / "start"), layers="attention"))
    Loop(tuned, tuned.spec.loop, tmp_path / "run.pt").run()
    before = dict(start.module.named_parameters())
    moved = {n for n, p in tuned.module.named_parameters() if not torch.equal(p, before[n])}
    assert moved
    assert all(".attn" in name or ".attentions." in name for name in moved)
    everything = recipe(Pretrained(model=str(tmp_path / "start")))
    assert all(p.requires_grad for p in everything.module.parameters())


def test_fine_tuning_wants_pictures_of_the_model(tmp_path):
    start = recipe()
    start.save(start.module, tmp_path)
    with pytest.raises(ValueError, match=r"expected a model of 8 px and 0 classes, .* found 8 px and 12 classes"):
        recipe(Pretrained(model=str(tmp_path)), classes=False)


def test_bfloat16_is_close():
    one = recipe()
    spec = one.spec.model_copy(update={"precision": "bfloat16"})
    other = EdmRecipe(spec)
    assert other.loss(0).item() == pytest.approx(one.loss(0).item(), rel=0.05)


def test_pictures_become_numbers_from_minus_one_to_one():
    x = as_batch(recipe().pictures)
    assert x.shape == (24, 3, 8, 8)
    assert -1 <= x.min() < x.max() <= 1
