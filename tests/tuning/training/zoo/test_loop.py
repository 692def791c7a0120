import resource
from collections.abc import Callable
from copy import deepcopy
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from tuning.sage.edges import Edges
from tuning.training.edm import EdmRecipe
from tuning.training.networks import Transformer, UNet
from tuning.training.pictures import TrainingSet, WorldPictures
from tuning.training.settings import Budget, EdmSpec
from tuning.training.zoo.classifier import ClassifierRecipe, ClassifierSpec
from tuning.training.zoo.clip import ClipRecipe, ClipSpec
from tuning.training.zoo.data import Grammar
from tuning.training.zoo.descriptor import DescriptorRecipe, DescriptorRecipeSpec
from tuning.training.zoo.language_model import LanguageModelRecipe, LanguageModelSpec
from tuning.training.zoo.loop import Loop, LoopSpec, Recipe
from tuning.training.zoo.style import StyleSpec
from tuning.training.zoo.text_to_image import TextToImageRecipe, TextToImageSpec
from tuning.training.zoo.vae import VaeRecipe, VaeSpec

LOOP = LoopSpec(steps=6, batch=8, learning_rate=1e-3, warmup_steps=2, decay_steps=3, checkpoint_steps=2, seed=7)


def classifier(work: Path) -> Recipe:  # noqa: ARG001
    return ClassifierRecipe(ClassifierSpec(architecture="test_convnext2", images=24, loop=LOOP))


def style_classifier(work: Path) -> Recipe:  # noqa: ARG001
    return ClassifierRecipe(
        ClassifierSpec(architecture="test_resnet", grammar="scene", style=StyleSpec(), images=24, loop=LOOP)
    )


def edge_classifier(work: Path) -> Recipe:  # noqa: ARG001
    return ClassifierRecipe(
        ClassifierSpec(architecture="test_resnet", grammar="scene", edges=Edges(), images=24, loop=LOOP)
    )


def vae(work: Path) -> Recipe:  # noqa: ARG001
    return VaeRecipe(VaeSpec(channels=(8, 8, 8), images=24, crop_share=0.5, loop=LOOP))


def clip(work: Path, grammar: Grammar = "thing") -> Recipe:
    start = ClassifierRecipe(ClassifierSpec(architecture="test_resnet", loop=LOOP))
    start.save(start.module, work / "classifier")
    spec = ClipSpec(grammar=grammar, width=32, layers=1, heads=2, images=24, loop=LOOP)
    return ClipRecipe(spec, work / "tokens", work / "classifier")


def scene_clip(work: Path) -> Recipe:
    return clip(work, "scene")


def text_to_image(work: Path, grammar: Grammar = "thing") -> Recipe:
    for recipe, name in ((vae(work), "vae"), (clip(work, grammar), "clip")):
        recipe.save(recipe.module, work / name)
    spec = TextToImageSpec(grammar=grammar, channels=(8, 16), heads=2, images=24, loop=LOOP)
    return TextToImageRecipe(spec, work, (work / "vae", work / "clip"))


def scene_text_to_image(work: Path) -> Recipe:
    return text_to_image(work, "scene")


def language_model(work: Path) -> Recipe:
    return LanguageModelRecipe(LanguageModelSpec(width=16, layers=1, heads=2, images=24, loop=LOOP), work / "tokens")


def descriptor(work: Path) -> Recipe:  # noqa: ARG001
    return DescriptorRecipe(DescriptorRecipeSpec(dimension=16, images=960, alike=2, loop=LOOP))


def edm(network: UNet | Transformer) -> Recipe:
    data = TrainingSet(source=WorldPictures(side_px=8, count=24))
    budget = Budget(pictures=48, batch=8, seed=7)
    return EdmRecipe(EdmSpec(network=network, data=data, budget=budget))


def pixel_unet(work: Path) -> Recipe:  # noqa: ARG001
    return edm(UNet(width=8, multipliers=(1, 2), head_channels=8, dropout=0.1))


def pixel_transformer(work: Path) -> Recipe:  # noqa: ARG001
    return edm(Transformer(width=16, depth=1, head_channels=8, dropout=0.1))


SCENES = [style_classifier, edge_classifier, scene_clip, scene_text_to_image, language_model]
TABLE = [pixel_unet, pixel_transformer, classifier, descriptor, vae, clip, text_to_image, *SCENES]


@pytest.mark.parametrize("recipe", TABLE, ids=lambda recipe: recipe.__name__)
class TestLaws:
    def test_resumed_training_is_straight_training(self, recipe: Callable[[Path], Recipe], tmp_path):
        straight = Loop(recipe(tmp_path), LOOP, tmp_path / "straight.pt")
        losses = straight.run()
        stopped = Loop(recipe(tmp_path), LOOP, tmp_path / "stopped.pt").run(3)
        resumed = Loop(recipe(tmp_path), LOOP, tmp_path / "stopped.pt")
        assert stopped + resumed.run() == losses
        for one, other in ((straight.recipe.module, resumed.recipe.module), (straight.average, resumed.average)):
            assert all(torch.equal(a, b) for a, b in zip(one.parameters(), other.parameters(), strict=True))

    def test_a_finished_run_does_nothing(self, recipe: Callable[[Path], Recipe], tmp_path):
        Loop(recipe(tmp_path), LOOP, tmp_path / "run.pt").run()
        assert Loop(recipe(tmp_path), LOOP, tmp_path / "run.pt").run() == []

    def test_saves_the_same_files_again(self, recipe: Callable[[Path], Recipe], tmp_path):
        for name in ("one", "other"):
            made = recipe(tmp_path)
            made.save(made.module, tmp_path / name)
        for file in (tmp_path / "one").rglob("*.safetensors"):
            other = load_file(tmp_path / "other" / file.relative_to(tmp_path / "one"))
            assert all(torch.equal(value, other[key]) for key, value in load_file(file).items())


