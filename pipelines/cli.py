"""The commands over pipelines; `tuning.cli` adds those that train and search, and is what users call."""

import json
import sys
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, TypeVar

import typer
from rich.console import Console
from rich.table import Table

from pipelines import index_cli
from pipelines.config import UserError
from pipelines.masking import masked
from pipelines.run import RunFailed

if TYPE_CHECKING:
    import numpy as np

    from pipelines.question import AnyQuestion
    from pipelines.report import Page
    from pipelines.run import Tally

app = typer.Typer(
    name="seedquake",
    help="Shake the seed of a diffusion model and measure what breaks.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
zoo = typer.Typer(help="The embedded models.", no_args_is_help=True)
app.add_typer(zoo, name="zoo")
app.add_typer(index_cli.app, name="index")

Config = Annotated[str, typer.Argument(help="A YAML file, or a packaged config such as robustness_demo.")]
Overrides = Annotated[list[str] | None, typer.Argument(help="Settings as a.b=c, such as seeds.count=20.")]
Debug = Annotated[bool, typer.Option("--debug", help="Show tracebacks.")]
console = Console(width=None if sys.stdout.isatty() else 110)
T = TypeVar("T")


@app.callback()
def options(debug: Debug = False) -> None:
    """Shake the seed of a diffusion model and measure what breaks."""
    global _debug  # noqa: PLW0603  the one switch that `main` reads
    _debug = debug


_debug = False


@app.command()
def robustness(config: Config, overrides: Overrides = None) -> None:
    """Shift the seed latents of a text-to-image model: does it break, at what strength, which classes first."""
    run_question("robustness", config, overrides)


@app.command()
def reproducibility(config: Config, overrides: Overrides = None) -> None:
    """Draw from several models with the same noise: how often is it the same picture, and how often by chance."""
    run_question("reproducibility", config, overrides)


@app.command()
def memorization(config: Config, overrides: Overrides = None) -> None:
    """Look a model's samples up among its training pictures: how many replicate one, and how many would by chance."""
    run_question("memorization", config, overrides)


@app.command()
def factorial(config: Config, overrides: Overrides = None) -> None:
    """Shift the seed latents of several models and samplers: which factor of them carries the robustness."""
    run_question("factorial", config, overrides)


@app.command()
def trajectory(config: Config, overrides: Overrides = None) -> None:
    """Watch samplers carry shifted seeds: how long is each step, and how much of the shift is left at the end."""
    run_question("trajectory", config, overrides)


@app.command()
def quality(config: Config, overrides: Overrides = None) -> None:
    """Draw with several samplers and numbers of calls: how far are the pictures from real ones, and from each other."""
    run_question("quality", config, overrides)


@app.command(name="plan")
def plan_command(config: Config, overrides: Overrides = None) -> None:
    """Say what a config would do, what it would cost and what is done already; starts nothing."""
    from pipelines import cluster, plan

    question = resolve(config, overrides)
    found = asked_of_user(lambda: plan.plan(question))
    for line in plan.lines(question, found, cluster.survey(question.spec.run.address)):
        console.print(masked(line), highlight=False, soft_wrap=True, markup=False)


@app.command()
def report(
    run: Annotated[Path, typer.Argument(help="The folder of a run, such as runs/robustness_demo-1234abcd.")],
) -> None:
    """Make a run's report again from its stored rows."""
    from pipelines import ask

    if not (run / "spec.yaml").is_file():
        raise UserError(f"report: expected the folder of a run with its spec.yaml, found none in {run}")
    asked = ask.again(resolve(str(run / "spec.yaml"), [f"run.output={json.dumps(str(run.parent))}"]))
    show(asked.page)
    console.print(f"\nreport   {asked.report}", highlight=False, soft_wrap=True)


@app.command()
def ui(
    output: Annotated[str, typer.Argument(help="The output folder of the runs.")] = "runs",
    port: Annotated[int, typer.Option(min=1, max=65535)] = 5000,
) -> None:
    """Browse the experiments in MLflow, on 127.0.0.1."""
    from pipelines import tracking

    if not (Path(output) / "mlflow.db").is_file():
        raise UserError(f"ui: expected {output}/mlflow.db, found none; run a question first or name its output folder")
    console.print(f"MLflow on http://127.0.0.1:{port}, Ctrl-C ends it", highlight=False)
    raise typer.Exit(tracking.serve(tracking.address(None, output), port))


@zoo.command(name="list")
def zoo_list() -> None:
    """List the embedded models with their size and quality."""
    from stages.models import zoo as models

    table = Table("model", "size", "quality", box=None)
    for name in models.NAMES:
        card = models.card(name)
        bytes_ = sum((models.path(name) / file).stat().st_size for file in card.sha256)
        best = card.figures[0]
        quality = f"{best.name} {best.value:.3f} [{best.low:.3f}, {best.high:.3f}] (n={best.n})"
        table.add_row(f"zoo:{name}", f"{bytes_ / 2**20:.1f} MiB", quality)
    console.print(table)


def run_question(name: str, config: str, overrides: list[str] | None) -> None:
    """Ask a question from start to end, and print its answer."""
    from pipelines import ask, lease, plan, rates, tracking
    from pipelines.progress import Watcher
    from pipelines.store import Store

    question = resolve(config, overrides, name)
    found = asked_of_user(lambda: plan.plan(question))
    plan.refuse(question, found)
    run = question.spec.run
    time = plan.duration(found.seconds)
    console.print(f"{found.rows} images, {found.stored} of them in the store; time {time}", highlight=False)
    with lease.held(Store(question.spec.store), lambda text: console.print(masked(text))):
        start_ray([question])
        with tracking.tracked_late(question.spec, name) as late, Watcher(console) as watcher:

            def watch(what: str, tally: "Tally") -> None:
                watcher(what, tally)
                late.begin()

            asked = ask.ask(question, watch)
            ask.track(question, asked, late.open())
    if asked.swept:
        rates.remember(question, asked.swept)
    show(asked.page)
    console.print(f"\n{asked.page.verdict}", style="bold", markup=False, highlight=False)
    console.print(f"\nreport   {asked.report}\nsamples  {masked(question.spec.store)}", highlight=False, soft_wrap=True)
    console.print(f"browse   {own_name()} ui {run.output}", highlight=False, soft_wrap=True)


def begin(questions: "Sequence[AnyQuestion]") -> None:
    """Start or join Ray, and open MLflow's store beside it; where and how is as the first question says."""
    from pipelines import tracking

    run = questions[0].spec.run
    with ThreadPoolExecutor(1) as beside:
        opened = beside.submit(tracking.open_store, tracking.address(run.tracking_uri, run.output), run.experiment)
        start_ray(questions)
        opened.result()


def start_ray(questions: "Sequence[AnyQuestion]") -> None:
    """Start or join Ray, as the first question says, with room for them all."""
    from pipelines import cluster

    console.print("starting Ray and loading the models", highlight=False)
    pipelines = [draw.generation for question in questions for draw in question.draws]
    cluster.connect(questions[0].spec.run, pipelines)


def resolve(config: str, overrides: list[str] | None, expected: str | None = None) -> "AnyQuestion":
    """Return a checked question; every mistake in it becomes one sentence."""
    from pipelines.questions import resolved

    question = asked_of_user(lambda: resolved(config, overrides or [], expected))
    asked_of_user(lambda: check(question))
    return question


def check(question: "AnyQuestion") -> None:
    """Follow the columns of everything that a question draws, and refuse what its models cannot run."""
    from pipelines.unable import refuse_unable

    for draw in question.draws:
        refuse_unable(draw.grid)
        draw.generation.check(draw.grid.rows(first_row()))


def first_row() -> "np.ndarray":
    """Return the number of the first row: its columns stand for those of all."""
    import numpy as np

    return np.zeros(1, dtype=np.int64)


def asked_of_user(make: Callable[[], T]) -> T:
    """Return what `make` makes; what it refuses is the user's to fix."""
    try:
        return make()
    except (ValueError, OSError) as error:
        raise UserError(str(error)) from error


def own_name() -> str:
    """Return how to call this command again from here: by its path where it lies below, as after `make demo`."""
    script, here = Path(sys.argv[0]).absolute(), Path.cwd()
    return str(script.relative_to(here)) if script.is_relative_to(here) else "seedquake"


def show(page: "Page") -> None:
    """Print the table of an answer."""
    shown = page.shown if page.printed is None else page.printed
    table = Table(*shown.columns, box=None, header_style="bold", pad_edge=False, padding=(0, 1, 0, 0))
    for row in shown.itertuples(index=False):
        table.add_row(*map(str, row))
    console.print(table)


def main(application: typer.Typer = app) -> None:
    """Run a command: status 0 for success, 1 for a failed run, 2 for what the user must fix; one sentence for each."""
    try:
        status = application(standalone_mode=False)  # what `typer.Exit` was raised with; 130 after Ctrl-C
    except Exception as error:
        if _debug:
            raise
        sys.exit(explained(error))
    except KeyboardInterrupt:
        status = 130
    if status == 130:
        print("stopped; finished rows are kept, the same command goes on from there", file=sys.stderr)  # noqa: T201
    if status:
        sys.exit(status)


def explained(error: Exception) -> int:
    """Print an error as one sentence and return the exit status."""
    text = str(getattr(error, "message", None) or error) or type(error).__name__
    mistake = isinstance(error, UserError) or hasattr(error, "exit_code")  # the latter: a wrong command line
    if not mistake and not isinstance(error, RunFailed):
        text = f"{type(error).__name__}: {' '.join(text.split())[:500]} (--debug shows where)"
    print(f"seedquake: {masked(text)}", file=sys.stderr)  # noqa: T201
    return 2 if mistake else 1
