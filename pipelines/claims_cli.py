"""`seedquake claims`: measure what the papers say, and write the ledger."""

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console

if TYPE_CHECKING:
    from pipelines.claims.claim import Claim
    from pipelines.question import AnyQuestion

Words = Annotated[
    list[str] | None,
    typer.Argument(help="Claims, or sources such as brittle (empty: all), and settings as a.b=c for their configs."),
]
PageFile = Annotated[Path | None, typer.Option("--page", help="The ledger's file; empty: claims.md in the output.")]
Plan = Annotated[bool, typer.Option("--plan", help="Say which claims there are and what they cost; starts nothing.")]


def claims(words: Words = None, page: PageFile = None, plan: Plan = False) -> None:
    """Put published claims to the test and write the ledger: each with its estimate and verdict."""
    from pipelines.claims import chosen, ledger
    from pipelines.cli import asked_of_user, check, console

    names = [word for word in words or [] if "=" not in word]
    wanted = chosen(names)
    overrides = [word for word in words or [] if "=" in word]
    asked = asked_of_user(lambda: ledger.questions(wanted, overrides))
    for question in asked.values():
        asked_of_user(partial(check, question))
    if plan:
        tell(wanted, asked, console)
        return
    run(wanted, asked, page, console)


def tell(wanted: "list[Claim]", asked: "dict[str, AnyQuestion]", console: Console) -> None:
    """Print the claims, and what the rows that they rest on would cost."""
    from pipelines import plan

    for config, question in asked.items():
        found = plan.plan(question)
        time = plan.duration(found.seconds)
        console.print(f"{config}: {found.rows} images, {found.stored} of them in the store; time {time}")
        for claim in (c for c in wanted if c.config == config):
            console.print(f"  {claim.name}: {claim.says}", highlight=False, markup=False, soft_wrap=True)


def run(wanted: "list[Claim]", asked: "dict[str, AnyQuestion]", page: Path | None, console: Console) -> None:
    """Measure the claims, print what is found, and write the ledger."""
    from pipelines import plan, tracking
    from pipelines.claims import ledger
    from pipelines.cli import begin
    from pipelines.progress import Watcher

    for question in asked.values():
        plan.refuse(question, plan.plan(question))
    begin(list(asked.values()))
    output = Path(next(iter(asked.values())).spec.run.output)
    with tracking.tracked("claims", "claims") as tracker, Watcher(console) as watch:
        found = list(ledger.measure(wanted, asked, output, tracker, watch))
        target = page or output / "claims.md"
        target.write_text(ledger.page(ledger.kept(output)), encoding="utf-8")
        tracker.file(target)
    for finding in found:
        said = f"{finding.verdict}: {finding.claim}, {finding.estimate:.3g}"
        console.print(said, highlight=False, markup=False, soft_wrap=True)
    console.print(f"\nledger   {target}", highlight=False, soft_wrap=True)
