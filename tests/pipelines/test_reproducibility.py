"""The settings of a comparison: what is refused, and what stays the same when a model is added."""

from pathlib import Path

import numpy as np
import pytest

from pipelines.cli import check
from pipelines.plan import lines, plan
from pipelines.reproducibility import Reproducibility
from tests.pipelines.made import reproducibility
from tests.stages.models.tiny import save

TWO = "models=[{name: a, model: 'zoo:text-to-image'}, {name: b, model: 'zoo:text-to-image', sampler: %s}]"


@pytest.mark.parametrize(
    ("override", "said"),
    [
        ("models=['zoo:text-to-image']", "expected at least two models to compare, found 1"),
        ("models=['zoo:text-to-image', 'zoo:text-to-image']", "found 'text-to-image' twice"),
        (TWO % "{scheduler: ddpm}", "expected a deterministic sampler, found 'ddpm'"),
        (TWO % "{scheduler: ddim, eta: 0.5}", "with eta=0.5"),
        (TWO % "{scheduler: ddim, size_px: 32}", r"found \(4, 16, 16\) of a and \(4, 8, 8\) of b"),
        ("threshold=1.5", "threshold: .* less than or equal to 1; found 1.5"),
        ("threshold=-2", "threshold: .* greater than or equal to -1; found -2"),
        ("prompts={kind: none}", "expected texts for DDIM 20, which draws from texts, found an empty prompt"),
        ("plane.prompt=99", "plane.prompt: expected 0 to 23, found 99"),
        ("descriptor.model=pixels:16", "expected a descriptor that is compared by its cosine, found pixels:16"),
        ("descriptor.model=nowhere", "neither sscd:NAME"),
    ],
)
def test_mistakes_are_one_sentence(override: str, said: str, tmp_path: Path):
    with pytest.raises(ValueError, match=said) as caught:
        check(reproducibility(tmp_path, override))
    assert "\n" not in str(caught.value)


def test_noisy_samplers_are_compared_on_request(tmp_path: Path):
    found = reproducibility(tmp_path, TWO % "{scheduler: ddpm}", "allow_noisy_samplers=true")
    assert found.names == ("a", "b")


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A class-conditional pixel model of the classes circle, square and heart, and no class."""
    folder = tmp_path_factory.mktemp("pixel_unet")
    save("pixel_unet", str(folder))
    return folder


def of_classes(folder: Path, model: Path, *overrides: str) -> Reproducibility:
    entries = f"[{{name: a, model: {model}}}, {{name: b, model: {model}, sampler: {{scheduler: heun, guidance: 1}}}}]"
    classes = "prompts={kind: classes, limit: 2, unconditional: true}"
    given = (f"models={entries}", "sampler={scheduler: edm_euler, guidance: 1}", classes, "seeds.shared=true")
    return reproducibility(folder, *given, *overrides)


def test_classes_are_drawn_with_and_without_from_the_same_noise(tmp_path: Path, model: Path):
    rows = of_classes(tmp_path, model).grids[0].rows(np.arange(3))
    assert rows["prompt"].tolist() == ["", "circle", "square"]
    assert rows["label"].tolist() == [-1, 0, 1]
    assert len(set(rows["seed"].tolist())) == 1


@pytest.mark.parametrize(
    ("override", "said"),
    [
        ("seeds.shared=false", "seeds.shared: expected true"),
        ("prompts.limit=3", r"expected classes of a \(circle, square, heart\), found 'triangle'"),
        ("prompts={kind: list, prompts: [a photo of a circle]}", "found 'a photo of a circle'"),
    ],
)
def test_prompts_that_a_model_cannot_draw_are_refused(override: str, said: str, tmp_path: Path, model: Path):
    with pytest.raises(ValueError, match=said):
        of_classes(tmp_path, model, override)


def test_every_model_has_the_same_rows(tmp_path: Path):
    first, second = (grid.rows(np.arange(6)) for grid in reproducibility(tmp_path).grids[:2])
    for name in ("prompt", "seed", "perturbation", "label"):
        assert first[name].tolist() == second[name].tolist()
    assert not set(first["sample_id"]) & set(second["sample_id"])


def test_another_model_leaves_the_rows_of_the_others_as_they_were(tmp_path: Path):
    two = TWO % "{scheduler: ddim, steps: 5}"
    three = two[:-1] + ", {name: c, model: 'zoo:text-to-image', sampler: {scheduler: dpmpp, steps: 5}}]"
    before, after = (reproducibility(tmp_path, models).grids for models in (two, three))
    for old, new in zip(before, after, strict=False):
        assert (
            old.rows(np.arange(len(old)))["sample_id"].tolist() == new.rows(np.arange(len(new)))["sample_id"].tolist()
        )


def test_the_plane_starts_at_the_seed_and_is_drawn_with_the_rest(tmp_path: Path):
    question = reproducibility(tmp_path, "plane={points: 3, low: 0, high: 1, seed: 7}")
    plane = question.planes[0]
    assert len(plane) == 9
    points = plane.rows(np.arange(9))["perturbation"].tolist()
    assert points[0] == '{"a":0.0,"b":0.0,"kind":"plane"}'
    assert points[1] == '{"a":0.5,"b":0.0,"kind":"plane"}'
    assert points[3] == '{"a":0.0,"b":0.5,"kind":"plane"}'
    assert set(plane.rows(np.arange(9))["seed"]) == {7}
    assert len(question.draws[0]) == len(question.grids[0]) + 9


def test_a_plan_names_every_model_and_counts_every_row(tmp_path: Path):
    question = reproducibility(tmp_path)
    found = plan(question)
    assert found.rows == sum(len(draw) for draw in question.draws)
    text = "\n".join(lines(question, found))
    for word in ("question   reproducibility", "zoo:text-to-image", "Embed", "pixels_embedding", "to draw"):
        assert word in text
    assert not (tmp_path / "runs").exists()
