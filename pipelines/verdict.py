"""The answer in words: does it break, at what strength, which classes first, how sure."""

import math
from collections import Counter
from collections.abc import Iterator

from pipelines.answers import BROKEN, CONTROL_KINDS, TOP1, Answers, Cell, Family, JudgeControls
from pipelines.figures import HEADLINES, title
from pipelines.sweep import Swept
from stages.metrics import Estimate

FALLBACK = 0.4
"""Share of all wrong answers above which one class counts as what the classifier says when it sees nothing."""


def main_family(answers: Answers) -> Family:
    """Return the curve that the verdict is about: the uniform mean shift, else the one that breaks first."""
    shifted = [f for f in answers.families if f.cells[0].perturbation.kind not in CONTROL_KINDS] or answers.families
    named = [f for f in shifted if f.name == "uniform_mean_shift"]
    return named[0] if named else min(shifted, key=breaking)


def breaking(family: Family) -> float:
    """Return where a family breaks, infinity where it does not."""
    return family.breaks.strength.value if family.breaks.reached else math.inf


def verdict(answers: Answers) -> str:
    """Return one sentence: does the model break, and at what strength."""
    family = main_family(answers)
    control = next(c for c in answers.cells if c.sampler == family.sampler and c.number == 0)
    start = control.values[answers.headline]
    what = HEADLINES[answers.headline]
    breaks = family.breaks
    if math.isnan(start.value):
        return "Undecided: no unshifted picture was judged."
    if answers.headline.startswith("top1") and start.low <= (chance := 1 / max(1, len(answers.class_columns()))):
        return f"Undecided: the unshifted {what} of {start} is not above chance, {chance:.3f}, so nothing can be lost."
    if not breaks.reached:
        tested = f"{breaks.lowest_tested:g} to {breaks.highest_tested:g}"
        return (
            f"Not broken: under a {title(family.name)} from {tested} it keeps more than half of its {what} of {start}."
        )
    return (
        f"It breaks: a {title(family.name)} of {plain(breaks.strength)} takes {BROKEN:.0%} of the unshifted {what}, "
        f"which is {start}."
    )


def sentences(answers: Answers) -> Iterator[str]:
    """Yield what else a reader must know, a sentence each."""
    yield from unlikely(answers)
    yield from controls(answers)
    worst = [(name, e) for name, e in answers.classes().items() if e.n and e.high < 0][:3]
    if worst:
        names = ", ".join(f"{name} {short(e)} (n={e.n})" for name, e in worst)
        yield f"Classes that lose most, over all shifts: {names}."
    failed = sum(c.failed for c in answers.cells)
    drawn = sum(c.drawn for c in answers.cells)
    yield f"{drawn} images were judged, {failed} failed" + (" (see their column error)." if failed else ".")


def unlikely(answers: Answers) -> Iterator[str]:
    """Yield how unlikely the latent is at the smallest shift that matters."""
    family = main_family(answers)
    cells = [c for c in family.cells if c.p_holm < 0.05 and c.changes[answers.headline].value < 0]
    if cells:
        first = min(cells, key=lambda c: abs(c.perturbation.strength))
        change, z = first.changes[answers.headline], first.unlikely["latent_mean_z"]
        yield (
            f"The smallest shift with a significant loss is {first.perturbation.strength:g} ({short(change)}, "
            f"Holm-corrected p = {first.p_holm:.2g}); "
            f"its latents' channel means lie {z:.1f} standard deviations from a drawn seed's."
        )


def controls(answers: Answers) -> Iterator[str]:
    """Yield what a random direction of the same norm does, at the tested strength nearest to the break."""
    family = main_family(answers)
    random = {c.perturbation.strength: c for c in answers.cells if c.perturbation.kind == "random_direction"}
    pairs = [(c, random[s]) for c in family.cells if (s := abs(c.perturbation.strength)) in random]
    if not pairs:
        return
    shifted, control = min(pairs, key=lambda pair: distance(pair[0], family))
    by, other = (short(c.changes[answers.headline]) for c in (control, shifted))
    strength = shifted.perturbation.strength
    same = f"A random direction of the same norm as a {title(family.name)} of {strength:g}"
    yield f"{same} changes it by {by}; the shift itself by {other}."


def distance(cell: Cell, family: Family) -> tuple[float, float]:
    """Return how far a cell lies from the break, of two sides the one that loses more first."""
    at = family.breaks.strength.value if family.breaks.reached else math.inf
    apart = abs(abs(cell.perturbation.strength) - at) if math.isfinite(at) else -abs(cell.perturbation.strength)
    return round(apart, 9), cell.changes[TOP1].value


def judge_sentences(answers: Answers, controls: JudgeControls) -> list[str]:
    """Return how much of the drop at the break is the classifier's own."""
    family = main_family(answers)
    cells = [c for c in family.cells if (c.sampler, c.number) in controls and c.number]
    if not cells or not family.breaks.reached:
        return []
    near = min(cells, key=lambda cell: distance(cell, family))
    tinted = controls[near.sampler, near.number][TOP1]
    own = near.values[TOP1]
    seen = f"At {near.perturbation.strength:g} the classifier gets {own:.2f} of the generated pictures right"
    return [f"{seen}, and {tinted:.2f} of unbroken ones with the same colour cast: what is lost beyond is the model's."]


def fallback_sentences(answers: Answers, names: list[str]) -> list[str]:
    """Return the class that the classifier falls back to where it sees nothing: it looks robust and is not."""
    counts = answers.confusion(0, lambda p: p.kind not in CONTROL_KINDS)
    wrong: Counter[str] = Counter()
    for (name, index), count in counts.items():
        taken = names[index] if index < len(names) else str(index)
        if taken != name:
            wrong[taken] += count
    if not wrong or (count := (common := wrong.most_common(1)[0])[1]) < FALLBACK * (total := wrong.total()):
        return []
    said = f"Of {total} wrong answers on shifted pictures {count / total:.0%} were {common[0]!r}"
    return [f"{said}: the classifier says so where it sees nothing, and the accuracy of that class means little."]


def run_sentences(swept: Swept | None) -> list[str]:
    """Return what adaptive sampling saved."""
    if swept is None or not swept.saved:
        return []
    return [f"Adaptive sampling stopped early where the interval was narrow enough and saved {swept.saved} images."]


def plain(estimate: Estimate) -> str:
    """Return a strength with its interval; an end beyond the tested strengths is said as such."""
    ends = (f"{end:.2f}" if end == end else "beyond" for end in (estimate.low, estimate.high))  # noqa: PLR0124  NaN
    return f"{estimate.value:.2f} [{', '.join(ends)}]"


def short(estimate: Estimate) -> str:
    """Return an estimate with its interval, without n."""
    return f"{estimate.value:+.2f} [{estimate.low:+.2f}, {estimate.high:+.2f}]"
