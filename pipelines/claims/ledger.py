"""The ledger: claims measured, kept one file each, and shown on a page."""

import time
from collections.abc import Iterator, Sequence
from pathlib import Path

from pipelines import ask
from pipelines.claims import CLAIMS
from pipelines.claims.claim import Claim, Finding
from pipelines.question import AnyQuestion
from pipelines.questions import resolved
from pipelines.sweep import Watch
from pipelines.tracking import Tracker

HEAD = "| claim | verdict | what is estimated | estimate | shown if | model and size |"
WORDS = {
    "reproduced": "reproduced",
    "contradicted": "**contradicted**",
    "undecided": "undecided at this size",
}


def questions(claims: Sequence[Claim], overrides: list[str]) -> dict[str, AnyQuestion]:
    """Return the question of every config that the claims rest on."""
    return {config: resolved(config, overrides) for config in dict.fromkeys(c.config for c in claims)}


def measure(
    claims: Sequence[Claim], asked: dict[str, AnyQuestion], output: Path, tracker: Tracker, watch: Watch
) -> Iterator[Finding]:
    """Yield what is found on each claim, and keep it; rows that are in the store are not drawn again."""
    for config, question in asked.items():
        answer = ask.ask(question, None, watch)
        for claim in (c for c in claims if c.config == config):
            estimate = claim.measure(question)
            finding = Finding(
                claim=claim.name,
                estimate=estimate,
                verdict=claim.holds.judge(estimate),
                model=", ".join(draw.grid.model for draw in question.draws) + "; " + answer.page.facts["Grid"],
                report=str(answer.report.parent),
                measured=time.strftime("%Y-%m-%d", time.gmtime()),
            )
            keep(finding, output)
            ends = {"": estimate.value, "_low": estimate.low, "_high": estimate.high}
            tracker.metrics({f"{claim.name}{end}": value for end, value in ends.items()})
            yield finding


def keep(finding: Finding, output: Path) -> None:
    """Write what was found to a file of its own."""
    file = output / "claims" / f"{finding.claim}.json"
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(finding.model_dump_json(indent=2) + "\n", encoding="utf-8")


def kept(output: Path) -> dict[str, Finding]:
    """Return what was found on the claims so far, by name."""
    files = {name: output / "claims" / f"{name}.json" for name in CLAIMS}
    return {name: Finding.model_validate_json(file.read_text()) for name, file in files.items() if file.is_file()}


def page(found: dict[str, Finding]) -> str:
    """Return the ledger as Markdown: every claim, also those that were not measured."""
    lines = [
        "# Ledger of claims",
        "",
        "What the papers say, measured again by `seedquake claims NAME`, which also rewrites this page. A claim is",
        "reproduced where the whole 95 % interval lies where it says, contradicted where all of it lies elsewhere,",
        "and undecided otherwise. The models are small: a verdict holds for the model and size in its row.",
    ]
    for source in dict.fromkeys(claim.source for claim in CLAIMS.values()):
        claims = [claim for claim in CLAIMS.values() if claim.source == source]
        lines += ["", f"## {source}", "", HEAD, "| --- | --- | --- | --- | --- | --- |"]
        lines += [row(claim, found.get(claim.name)) for claim in claims]
    return "\n".join(lines) + "\n"


def row(claim: Claim, finding: Finding | None) -> str:
    """Return the line of one claim."""
    said = f"{claim.says} (`{claim.name}`)"
    if finding is None:
        verdict = "not measured: needs the published weights" if claim.published else "not measured"
        return f"| {said} | {verdict} | {claim.statistic} | | {claim.holds} | |"
    cells = (WORDS[finding.verdict], claim.statistic, f"{finding.estimate:.3g}", str(claim.holds), finding.model)
    return "| " + " | ".join((said, *(cell.replace("|", "\\|") for cell in cells))) + " |"
