"""The page that answers how samplers carry a shifted seed."""

import math
from collections.abc import Iterator

import numpy as np
import pandas as pd

from pipelines.report import Page, Picture, interval, made
from pipelines.sweep import Swept
from pipelines.tables import columns_of
from pipelines.trajectory import Trajectory
from pipelines.trajectory_answers import STATISTICS, TrajectoryAnswers
from pipelines.trajectory_figures import called, contraction_curves, left_by_strength, planes, step_lengths, strips
from stages.metrics import Estimate


def page(question: Trajectory, swept: Swept | None) -> Page:
    """Return the page: how far each step goes and what is left of a shift, from what the store holds."""
    answers = TrajectoryAnswers(question)
    table = shown(answers)
    return Page(
        title=f"Seedquake: {question.spec.name}",
        question=question.asks,
        verdict=verdict(answers),
        sentences=tuple(sentences(answers)),
        pictures=tuple(drawn(question, answers)),
        tables={"summary": summary(answers), "steps": step_table(answers), "contraction": contraction_table(answers)},
        shown=table,
        printed=table[["arm", "perturbation", "n", "first step", "first tenth", "left at the end"]],
        heading="Every arm and perturbation",
        facts=facts(question, swept),
        spec=question.spec.described(),
        curves=dict(tracked(answers)),
        numbers=numbers(answers),
    )


def verdict(answers: TrajectoryAnswers) -> str:
    """Return one sentence: how the arms share their way out, and whether they forget the shift."""
    if not any(cell.drawn for cell in answers.cells.values()):
        return "Undecided: no trajectory was recorded."
    return f"{jump(answers)}; {forgetting(answers)}."


def jump(answers: TrajectoryAnswers) -> str:
    """Return whether the first step carries more than its share, and in which arm more."""
    first = [answers.value("first_step", arm, 0) for arm in range(len(answers.names))]
    said = f"The first step of {answers.names[0]} carries {interval(first[0])} times its share of the way"
    gaps = {arm: answers.to_first_arm("first_step", arm, 0) for arm in range(1, len(answers.names))}
    known = [arm for arm, gap in gaps.items() if not math.isnan(gap.value)]
    if not known:
        return said
    other = max(known, key=lambda arm: abs(gaps[arm].value))
    gap, among = gaps[other], ", where it differs most," if len(known) > 1 else ""
    more = "more" if gap.low > 0 else "less" if gap.high < 0 else "no clearly different share"
    return f"{said}, that of {answers.names[other]}{among} {interval(first[other])}: {more}, by {interval(gap, '+')}"


def forgetting(answers: TrajectoryAnswers) -> str:
    """Return what the arms leave of the strongest shift: less than all of it, all, or more."""
    kinds: dict[str, list[tuple[float, str]]] = {}
    for arm, name in enumerate(answers.names):
        left = answers.value("left", arm, answers.main)
        kind = "is partly forgotten by" if left.high < 1 else "grows under" if left.low > 1 else "is undecided for"
        kinds.setdefault(kind, []).append((left.value, f"{name} ({interval(left)} of it left)"))
    said = [f"{kind} {listed([text for _, text in sorted(found)])}" for kind, found in kinds.items()]
    return f"a {called(answers.perturbations[answers.main])} {' and '.join(said)}"


def listed(texts: list[str]) -> str:
    """Return the arms of a kind, least first; of many the ends alone."""
    if len(texts) < 3:
        return " and ".join(texts)
    return f"{len(texts)} arms, from {texts[0]} to {texts[-1]}"


