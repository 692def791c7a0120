"""The ledger: claims measured, kept one file each, and shown on a page."""

import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from rich.console import Console

from pipelines.claims.claim import Claim, Finding
from pipelines.claims.subject import AnySubject
from pipelines.tracking import Tracker

HEAD = "| claim | verdict | what is estimated | estimate | shown if | model and size |"
WORDS = {
    "reproduced": "reproduced",
    "contradicted": "**contradicted**",
    "undecided": "undecided at this size",
}


def subjects(claims: Sequence[Claim], overrides: list[str]) -> dict[str, AnySubject]:
    """Return the subject of every config that the claims rest on."""
    resolve = {claim.config: claim.subject for claim in claims}
    return {config: subject(config, overrides) for config, subject in resolve.items()}


def measure(
    claims: Sequence[Claim], asked: Mapping[str, AnySubject], output: Path, tracker: Tracker, console: Console
) -> Iterator[Finding]:
    """Yield what is found on each claim, and keep it; what is there of a subject's answer is not made again."""
    for config, subject in asked.items():
        answer = subject.answer(console)
        for claim in (c for c in claims if c.config == config):
            estimate = claim.measure(subject.asked)
            finding = Finding(
                claim=claim.name,
                estimate=estimate,
                verdict=claim.holds.judge(estimate),
                model=answer.size,
                report=str(answer.folder),
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


def kept(output: Path, claims: Mapping[str, Claim]) -> dict[str, Finding]:
    """Return what was found on the claims so far, by name."""
    files = {name: output / "claims" / f"{name}.json" for name in claims}
    return {name: Finding.model_validate_json(file.read_text()) for name, file in files.items() if file.is_file()}


def page(found: Mapping[str, Finding], claims: Mapping[str, Claim]) -> str:
    """Return the ledger as Markdown: every claim, also those that were not measured."""
    lines = [
        "# Ledger of claims",
        "",
        "What the papers say, measured again by `seedquake claims NAME`, which also rewrites this page. A claim is",
        "reproduced where the whole 95 % interval lies where it says, contradicted where all of it lies elsewhere,",
        "and undecided otherwise. The models are small: a verdict holds for the model and size in its row.",
    ]
    for source in dict.fromkeys(claim.source for claim in claims.values()):
        lines += ["", f"## {source}", "", HEAD, "| --- | --- | --- | --- | --- | --- |"]
        lines += [row(claim, found.get(claim.name)) for claim in claims.values() if claim.source == source]
    return "\n".join(lines) + "\n"


def row(claim: Claim, finding: Finding | None) -> str:
    """Return the line of one claim."""
    said = f"{claim.says} (`{claim.name}`)"
    if finding is None:
        verdict = "not measured: needs the published weights" if claim.published else "not measured"
        return f"| {said} | {verdict} | {claim.statistic} | | {claim.holds} | |"
    cells = (WORDS[finding.verdict], claim.statistic, f"{finding.estimate:.3g}", str(claim.holds), finding.model)
    return "| " + " | ".join((said, *(cell.replace("|", "\\|") for cell in cells))) + " |"