@pytest.mark.parametrize("recipe", SCENES, ids=lambda recipe: recipe.__name__)
def test_a_few_steps_on_few_pictures_lower_the_loss(recipe: Callable[[Path], Recipe], tmp_path):
    """The loss of the first step's batch, before and after."""
    made = recipe(tmp_path)
    before = made.loss(0).item()
    Loop(made, LOOP.model_copy(update={"steps": 12, "learning_rate": 3e-3}), tmp_path / "run.pt").run()
    assert made.loss(0).item() < before


def test_other_settings_do_not_resume(tmp_path):
    Loop(vae(tmp_path), LOOP, tmp_path / "run.pt").run(2)
    other = VaeRecipe(VaeSpec(channels=(8, 8, 8), images=23, crop_share=0.5, loop=LOOP))
    with pytest.raises(ValueError, match=r"run\.pt was trained with .* delete the file"):
        Loop(other, LOOP, tmp_path / "run.pt")


def test_halves_add_up_to_the_whole(tmp_path, monkeypatch):
    whole, halves = text_to_image(tmp_path), text_to_image(tmp_path)
    monkeypatch.setattr(torch, "get_num_threads", lambda: 2)
    loss = Recipe.backward(whole, 0)
    assert halves.backward(0) == pytest.approx(loss, rel=1e-5)
    for one, other in zip(whole.module.parameters(), halves.module.parameters(), strict=True):
        torch.testing.assert_close(one.grad, other.grad, rtol=1e-3, atol=1e-6)


def test_the_rate_warms_up_stays_and_decays():
    spec = LoopSpec(steps=100, batch=1, learning_rate=1.0, warmup_steps=10, decay_steps=20)
    rates = np.array([spec.rate(step) for step in range(100)])
    assert (np.diff(rates[:10]) > 0).all()
    assert (rates[9:80] == 1).all()
    assert (np.diff(rates[80:]) < 0).all()
    assert rates[-1] < 0.01


def test_one_update_a_step_is_the_loop_written_out(tmp_path):
    """What the shipped models were trained with, bit for bit."""
    loop = Loop(pixel_unet(tmp_path), LOOP, tmp_path / "run.pt")
    losses = loop.run()
    made = pixel_unet(tmp_path)
    average, found = deepcopy(made.module), []
    optimiser = torch.optim.AdamW(made.module.parameters(), lr=1e-3, weight_decay=0.01, betas=(0.9, 0.99), fused=True)
    for step in range(LOOP.steps):
        optimiser.param_groups[0]["lr"] = LOOP.rate(step)
        optimiser.zero_grad(set_to_none=True)
        loss = made.loss(step)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(made.module.parameters(), 1.0)
        optimiser.step()
        found.append(loss.item())
        decay = min(LOOP.average, (2 + step) / (11 + step))
        with torch.no_grad():
            torch._foreach_lerp_([*average.parameters()], [*made.module.parameters()], 1 - decay)
    assert found == losses
    assert loop.updates == loop.step == LOOP.steps
    for one, other in ((made.module, loop.recipe.module), (average, loop.average)):
        assert all(torch.equal(a, b) for a, b in zip(one.parameters(), other.parameters(), strict=True))


def test_checkpoints_from_before_updates_were_counted_are_read(tmp_path):
    Loop(pixel_unet(tmp_path), LOOP, tmp_path / "run.pt").run(2)
    state = torch.load(tmp_path / "run.pt", weights_only=True)
    del state["updates"], state["recipe"]
    torch.save(state, tmp_path / "run.pt")
    again = Loop(pixel_unet(tmp_path), LOOP, tmp_path / "run.pt")
    assert again.run() == Loop(pixel_unet(tmp_path), LOOP, tmp_path / "straight.pt").run()[2:]
    assert again.updates == LOOP.steps


@pytest.mark.parametrize("what", ["loss", "gradient"])
def test_a_training_that_diverges_stops_and_keeps_the_last_checkpoint(what, tmp_path):
    loop = Loop(pixel_unet(tmp_path), LOOP, tmp_path / "run.pt")
    loop.run(2)
    kept = (tmp_path / "run.pt").read_bytes()
    last = [*loop.recipe.module.parameters()][-1]
    if what == "loss":
        last.data.fill_(torch.nan)
    else:
        last.register_hook(lambda gradient: gradient * torch.inf)
    with pytest.raises(ValueError, match=r"run, step 3: the loss and its gradient must be finite, but are .*nan|inf"):
        loop.run()
    assert (tmp_path / "run.pt").read_bytes() == kept
    assert Loop(pixel_unet(tmp_path), LOOP, tmp_path / "run.pt").step == 2


def test_a_full_disk_leaves_the_checkpoint_before(tmp_path):
    """A limit on the size of files stands for the disk."""
    loop = Loop(pixel_unet(tmp_path), LOOP, tmp_path / "run.pt")
    loop.run(2)
    kept = (tmp_path / "run.pt").read_bytes()
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (len(kept) // 2, before[1]))
    try:
        with pytest.raises(
            ValueError, match=r"run\.pt: expected room for a checkpoint at step 4, found: .* still valid"
        ):
            loop.run()
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert (tmp_path / "run.pt").read_bytes() == kept
    assert not (tmp_path / "run.partial").exists()
    assert Loop(pixel_unet(tmp_path), LOOP, tmp_path / "run.pt").step == 2
