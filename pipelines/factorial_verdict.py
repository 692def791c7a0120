"""The answer in words: which factor carries the robustness, how sure, and what speaks against it."""

import math
from collections.abc import Iterator

from pipelines.answers import TOP1
from pipelines.factorial_answers import FactorialAnswers, Response
from pipelines.factorial_tables import name_of, said
from pipelines.figures import HEADLINES
from stages.metrics import Estimate
from stages.metrics.factorial import Effect

SURE = 0.05


def verdict(answers: FactorialAnswers) -> str:
    """Return one sentence: which factor has the largest effect on the slope, or which cell falls steepest."""
    return of_factors(answers) if answers.design.factors else of_cells(answers)


def of_factors(answers: FactorialAnswers) -> str:
    """Return which factor has the largest main effect, and whether it is told apart from the others."""
    mains = [e for e in answers.slope.effects if len(e.term) == 1 and known(e.estimate)]
    if not mains:
        return "Undecided: no two cells that differ in one factor alone were measured."
    first = max(mains, key=lambda e: abs(e.estimate.value))
    factor, low, high = levels(answers, first)
    by = f"the slope of {HEADLINES[answers.headline]} per sigma of shift by {signed(first.estimate)}"
    if not first.p_holm < SURE:
        effect = f"the largest effect, of {factor} from {low} to {high}, changes {by}"
        return f"No factor is seen to carry the robustness: {effect}, {probably(first)}."
    ahead = {other: lead for (_, other), lead in answers.leads.items()}
    if not ahead:
        return (
            f"{sentence_case(factor)} is the only factor here: from {low} to {high} it changes {by}, {probably(first)}."
        )
    close = [answers.design.factors[other] for other, lead in ahead.items() if not lead.low > 0]
    nearest = min(ahead, key=lambda other: ahead[other].value)
    lead = f"ahead of {answers.design.factors[nearest]} by {said(ahead[nearest])}"
    if close:
        effect = f"{factor} from {low} to {high} changes {by}, only {lead}"
        return f"Undecided between {factor} and {' and '.join(close)}: {effect}."
    return f"{sentence_case(factor)} carries the robustness: from {low} to {high} it changes {by}, {lead}."


def of_cells(answers: FactorialAnswers) -> str:
    """Return which cell falls steepest and which least, and whether the steepest is told apart from the others."""
    slopes = {i: e for i in range(len(answers.cells)) if known(e := answers.of_cell(answers.slope, i))}
    if len(slopes) < 2:
        return "Undecided: fewer than two cells were measured."
    steepest, flattest = (pick(slopes, key=lambda i: slopes[i].value) for pick in (min, max))
    what = f"of {HEADLINES[answers.headline]} per sigma of shift"
    both = " to ".join(f"{answers.cells[i].name} {signed(slopes[i])}" for i in (steepest, flattest))
    close = [other for (first, other), lead in answers.leads.items() if first != steepest or not lead.low > 0]
    if close:
        among = ", ".join(answers.cells[other].name for other in close[:3])
        return f"Undecided which falls steepest: the slopes {what} go from {both}; not told from it: {among}."
    return f"{answers.cells[steepest].name} falls steepest: the slopes {what} go from {both}."


def sentences(answers: FactorialAnswers, corrected: Response | None) -> Iterator[str]:
    """Yield what else a reader must know, a sentence each."""
    if answers.design.factors:
        yield from interactions(answers)
        yield from against(answers, corrected)
        yield from at_strengths(answers)
        yield from design(answers)
    else:
        yield from pairs(answers)
    yield from at_chance(answers)
    for cell in answers.question.left_out:
        yield f"Left out, since it cannot be drawn: {cell.name} ({cell.refused})."
    drawn, failed = (sum(answers.counted(what, i) for i in range(len(answers.cells))) for what in ("drawn", "failed"))
    yield f"{drawn} images were judged, {failed} failed" + (" (see their column error)." if failed else ".")


def interactions(answers: FactorialAnswers) -> Iterator[str]:
    """Yield the interactions beyond chance: where they are large, a main effect is a mean of unlike ones."""
    found = [e for e in answers.slope.effects if len(e.term) == 2 and e.p_holm < SURE]
    found.sort(key=lambda e: -abs(e.estimate.value))
    if found:
        listed = "; ".join(f"{name_of(answers, e)} {said(e.estimate)}" for e in found[:3])
        yield f"Factors do not act alone; the change of one's effect with the other's level: {listed}."
    elif any(known(e.estimate) for e in answers.slope.effects if len(e.term) == 2):
        yield "No two factors are seen to act together: no interaction is beyond chance after Holm's correction."


