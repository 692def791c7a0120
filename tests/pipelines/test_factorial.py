"""The settings of a factorial design: its cells, what is refused, and what a plan says."""

from pathlib import Path

import numpy as np
import pytest

from pipelines.cli import check
from pipelines.config import load
from pipelines.factorial import Factorial, FactorialSpec
from pipelines.plan import lines, plan
from stages.perturbations import parse
from tests.stages.models.tiny import save

ONE = "arms=[{model: 'zoo:text-to-image', name: a}]"
TWO = "arms=[{model: 'zoo:text-to-image', name: a}, {model: 'zoo:text-to-image', name: b, sampler: %s}]"
SAMPLERS = "factors={sampler: {DDIM: {scheduler: ddim}, ancestral: {scheduler: ddpm}}}"
TERMINAL = "factors={terminal SNR: {trained: {terminal_snr: trained}, zero: {terminal_snr: zero}}}"
TRAILING = "sampler={scheduler: ddim, steps: 4, spacing: trailing}"


def factorial(folder: Path, *overrides: str) -> Factorial:
    """Return a design of the one embedded model under three factors of the sampler."""
    given = (ONE, "prompts.limit=2", "prompts.values.colour=[red]", f"run.output={folder / 'runs'}", *overrides)
    return Factorial(load(FactorialSpec, "factorial_demo", given))


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("models")
    for name in ("latent_learned", "pixel_text", "pixel_text_fixed", "stable_diffusion_2"):
        save(name, str(folder / name))
    return folder


def two_by_two(models: Path, *leave_out: str) -> str:
    """Return arms of tiny models: {latent, pixel} x {fixed, learned}, less some."""
    folders = {
        "latent fixed": "stable_diffusion_2",
        "latent learned": "latent_learned",
        "pixel fixed": "pixel_text_fixed",
        "pixel learned": "pixel_text",
    }
    arms = [
        f"{{model: {models / folder}, name: {name}, levels: {{space: {name.split()[0]}, variance: {name.split()[1]}}}}}"
        for name, folder in folders.items()
        if name not in leave_out
    ]
    return f"arms=[{', '.join(arms)}]"


def test_cells_are_arms_by_levels(tmp_path: Path, models: Path):
    found = factorial(tmp_path, two_by_two(models), SAMPLERS)
    assert found.factors.levels == {
        "space": ("latent", "pixel"),
        "variance": ("fixed", "learned"),
        "sampler": ("DDIM", "ancestral"),
    }
    assert [c.name for c in found.cells[:3]] == [
        "latent fixed, DDIM",
        "latent fixed, ancestral",
        "latent learned, DDIM",
    ]
    assert [c.sampler.scheduler for c in found.cells[:3]] == ["ddim", "ddpm", "ddim"]
    design = found.factors.design(found.cells)
    assert (design.levels == [[s, v, p] for s in (0, 1) for v in (0, 1) for p in (0, 1)]).all()
    assert not design.blocks.any()
    assert [len(draw.grids) for draw in found.draws] == [2] * 4, "the weights of a model load once"


def test_models_without_levels_are_blocks(tmp_path: Path, models: Path):
    arms = f"arms=[{{model: {models / 'pixel_text'}, name: a}}, {{model: {models / 'latent_learned'}, name: b}}]"
    found = factorial(tmp_path, arms, SAMPLERS)
    assert found.factors.design(found.cells).blocks.tolist() == [0, 0, 1, 1]


def test_the_order_of_levels_in_an_arm_does_not_matter(tmp_path: Path, models: Path):
    arms = (
        f"arms=[{{model: {models / 'latent_learned'}, name: a, levels: {{space: latent, variance: learned}}}}, "
        f"{{model: {models / 'pixel_text_fixed'}, name: b, levels: {{variance: fixed, space: pixel}}}}]"
    )
    assert [c.levels for c in factorial(tmp_path, arms, "factors={}").cells] == [
        ("latent", "learned"),
        ("pixel", "fixed"),
    ]


def test_strengths_are_standard_deviations_of_a_channels_mean(tmp_path: Path, models: Path):
    """Of 8 x 8 entries the mean varies by 1/8: two sigma are a shift of 0.25."""
    shifts = ("strengths=[-2, 0, 2, 4]", "random_direction=all")
    found = factorial(tmp_path, two_by_two(models), SAMPLERS, *shifts)
    texts = [parse(text) for text in found.grids[0].perturbations]
    assert [p.kind for p in texts] == ["none", *["uniform_mean_shift"] * 3, *["random_direction"] * 2]
    assert [p.strength for p in texts] == [0, -0.25, 0.25, 0.5, 0.25, 0.5]
    np.testing.assert_allclose(found.sigmas(found.cells[0], found.strengths), [2, 2, 4])
    plain = factorial(tmp_path, two_by_two(models), SAMPLERS, *shifts, "unit=shift")
    assert [parse(text).strength for text in plain.grids[0].perturbations[:4]] == [0, -2, 2, 4]
    np.testing.assert_allclose(plain.sigmas(plain.cells[0], plain.strengths), [16, 16, 32])


def test_every_cell_has_the_same_prompts_and_seeds(tmp_path: Path):
    grids = factorial(tmp_path).grids
    rows = [grid.rows(np.arange(len(grid))) for grid in grids]
    for name in ("prompt", "seed", "label"):
        assert all(r[name].tolist() == rows[0][name].tolist() for r in rows)
    ids = [i for r in rows for i in r["sample_id"]]
    assert len(set(ids)) == len(ids)


