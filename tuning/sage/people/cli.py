"""The commands over found failures: draw one again, let people label them, count their answers, show them all."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer
from rich.table import Table

from pipelines import cli
from pipelines.config import UserError

if TYPE_CHECKING:
    from tuning.sage.failures import Saved
    from tuning.sage.people.labelling import Labels

Run = Annotated[Path, typer.Argument(help="The folder of a run that has found failures.")]


def replay(
    failure: Annotated[Path, typer.Argument(help="The folder of a failure, such as RUN/failures/0123456789ab.")],
    output: Annotated[Path | None, typer.Option(help="The picture's file; empty: replay.png in that folder.")] = None,
    device: Annotated[Literal["cpu", "cuda"], typer.Option(help="Where to draw.")] = "cpu",
    threads: Annotated[int, typer.Option(min=1, help="CPU threads; searches use 1 unless told otherwise.")] = 1,
) -> None:
    """Draw a failure again and compare: status 0 where it is the same bit for bit, 1 where it is not."""
    from tuning.sage.people import replay as replays
    from tuning.sage.people.run_folder import failure_in

    saved, file = failure_in(failure), output or failure / "replay.png"
    found = replays.replay(saved, device, threads)
    cli.asked_of_user(lambda: replays.write(found.picture, file))
    say(f"{saved.failure.prompt!r}, seed {saved.failure.seed}: {file}")
    say("no classifier was loaded: what members and judge saw is in failure.json")
    if not found.same:
        say(f"differs: at most {found.largest} of 255 levels, {found.mean:.3g} on average; it was drawn elsewhere")
        raise typer.Exit(1)
    say("same, bit for bit")


def label(
    run: Run,
    port: Annotated[int, typer.Option(min=0, max=65535, help="0 takes a free one.")] = 0,
    host: Annotated[str, typer.Option(help="Address to listen on; any but 127.0.0.1 lets others in.")] = "127.0.0.1",
    rater: Annotated[str | None, typer.Option(help="Name of the rater; empty: the page asks.")] = None,
) -> None:
    """Ask people what pictures show, found failures and controls mixed; answers are kept in RUN/labels."""
    from tuning.sage.people.label_server import application, listening, server
    from tuning.sage.people.labelling import Labelling, known_rater
    from tuning.sage.people.run_folder import classes_of, failures_of

    labelling = Labelling(run, failures_of(run), classes_of(run))
    pages = application(labelling, host, None if rater is None else known_rater(rater))
    with listening(host, port) as listener:
        address, own_port = listener.getsockname()[:2]
        shown = f"[{address}]" if ":" in address else address
        say(f"{len(labelling.pictures)} pictures on http://{shown}:{own_port}, Ctrl-C ends it")
        say(f"answers   {labelling.folder}")
        server(pages).run(sockets=[listener])


def labels(
    run: Run,
    attempted: Annotated[
        int | None, typer.Option(min=1, help="Searches that were attempted; empty: as the run's table counts them.")
    ] = None,
) -> None:
    """Say how many failures people confirm, how well they know the controls, and how far they agree."""
    from tuning.sage.people.agreement import summary
    from tuning.sage.people.labelling import read
    from tuning.sage.people.run_folder import attempted as counted
    from tuning.sage.people.run_folder import failures_of

    saved, answers = failures_of(run), read(run)
    if not answers:
        raise UserError(f"labels: expected answers in {run}/labels, found none; start with seedquake label {run}")
    searches = attempted or counted(run)
    table = Table("figure", "value, 95 %", box=None)
    for figure in summary(saved, answers, searches):
        table.add_row(figure.name, f"{figure.rate:.2f}")
    cli.console.print(table)
    cli.console.print(by_rater(saved, answers))
    if searches is None:
        say("SSR(H) needs the number of attempted searches: give --attempted")
    if len(answers) < 3:
        say(f"a majority of {len(answers)} rater{'s' * (len(answers) > 1)} says little: three or more are usual")


def by_rater(saved: "list[Saved]", answers: "Labels") -> Table:
    """Return what each rater has done."""
    from tuning.sage.people.agreement import control_rate

    table = Table("rater", "answers", "controls right", box=None)
    for name, own in answers.items():
        table.add_row(name, str(len(own)), f"{control_rate(saved, {name: own}):.2f}")
    return table


def atlas(run: Run, limit: Annotated[int, typer.Option(min=1, help="Most failures shown of a cause.")] = 12) -> None:
    """Sort a run's failures by cause, on one page that opens anywhere."""
    from tuning.sage.people.atlas import FILE
    from tuning.sage.people.atlas import atlas as page
    from tuning.sage.people.causes import Vocabulary
    from tuning.sage.people.labelling import read
    from tuning.sage.people.run_folder import classes_of, failures_of

    saved, vocabulary = failures_of(run), Vocabulary(classes=classes_of(run))
    text = page(saved, vocabulary, run, read(run), limit)
    cli.asked_of_user(lambda: (run / FILE).write_text(text, encoding="utf-8"))
    say(f"atlas    {run / FILE}")


def say(line: str) -> None:
    """Print a line as it stands."""
    cli.console.print(line, highlight=False, soft_wrap=True, markup=False)