def sentences(answers: TrajectoryAnswers) -> Iterator[str]:
    """Yield what else a reader must know, a sentence each."""
    arms = range(len(answers.names))
    named = [(answers.names[arm], answers.value("first_tenth", arm, 0), answers.value("gini", arm, 0)) for arm in arms]
    said = "; ".join(f"{name} {interval(tenth)}, Gini {interval(even)}" for name, tenth, even in named)
    yield f"Share of the way made in the first tenth of the steps (even steps: 0.10, Gini 0): {said}."
    beside = [(answers.names[arm], found) for arm in arms if (found := answers.to_random(arm, answers.main))]
    if beside:
        shift = called(answers.perturbations[answers.main])
        said = "; ".join(f"{name} {interval(found, '+')}" for name, found in beside)
        yield f"What is left of a {shift}, less what is left of a random direction of its length: {said}."
    closed = [(answers.names[arm], answers.reference(arm, answers.main)) for arm in arms]
    if said := "; ".join(f"{name} {curve[-1]:.2f}" for name, curve in closed if curve is not None):
        yield (
            f"Of a {called(answers.perturbations[answers.main])} Gaussian data whose channel means vary as those of "
            f"the {answers.value('first_step', 0, 0).n} unshifted ends of an arm would leave, in closed form and "
            f"without an interval: {said}."
        )
    missing = sum(int(np.isnan(cell.steps[:, 0]).sum()) for cell in answers.cells.values())
    rows = sum(len(cell.steps) for cell in answers.cells.values())
    yield f"{rows - missing} of {rows} trajectories were recorded, {missing} are missing."


def drawn(question: Trajectory, answers: TrajectoryAnswers) -> Iterator[Picture]:
    """Yield the figures, the two of the first screen first."""
    n = answers.value("first_step", 0, 0).n
    caption = f"Length of each step of the unshifted rows, with 95 % intervals; n = {n} a curve. Even steps lie at 1."
    yield Picture("steps", caption, step_lengths(answers))
    caption = (
        "Distance of shifted trajectories from their controls under the same step noise, with 95 % intervals; dotted: "
        "the random direction of the same length; dashed: the closed form for Gaussian data, whose channel means vary "
        "as these pictures' do, or of unit variance for the random direction."
    )
    yield Picture("contraction", caption, contraction_curves(answers))
    caption = "What is left of each shift at the end, with 95 % intervals."
    yield Picture("left", caption, left_by_strength(answers), wide=True)
    paths = [answers.paths(arm) for arm in range(len(answers.names))]
    if any(path is not None for path in paths):
        caption = (
            f"The ways on the plane in which the pilot's states spread most, which holds "
            f"{interval(answers.explained())} of their spread; one plane a model. From circle to square; bold: the "
            "mean of all rows."
        )
        yield Picture("plane", caption, planes(answers, paths), wide=True)
    films = [answers.films(arm) for arm in range(len(answers.names))]
    if question.spec.pilot and any(films):
        caption = (
            "How the picture forms: the clean picture that the network predicts at a step, the same seed throughout."
        )
        yield Picture("strips", caption, strips(answers, films, question.spec.pilot.frames), wide=True)


def shown(answers: TrajectoryAnswers) -> pd.DataFrame:
    """Return the table as people read it."""
    rows = []
    for (arm, number), cell in answers.cells.items():
        beside = answers.to_random(arm, number)
        rows.append(
            {
                "arm": answers.names[arm],
                "perturbation": called(cell.perturbation),
                "n": str(answers.value("first_step", arm, number).n),
                "missing": str(answers.value("first_step", arm, number).n_missing),
                "first step": interval(answers.value("first_step", arm, number)),
                "first tenth": interval(answers.value("first_tenth", arm, number)),
                "Gini": interval(answers.value("gini", arm, number)),
                "left at the end": interval(answers.value("left", arm, number)) if number else "",
                "less a random direction": interval(beside, "+") if beside else "",
                "first step, to the first arm": interval(answers.to_first_arm("first_step", arm, number), "+")
                if arm
                else "",
                "left, to the first arm": interval(answers.to_first_arm("left", arm, number), "+")
                if arm and number
                else "",
            }
        )
    return pd.DataFrame(rows)


def where(answers: TrajectoryAnswers, arm: int, number: int) -> dict[str, object]:
    """Return the columns that name a cell."""
    grid, perturbation = answers.question.grids[arm], answers.perturbations[number]
    return {
        "arm": answers.names[arm],
        "model": grid.model,
        "sampler": grid.samplers[0],
        "perturbation": grid.perturbations[number],
        "family": perturbation.family,
        "strength": perturbation.strength,
    }