def against(answers: FactorialAnswers, corrected: Response | None) -> Iterator[str]:
    """Yield the largest effect beside its controls."""
    first = largest(answers.slope)
    if first is None:
        return
    controls = {
        "the accuracy without a shift" if top1(answers) else "the score without a shift": answers.named("unshifted"),
        "the slope as a share of that": answers.named("relative_slope"),
        "the slope under a random direction of the same norm": answers.named("random_direction_slope"),
        "the slope less the judge's own on unbroken pictures with the same tint": corrected,
    }
    parts = [f"{words} by {said(r.effects[place(answers, first)].estimate)}" for words, r in controls.items() if r]
    slope = f"{sentence_case(name_of(answers, first))} changes the slope by {said(first.estimate)}"
    yield f"{slope}; beside that it changes {'; '.join(parts)}."


def at_strengths(answers: FactorialAnswers) -> Iterator[str]:
    """Yield which factor has the largest effect at each strength, where nothing is made into a slope."""
    parts = []
    for response in answers.responses:
        if response.name.startswith("change_at") and (first := largest(response)):
            strength = response.name.removeprefix("change_at_")
            parts.append(f"{name_of(answers, first)} at {strength} ({said(first.estimate)})")
    if parts:
        yield f"The largest main effect on the change at each strength: {', '.join(parts)}."


def design(answers: FactorialAnswers) -> Iterator[str]:
    """Yield on which cells the effects rest."""
    partly = [e for e in answers.slope.effects if e.groups < e.possible]
    text = "Every effect is the mean over groups of cells that differ in its factors alone"
    if partly:
        short = ", ".join(f"{name_of(answers, e)} {e.groups} of {e.possible}" for e in partly)
        yield f"{text}; cells that lack a partner take no part: {short} groups."
    else:
        yield f"{text}; the design is complete, {len(answers.cells)} cells."


def pairs(answers: FactorialAnswers) -> Iterator[str]:
    """Yield how many pairs of cells differ in their slope beyond chance."""
    found = answers.differences(answers.slope)
    differing = sum(d.p_holm < SURE for d in found)
    yield f"{differing} of {len(found)} pairs of cells differ in their slope beyond chance after Holm's correction."


def at_chance(answers: FactorialAnswers) -> Iterator[str]:
    """Yield the cells that have nothing to lose, whose slope says nothing of robustness."""
    if not top1(answers):
        return
    chance = 1 / max(1, len(answers.answers[0].class_columns()))
    controls = [(cell, answers.kept(number)) for number, cell in enumerate(answers.cells)]
    low = [f"{cell.name} {said(e, '')}" for cell, e in controls if e.n and e.low <= chance]
    if low:
        yield f"Not above chance ({chance:.3f}) without a shift, so flat whatever comes: {'; '.join(low)}."


def largest(response: Response) -> Effect | None:
    """Return the largest main effect."""
    mains = [e for e in response.effects if len(e.term) == 1 and known(e.estimate)]
    return max(mains, key=lambda e: abs(e.estimate.value), default=None)


def place(answers: FactorialAnswers, effect: Effect) -> int:
    """Return where an effect stands among those of any response."""
    return answers.design.terms.index(effect.term)


def levels(answers: FactorialAnswers, effect: Effect) -> tuple[str, str, str]:
    """Return a main effect's factor and its two levels."""
    factor = answers.design.factors[effect.term[0]]
    return factor, *answers.question.factors.levels[factor]


def sentence_case(text: str) -> str:
    """Return a text as a sentence starts, its other letters as they are."""
    return text[:1].upper() + text[1:]


def probably(effect: Effect) -> str:
    """Return an effect's corrected p-value in words."""
    return "whose interval has no width" if math.isnan(effect.p_holm) else f"Holm-corrected p = {effect.p_holm:.2g}"


def signed(estimate: Estimate) -> str:
    """Return an estimate with its interval and n."""
    return f"{estimate:+.3f}"


def top1(answers: FactorialAnswers) -> bool:
    """Say whether the verdict rests on an accuracy."""
    return answers.headline == TOP1


def known(estimate: Estimate) -> bool:
    """Say whether there is an estimate."""
    return not math.isnan(estimate.value)
