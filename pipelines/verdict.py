"""The answer in words: does it break, at what strength, which classes first, how sure."""

import math
from collections.abc import Iterator

from pipelines.answers import BROKEN, CONTROL_KINDS, Answers, Family
from pipelines.figures import title
from stages.metrics import Estimate


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
    what = "top-1 accuracy" if answers.headline.startswith("top1") else "CLIP score"
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
        f"It breaks: a {title(family.name)} of {breaks.strength:.3f} takes {BROKEN:.0%} of the unshifted {what}, "
        f"which is {start}."
    )


def sentences(answers: Answers) -> Iterator[str]:
    """Yield what else a reader must know, a sentence each."""
    yield from unlikely(answers)
    yield from controls(answers)
    worst = [(name, e) for name, e in answers.classes().items() if e.n and e.high < 0][:3]
    if worst:
        yield "Classes that lose most: " + ", ".join(f"{name} {short(e)}" for name, e in worst) + "."
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
    """Yield what random directions of equal norm do."""
    random = [c for c in answers.cells if c.perturbation.kind == "random_direction"]
    if random:
        worst = max(random, key=lambda c: c.perturbation.strength)
        change = worst.changes[answers.headline]
        yield f"A random direction of the same norm at {worst.perturbation.strength:g} changes it by {short(change)}."


def short(estimate: Estimate) -> str:
    """Return an estimate with its interval, without n."""
    return f"{estimate.value:+.2f} [{estimate.low:+.2f}, {estimate.high:+.2f}]"
