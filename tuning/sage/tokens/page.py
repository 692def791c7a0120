"""The page that answers whether one vector makes a model draw what no prompt names."""

import json
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import pandas as pd

from pipelines.figures import COLOURS, CONTROL, INK, JUDGE, sheet, whiskers
from pipelines.report import Page, Picture, interval
from stages.metrics import Estimate
from tuning.sage import failures
from tuning.sage.gallery import gallery
from tuning.sage.tokens.study import TokenStudySpec

if TYPE_CHECKING:
    from matplotlib.figure import Figure

ARMS = {
    "plain": "nothing",
    "found": "the token found",
    "random_vector": "a random vector as long",
    "random_word": "a random word",
    "random_search": "the best of as many random vectors",
    "target_word": "the target's own word",
}
NEW = ("new", "new")
"""Prompts and seeds that the search has never seen: what the verdict rests on."""


class Answer:
    """What came of one target."""

    def __init__(self, target: str, kept: dict[str, Any]) -> None:
        self.target, self.kept = target, kept
        self.rows: dict[tuple[str, str, str], dict[str, Any]] = {
            (row["behind"], row["prompts"], row["seeds"]): row for row in kept["rows"]
        }

    def of(self, what: str, arm: str, cell: tuple[str, str] = NEW) -> Estimate:
        """Return one of the estimates: success, gain, clip or clip_change."""
        return Estimate.model_validate(self.rows[(arm, *cell)][what])

    def arms(self) -> list[str]:
        """Return what stood behind the prompts, in the order of the table."""
        present = {arm for arm, *_ in self.rows}
        return [arm for arm in ARMS if arm in present]


def page(spec: TokenStudySpec) -> Page:
    """Return the page of a study whose trials are all done."""
    answers = read(spec)
    table = pd.DataFrame([row for answer in answers for row in rows(answer)])
    saved = collect(spec, answers)
    return Page(
        title=f"Seedquake: {spec.name}",
        question=spec.asks,
        verdict=verdict(answers),
        sentences=tuple(sentence for answer in answers for sentence in sentences(answer)),
        pictures=(
            Picture(
                "transfer", "Share of pictures that show the target, on new prompts and new seeds, 95 %.", bars(answers)
            ),
            Picture("curves", "The mean loss of each minibatch, which the search maximises.", curves(answers)),
            *gallery("New prompts on new seeds, above without the token and below with it", saved),
        ),
        tables={"transfer": table, "attempts": attempts(answers)},
        shown=table,
        heading="On prompts and seeds that the search has not seen",
        facts={
            "Model": spec.model,
            "Size": size(spec),
            "Judge, unseen by the search": spec.surrogate.judge.model,
            "Failures": f"{len(saved)} in {spec.folder / 'failures'}",
        },
        spec=spec.model_dump(mode="json"),
        numbers={f"{answer.target}_success": answer.of("success", "found").value for answer in answers},
    )


def read(spec: TokenStudySpec) -> list[Answer]:
    """Return what is kept of every target."""
    tasks = [spec.task(target) for target in spec.targets]
    files = [task.file(task.attempts[0]) for task in tasks]
    return [Answer(t, json.loads(file.read_text())) for t, file in zip(spec.targets, files, strict=True)]


def size(spec: TokenStudySpec) -> str:
    """Return how many tokens there are, and what they are tried on."""
    new = spec.token_search().held_out
    return f"{len(spec.targets)} tokens, each on {len(new.prompts)} new prompts x {len(new.seeds)} new seeds"


def collect(spec: TokenStudySpec, answers: list[Answer]) -> list[failures.Saved]:
    """Copy the pictures that show a target into the study's folder, and return them, the clearest first."""
    names = [shot["failure"] for answer in answers for shot in answer.kept["shots"] if shot["failure"]]
    source = spec.task(spec.targets[0]).folder / "failures"
    return failures.gather(source, spec.folder / "failures", names)


