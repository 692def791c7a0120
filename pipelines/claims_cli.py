"""Put claims to the test: what `seedquake claims`, which `tuning.cli` gives all claims there are, does with them."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console

if TYPE_CHECKING:
    from pipelines.claims.claim import Claim, Finding
    from pipelines.claims.subject import AnySubject

Words = Annotated[
    list[str] | None,
    typer.Argument(help="Claims, or sources such as brittle (empty: all), and settings as a.b=c for their configs."),
]
PageFile = Annotated[Path | None, typer.Option("--page", help="The ledger's file; empty: claims.md in the output.")]
Plan = Annotated[bool, typer.Option("--plan", help="Say which claims there are and what they cost; starts nothing.")]


def examine(claims: "Mapping[str, Claim]", words: list[str] | None, page: Path | None, plan: bool) -> None:
    """Measure those of the claims that the words name, and write the ledger of all; or say what that would cost."""
    from pipelines.claims import chosen, ledger
    from pipelines.cli import asked_of_user, console

    wanted = chosen([word for word in words or [] if "=" not in word], claims)
    overrides = [word for word in words or [] if "=" in word]
    asked = asked_of_user(lambda: ledger.subjects(wanted, overrides))
    for subject in asked.values():
        asked_of_user(subject.check)
    if plan:
        tell(wanted, asked, console)
        return
    target = page or output(asked) / "claims.md"
    for finding in run(claims, wanted, asked, target):
        said = f"{finding.verdict}: {finding.claim}, {finding.estimate:.3g}"
        console.print(said, highlight=False, markup=False, soft_wrap=True)
    console.print(f"\nledger   {target}", highlight=False, soft_wrap=True)


def tell(wanted: "list[Claim]", asked: "Mapping[str, AnySubject]", console: Console) -> None:
    """Print the claims, and what the answers that they rest on would cost."""
    for config, subject in asked.items():
        first, *more = subject.plan()
        claims = [f"{claim.name}: {claim.says}" for claim in wanted if claim.config == config]
        for line in (f"{config}: {first}", *(f"  {line}" for line in (*more, *claims))):
            console.print(line, highlight=False, markup=False, soft_wrap=True)


def run(
    claims: "Mapping[str, Claim]", wanted: "list[Claim]", asked: "Mapping[str, AnySubject]", target: Path
) -> "list[Finding]":
    """Measure the claims that are wanted, and write the ledger of all claims to a file."""
    from pipelines import tracking
    from pipelines.claims import ledger
    from pipelines.cli import console

    for subject in asked.values():
        subject.refuse()
    start(list(asked.values()))
    with tracking.tracked("claims", "claims") as tracker:
        found = list(ledger.measure(wanted, asked, output(asked), tracker, console))
        target.write_text(ledger.page(ledger.kept(output(asked), claims), claims), encoding="utf-8")
        tracker.file(target)
    return found


def start(asked: "Sequence[AnySubject]") -> None:
    """Open MLflow's store, and start Ray with room for every question; what else needs Ray joins it, or starts it."""
    from pipelines import tracking
    from pipelines.cli import begin

    if questions := [question for subject in asked for question in subject.questions]:
        begin(questions)
    else:
        kept = asked[0].run
        tracking.open_store(tracking.address(kept.tracking_uri, kept.output), kept.experiment)


def output(asked: "Mapping[str, AnySubject]") -> Path:
    """Return the folder of the findings: the output of the first subject."""
    return Path(next(iter(asked.values())).run.output)
