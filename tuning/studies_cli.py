"""The commands of studies: many models trained by Ray Tune to answer one question."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from pipelines import cli
from pipelines.config import load

if TYPE_CHECKING:
    from tuning.training.study import StudySpec

CONFIGS = Path(__file__).parent / "configs"
Plan = Annotated[bool, typer.Option("--plan", help="Say what there is to do, and start nothing.")]


def transition(config: cli.Config, overrides: cli.Overrides = None, plan: Plan = False) -> None:
    """Train on few and on many pictures: from how many on does a model generalize instead of memorizing them."""
    from tuning.training.transition import TransitionSpec

    answer(load(TransitionSpec, config, overrides or [], CONFIGS), plan)


def finetune(config: cli.Config, overrides: cli.Overrides = None, plan: Plan = False) -> None:
    """Go on with a trained model on other pictures: all of its layers, or the attention alone."""
    from tuning.training.finetune import FinetuneSpec

    answer(load(FinetuneSpec, config, overrides or [], CONFIGS), plan)


def answer(study: "StudySpec", plan: bool) -> None:
    """Say what a study does, conduct it and print its answer."""
    cli.asked_of_user(study.check)
    for line in cli.asked_of_user(lambda: list(study.plan())):
        cli.console.print(line, highlight=False, soft_wrap=True, markup=False)
    if plan:
        return
    from tuning.training.study import conduct

    page, report = conduct(study, cli.console)
    cli.show(page)
    cli.console.print(f"\n{page.verdict}", style="bold", markup=False, highlight=False)
    cli.console.print(f"\nreport   {report}\nmodels   {study.run.output}/trained", highlight=False, soft_wrap=True)
    cli.console.print(f"browse   {cli.own_name()} ui {study.run.output}", highlight=False, soft_wrap=True)