def summary(answers: TrajectoryAnswers) -> pd.DataFrame:
    """Return a row an arm and perturbation: every statistic, and its difference to the first arm and to its control."""
    rows = []
    for (arm, number), cell in answers.cells.items():
        row = where(answers, arm, number) | {"drawn": cell.drawn, "failed": cell.failed}
        nothing = Estimate.missing(0, "no comparison")
        for name in STATISTICS:
            row |= columns_of(name, answers.value(name, arm, number))
            gap = answers.to_first_arm(name, arm, number) if arm else nothing
            row |= columns_of(f"{name}_to_first_arm", gap)
        rows.append(row | columns_of("left_to_random", answers.to_random(arm, number) or nothing))
    return pd.DataFrame(rows)


def step_table(answers: TrajectoryAnswers) -> pd.DataFrame:
    """Return a row an arm, perturbation and step: its length, and how many even shares of the way it is."""
    rows = []
    for (arm, number), cell in answers.cells.items():
        pairs = zip(answers.curve(cell.steps), answers.curve(cell.shares), strict=True)
        for step, (length, share) in enumerate(pairs):
            row = where(answers, arm, number) | {"step": step + 1, "steps": cell.steps.shape[1]}
            rows.append(row | columns_of("length", length) | columns_of("share", share))
    return pd.DataFrame(rows)


def contraction_table(answers: TrajectoryAnswers) -> pd.DataFrame:
    """Return a row an arm, perturbation and state: the distance to the control, what is left, the reference."""
    rows = []
    for (arm, number), cell in answers.cells.items():
        if not number:
            continue
        reference = answers.reference(arm, number)
        pairs = zip(answers.curve(cell.apart), answers.curve(cell.left), strict=True)
        for state, (apart, left) in enumerate(pairs):
            gaussian = math.nan if reference is None else float(reference[state])
            row = where(answers, arm, number) | {"state": state, "gaussian": gaussian}
            rows.append(row | columns_of("distance", apart) | columns_of("left", left))
    return pd.DataFrame(rows)


def facts(question: Trajectory, swept: Swept | None) -> dict[str, str]:
    """Return how the answers were made."""
    spec, drawn = question.spec, sum(map(len, question.grids))
    return {
        **{f"Model {model}": f"weights {weights}" for model, weights in question.revisions.items()},
        **{f"Arm {n}": f"{g.model}, {g.samplers[0]}" for n, g in zip(question.names, question.grids, strict=True)},
        "Grid": f"{len(question.prompts)} prompts x {spec.seeds.count} seeds x {len(question.perturbations)} "
        f"perturbations x {len(spec.arms)} arms = {drawn} images",
        **made(spec.store, swept),
    }


def tracked(answers: TrajectoryAnswers) -> Iterator[tuple[str, dict[float, Estimate]]]:
    """Yield the curves over the share of the steps done, by their names in MLflow."""
    for arm, name in enumerate(answers.names):
        unshifted, shifted = answers.cells[arm, 0], answers.cells[arm, answers.main]
        for what, rows in (("step length", unshifted.shares), ("left of the shift", shifted.left)):
            count = rows.shape[1]
            yield f"{slug(name)} {what}", {(i + 1) / count: e for i, e in enumerate(answers.curve(rows))}


def numbers(answers: TrajectoryAnswers) -> dict[str, float]:
    """Return the statistics of every arm, by their names in MLflow."""
    found = {}
    for arm, name in enumerate(answers.names):
        for statistic in STATISTICS:
            number = answers.main if statistic == "left" else 0
            found[f"{slug(name)}/{statistic}"] = answers.value(statistic, arm, number).value
    return found


def slug(name: str) -> str:
    """Return a name as MLflow accepts it."""
    return "".join(c if c.isalnum() or c in "._- " else "_" for c in name)
