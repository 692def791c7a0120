"""The page that answers the factorial question."""

from collections.abc import Iterator
from typing import TYPE_CHECKING

import numpy as np

from pipelines.factorial import Factorial
from pipelines.factorial_answers import FactorialAnswers, read
from pipelines.factorial_figures import curves, forest, strip
from pipelines.factorial_judge import judged
from pipelines.factorial_tables import name_of, shown_cells, shown_effects, tables
from pipelines.factorial_verdict import SURE, sentences, verdict
from pipelines.figures import HEADLINES
from pipelines.report import Page, Picture, made
from pipelines.rows import images_of
from pipelines.save import decode
from pipelines.store import Store
from pipelines.sweep import Swept, Watch
from stages.metrics import Estimate
from stages.metrics.factorial import CellMeans, single

if TYPE_CHECKING:
    from matplotlib.figure import Figure

SHOWN_CELLS = 8
COMPARES = "Which model, sampled how, falls how fast when the seed's mean is shifted?"
"""The question where no factor is varied."""
PRINTED_EFFECTS = ["effect", "compares", "change of the slope", "p (Holm)", "n"]
PRINTED_CELLS = ["cell", "images", "unshifted", "slope per sigma", "random direction"]


def page(question: Factorial, swept: Swept | None, watch: Watch | None) -> Page:
    """Return the page: effects, cells and curves from what the store holds, and the judge's own part in them."""
    answers = read(question)
    own = judged(question, answers, watch)
    corrected = answers.less_judge(own)
    effects, cells = shown_effects(answers, corrected), shown_cells(answers, own)
    columns = [name for name in PRINTED_CELLS if name in cells]
    return Page(
        title=f"Seedquake: {question.spec.name}",
        question=question.asks if question.factors.names else COMPARES,
        verdict=verdict(answers),
        sentences=tuple(sentences(answers, corrected)),
        pictures=tuple(drawn(question, answers, own)),
        tables=tables(answers, own, corrected),
        shown=cells,
        printed=effects[PRINTED_EFFECTS] if len(effects) else cells[columns],
        heading="Every cell",
        others={"Every effect on the slope": effects} if len(effects) else {},
        facts=facts(question, swept),
        spec=question.spec.described(),
        curves=dict(tracked(answers)),
        numbers=numbers(answers),
    )


def drawn(question: Factorial, answers: FactorialAnswers, own: CellMeans | None) -> Iterator[Picture]:
    """Yield the figures, the two of the first screen first."""
    n = max(answers.kept(cell).n for cell in range(len(answers.cells)))
    caption = f"What each cell keeps under a mean shift, with 95 % intervals; n = {n} a point."
    found = [
        Picture("curves", caption, curves(answers), wide=True),
        Picture("slopes", "The slope of every cell, 95 % intervals; below 0 it falls.", slope_figure(answers, own)),
    ]
    if answers.design.factors:
        yield effect_picture(answers)
        found.reverse()
    yield from found
    names, pictures = gallery(question)
    if pictures:
        caption = f"{question.prompts[0].text!r} from one seed, a column a shift, a row a cell."
        columns = sorted(question.spec.strengths)
        yield Picture("pictures", caption, strip(pictures, names, columns), wide=len(columns) > 7)


def effect_picture(answers: FactorialAnswers) -> Picture:
    """Return the effects on the slope, beside those on the slope of the random direction."""
    found = answers.slope.effects
    caption = (
        "Main effects and interactions on the slope, 95 % intervals; above 0 the second level loses less. "
        f"Hollow: Holm-corrected p above 0.05. n = {max(e.estimate.n for e in found)} slopes."
    )
    series = {"mean shift": [e.estimate for e in found]}
    if random := answers.named("random_direction_slope"):
        series["random direction of the same norm"] = [e.estimate for e in random.effects]
    names, sure = [name_of(answers, e) for e in found], [e.p_holm < SURE for e in found]
    return Picture("effects", caption, forest(names, series, sure, f"effect on the {slope_words(answers)}"))


def slope_words(answers: FactorialAnswers) -> str:
    """Return what the slope is."""
    return f"change of {HEADLINES[answers.headline]} per sigma of shift"


def slope_figure(answers: FactorialAnswers, own: CellMeans | None) -> "Figure":
    """Return the slopes of all cells, beside those of their controls."""
    cells = range(len(answers.cells))
    series = {"mean shift": [answers.of_cell(answers.slope, i) for i in cells]}
    if random := answers.named("random_direction_slope"):
        series["random direction of the same norm"] = [answers.of_cell(random, i) for i in cells]
    if own is not None:
        series["classifier on unbroken, tinted"] = [single(own, i) for i in cells]
    return forest([cell.name for cell in answers.cells], series, [True] * len(cells), slope_words(answers))


def gallery(question: Factorial) -> tuple[list[str], dict[tuple[int, int], np.ndarray]]:
    """Return names of some cells, as many of each arm, and pictures by cell and strength, of one prompt and seed."""
    arms = len({cell.arm for cell in question.cells})
    each = max(1, SHOWN_CELLS // arms)
    by_arm: dict[int, list[int]] = {}
    for number, cell in enumerate(question.cells):
        by_arm.setdefault(cell.arm, []).append(number)
    chosen = [number for numbers in by_arm.values() for number in numbers[:: -(-len(numbers) // each)]]
    order = [question.strengths.index(s) + 1 if s else 0 for s in sorted(question.spec.strengths)]
    found = {}
    for row, number in enumerate(chosen):
        grid = question.grids[number]
        ids = grid.rows(np.array(order, dtype=np.int64) * len(grid.prompts))["sample_id"].tolist()
        png = images_of(Store(question.spec.store), ids)
        found.update({(row, column): decode(png[i]) for column, i in enumerate(ids) if i in png})
    return [question.cells[number].name for number in chosen], found


def facts(question: Factorial, swept: Swept | None) -> dict[str, str]:
    """Return how the answers were made."""
    spec, grid = question.spec, question.grids[0]
    images = sum(map(len, question.grids))
    return {
        **{f"Model {arm.called}": f"{arm.model}, weights {question.revisions[arm.model]}" for arm in spec.arms},
        **{f"Factor {name}": " / ".join(levels) for name, levels in question.factors.levels.items()},
        "Judges": ", ".join(filter(None, (spec.classifier, spec.judge, spec.clip))),
        "Grid": f"{len(grid.prompts)} prompts x {grid.seeds.count} seeds x {len(grid.perturbations)} perturbations "
        f"x {len(question.cells)} cells = {images} images",
        **made(spec.store, swept),
    }


def tracked(answers: FactorialAnswers) -> Iterator[tuple[str, dict[float, Estimate]]]:
    """Yield every measured curve over the strength, by its name in MLflow."""
    for cell, family in zip(answers.cells, answers.shifted, strict=True):
        if family is not None:
            for name in answers.metrics:
                points = {c.perturbation.strength / cell.sigma: c.values[name] for c in family.cells}
                yield f"{slug(cell.name)}/{name} over sigmas", points


def numbers(answers: FactorialAnswers) -> dict[str, float]:
    """Return the slopes and the effects on them, by their names in MLflow."""
    found = {f"{slug(c.name)}/slope": answers.of_cell(answers.slope, i).value for i, c in enumerate(answers.cells)}
    return found | {f"effect/{slug(name_of(answers, e))}": e.estimate.value for e in answers.slope.effects}


def slug(name: str) -> str:
    """Return a name as MLflow accepts it."""
    return "".join(c if c.isalnum() or c in "._- " else "_" for c in name)