def test_what_cannot_be_drawn_is_left_out_on_request(tmp_path: Path, models: Path):
    """The v model of the tiny four takes zero SNR from the last step on; epsilon models do not."""
    arms = f"arms=[{{model: {models / 'stable_diffusion_2'}, name: v}}, {{model: 'zoo:text-to-image', name: epsilon}}]"
    found = factorial(tmp_path, arms, TERMINAL, TRAILING, "infeasible=leave_out")
    assert [cell.name for cell in found.cells] == ["v, trained", "v, zero", "epsilon, trained"]
    assert [cell.name for cell in found.left_out] == ["epsilon, zero"]
    assert "left out epsilon, zero: at zero terminal SNR the first step is pure noise" in "\n".join(found.notes)


@pytest.mark.parametrize(
    ("overrides", "said"),
    [
        ((TWO % "null", "factors={}"), "every model and sampler once, found 'a' again as 'b'"),
        (("arms=['zoo:text-to-image', 'zoo:text-to-image']",), "found 'text-to-image' twice; set `name`"),
        (("arms=[]",), "arms"),
        (("factors={}",), "expected at least two cells to compare, found 1"),
        (("factors={sampler: {DDIM: {scheduler: ddim}}}",), r"factors, sampler: expected two levels, found 1 \(DDIM\)"),
        (("factors={guidance: {a: {guidance: 1}, b: {guidance: 2}, c: {guidance: 3}}}",), "two levels, found 3"),
        (("factors={sampler: {a: {}, b: {}}}",), "expected settings of the sampler that it changes, found none"),
        (
            ("factors={x: {a: {steps: 1}, b: {steps: 2}}, y: {a: {steps: 3}, b: {steps: 4}}}",),
            "found steps in x and y",
        ),
        (("factors={x: {a: {scheduler: ddpm, eta: 1.0}, b: {scheduler: ddim}}}",), "cell 'a, a' has no sampler: eta"),
        (("factors={x: {a: {scheduler: ddpn}, b: {}}}",), "factors.x.a.scheduler"),
        ((TERMINAL, TRAILING), "cell 'a, zero': at zero terminal SNR the first step is pure noise, .*leave_out"),
        ((TERMINAL, TRAILING, "infeasible=leave_out"), "at least two cells to compare, found 1"),
        ((TERMINAL, "sampler={scheduler: heun, steps: 4}"), "needs one of .*, but the scheduler is HeunDiscrete"),
        (("strengths=[-8, 8]",), r"expected 0 among them, the control of every row, found \[-8.0, 8.0\]"),
        (("strengths=[0]",), "at least one that shifts the latent"),
        (("strengths=[0, 8, 8]",), "expected every strength once"),
        (("strengths=[0, 800]",), "shifts of at most 10 an entry, found 50 in a"),
        (("strengths=[0, .nan]",), "strengths"),
        (
            ("arms=[{model: 'zoo:text-to-image', levels: {space: pixel}}]",),
            "expected space: latent, as the model's files",
        ),
        (
            ("arms=[{model: 'zoo:text-to-image', levels: {space: waves}}]",),
            "space to be latent or pixel, found 'waves'",
        ),
        (
            ("arms=[{model: 'zoo:text-to-image', levels: {variance: fixed}}]",),
            r"variance: expected two levels, found 1 \(fixed\)",
        ),
        (("prompts={kind: none}",), "draws from texts, found an empty prompt"),
        (("arms=['zoo:nothing']",), "the embedded models are"),
        (("arms=['./nowhere']",), "expected a folder of weights, but nowhere is none"),
    ],
)
def test_mistakes_are_one_sentence(overrides: tuple[str, ...], said: str, tmp_path: Path):
    with pytest.raises((ValueError, OSError), match=said) as caught:
        check(factorial(tmp_path, *overrides))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (
            (", variance: learned}", "}"),
            "latent learned: expected a level of every factor of the models, found none of 'va",
        ),
        (("space: latent, variance: learned", "space: latent, variance: fixed"), "expected variance: learned, as the"),
        (("space: pixel, variance: fixed", "space: latent, variance: fixed"), "pixel fixed: expected space: pixel, as"),
        (("name: pixel fixed", "name: pixel learned"), "found 'pixel learned' twice"),
    ],
)
def test_arms_that_are_not_what_they_say(change: tuple[str, str], said: str, tmp_path: Path, models: Path):
    with pytest.raises(ValueError, match=said):
        factorial(tmp_path, two_by_two(models).replace(*change, 1), SAMPLERS)


def test_a_factor_belongs_to_the_models_or_to_the_sampler(tmp_path: Path, models: Path):
    both = "factors={space: {a: {steps: 1}, b: {steps: 2}}}"
    with pytest.raises(ValueError, match="expected a factor of the sampler, found one of the arms' levels"):
        factorial(tmp_path, two_by_two(models), both)


def test_a_combination_of_levels_stands_once(tmp_path: Path, models: Path):
    twice = two_by_two(models)[:-1] + f", {{model: {models / 'stable_diffusion_2'}, name: more, sampler: {{steps: 3}}, "
    with pytest.raises(ValueError, match="every combination of levels once, found space latent, variance fixed twice"):
        factorial(tmp_path, twice + "levels: {space: latent, variance: fixed}}]", SAMPLERS)


def test_a_plan_counts_every_cell(tmp_path: Path, models: Path):
    question = factorial(tmp_path, two_by_two(models, "pixel fixed"), SAMPLERS)
    found = plan(question)
    assert found.rows == 6 * 6 * 2
    text = "\n".join(lines(question, found))
    for word in ("question   factorial", "6 cells of 12: latent fixed, DDIM; ", "Classify", "ClipScore", "to draw 72"):
        assert word in text
    assert text.count("model      ") == 3
    assert not (tmp_path / "runs").exists()
