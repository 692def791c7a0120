"""What users call `seedquake`: the commands over pipelines, and those that train."""

from collections.abc import Iterable
from pathlib import Path
from typing import Annotated

import typer
from rich.table import Table

from pipelines import cli
from pipelines.config import UserError
from tuning import claims_cli, convert_cli, studies_cli
from tuning.sage.people import cli as people

Names = Annotated[list[str] | None, typer.Argument(help="Models of `seedquake zoo list`; empty: all.")]
Trained = Annotated[
    list[str] | None, typer.Argument(help="Models of `seedquake zoo list`, or parts of them; empty: all models.")
]

cli.app.command()(claims_cli.claims)
cli.app.command()(studies_cli.transition)
cli.app.command()(studies_cli.finetune)
cli.app.command()(studies_cli.adversarial)
cli.app.command()(studies_cli.adversarial_tune)
cli.app.command()(studies_cli.distill)
cli.app.add_typer(convert_cli.app, name="convert")
cli.app.add_typer(studies_cli.sage, name="sage")
cli.app.command()(people.replay)
cli.app.command()(people.label)
cli.app.command()(people.labels)
cli.app.command()(people.atlas)

ROUNDING, FLIPS = 0.01, 2
"""Another processor rounds differently, so a few pictures of some thousand, or two, may be judged differently."""


@cli.app.command(name="verify")
def verify_run(
    run: Annotated[
        str, typer.Argument(help="The folder of a run or a study, an output folder, or a store by its folder or URI.")
    ],
) -> None:
    """Check that every stored row is there once, and every file of a study, as published; status 1 where one is not."""
    from tuning import verifying

    found = cli.asked_of_user(lambda: verifying.verify(run))
    for line in (*found.notes, *found.defects):
        cli.console.print(line, highlight=False, soft_wrap=True, markup=False)
    if found.defects:
        raise typer.Exit(1)
    said = "none of them damaged" if found.notes else "all as published"
    cli.console.print(f"{found.rows} rows in {found.files} files, {said}", highlight=False)


@cli.zoo.command()
def train(
    names: Trained = None,
    work: Annotated[Path, typer.Option(help="Folder of the checkpoints; a second call goes on from there.")] = Path(
        ".training"
    ),
    device: Annotated[str, typer.Option(help="cpu or cuda.")] = "cpu",
    threads: Annotated[int | None, typer.Option(min=1, help="CPU threads; empty: PyTorch's own choice.")] = None,
    weights: Annotated[Path | None, typer.Option(help="Folder to ship to; empty: the package's own.")] = None,
    anew: Annotated[
        bool, typer.Option(help="Train the parts of a model too, instead of taking those that ship.")
    ] = False,
) -> None:
    """Train embedded models and write them with their cards; about an hour on two cores for the largest."""
    from stages.models.zoo import WEIGHTS
    from tuning.training.zoo import PARTS

    chosen = known(names, PARTS)
    from tuning.training.zoo import train as training

    for name in chosen:
        folder = training.train(name, work, weights or WEIGHTS, device, threads, anew=anew)
        cli.console.print(f"{name}: {folder}", highlight=False, soft_wrap=True)


@cli.zoo.command()
def verify(names: Names = None) -> None:
    """Measure every figure of the cards again, from the shipped weights; status 1 where one differs."""
    chosen = known(names)
    from tuning.training.zoo import cards

    table = Table("model", "figure", "card", "measured", "", box=None)
    wrong = 0
    for name in chosen:
        for check in cards.verify(name):
            allowed = max(ROUNDING * max(1.0, abs(check.expected)), FLIPS / check.n)
            differs = not abs(check.recomputed - check.expected) <= allowed
            wrong += differs
            row = (name, check.figure, f"{check.expected:.4f}", f"{check.recomputed:.4f}")
            table.add_row(*row, "differs" if differs else "")
    cli.console.print(table)
    if wrong:
        raise typer.Exit(1)


def known(names: list[str] | None, among: Iterable[str] | None = None) -> list[str]:
    """Return the names asked for, without any all that ship; raises `UserError` for one not `among` those possible."""
    from stages.models.zoo import NAMES

    possible = NAMES if among is None else tuple(among)
    if unknown := sorted(set(names or []) - set(possible)):
        raise UserError(f"zoo: expected some of {', '.join(possible)}, found {', '.join(unknown)}")
    return names or list(NAMES)


def main() -> None:
    """Run `seedquake`."""
    cli.main(cli.app)