def attempts(answers: list[Answer]) -> pd.DataFrame:
    """Return a row a picture of a new prompt on a new seed, as `seedquake labels` counts them."""
    return pd.DataFrame(
        [{"way": "search", "target": answer.target, **shot} for answer in answers for shot in answer.kept["shots"]]
    )


def verdict(answers: list[Answer]) -> str:
    """Return one sentence: for how many targets the token does more than nothing, on what it has not seen."""
    works = [answer for answer in answers if answer.of("gain", "found").low > 0]
    best = max(answers, key=lambda answer: answer.of("success", "found").value)
    said = f"{interval(best.of('success', 'found'))} of the pictures show a {best.target}"
    if works:
        return f"One token carries over to new prompts and seeds for {len(works)} of {len(answers)} targets: {said}."
    return f"No token carries over to new prompts and seeds at this size: at most {said}."


def sentences(answer: Answer) -> Iterator[str]:
    """Yield what a reader must know of one target."""
    tests, change = answer.kept["tests"], answer.of("clip_change", "found")
    yield (
        f"{answer.target}: {interval(answer.of('success', 'found', ('train', 'train')))} where it was trained, "
        f"{interval(answer.of('success', 'found'))} on new prompts and seeds, "
        f"{interval(answer.of('success', 'plain'))} with nothing behind the prompt."
    )
    score = f"the CLIP score with the original prompt changes by {interval(change, '+', 1)}; " if change.n else ""
    yield (
        f"{answer.target}: {score}the vector is longer than {tests['norm_percentile']:.0f} % of the real tokens "
        f"(norm {tests['norm']:.2f}, median token {tests['table_norm']:.2f})."
    )


def rows(answer: Answer) -> Iterator[dict[str, str]]:
    """Yield a line of the table for everything that stood behind the prompts."""
    for arm in answer.arms():
        success = answer.of("success", arm)
        yield {
            "target": answer.target,
            "behind the prompt": ARMS[arm],
            "n": str(success.n),
            "target seen": interval(success),
            "more than with nothing": interval(answer.of("gain", arm), "+"),
            "where trained": interval(answer.of("success", arm, ("train", "train"))),
            "CLIP score": interval(answer.of("clip", arm), digits=1),
            "its change": interval(answer.of("clip_change", arm), "+", 1),
        }


def bars(answers: list[Answer]) -> "Figure":
    """Return the success of everything that stood behind the prompts, a group a target."""
    figure, (axis,) = sheet(4.8, 3.2, 1, 1)
    shades = {"plain": CONTROL, "found": INK, "target_word": JUDGE}
    arms = [arm for arm in ARMS if any(arm in answer.arms() for answer in answers)]
    for number, arm in enumerate(arms):
        having = [(at, answer.of("success", arm)) for at, answer in enumerate(answers) if arm in answer.arms()]
        x = [at + (number - len(arms) / 2) * 0.13 for at, _ in having]
        ends = whiskers([one for _, one in having])
        colour = shades.get(arm, COLOURS[2 + number % 8])
        axis.errorbar(x, [one.value for _, one in having], yerr=ends, fmt="o", color=colour, capsize=2, label=ARMS[arm])
    axis.set_xticks(range(len(answers)), [answer.target for answer in answers])
    axis.set_ylim(-0.03, 1.03)
    axis.legend(frameon=False, fontsize=6)
    return figure


def curves(answers: list[Answer]) -> "Figure":
    """Return the loss of every search by iteration."""
    figure, (axis,) = sheet(4.6, 3.2, 1, 1)
    for answer, colour in zip(answers, COLOURS * len(answers), strict=False):
        axis.plot([float("nan") if v is None else v for v in answer.kept["curve"]], color=colour, label=answer.target)
    axis.set_xlabel("iteration", fontsize=8)
    axis.legend(frameon=False, fontsize=7)
    return figure
