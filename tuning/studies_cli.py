"""The commands of studies: many trials of Ray Tune that answer one question together."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from pipelines import cli
from pipelines.config import load

if TYPE_CHECKING:
    from tuning.study import StudySpec

CONFIGS = Path(__file__).parent / "configs"
Plan = Annotated[bool, typer.Option("--plan", help="Say what there is to do, and start nothing.")]


sage = typer.Typer(help="Search for failures: of likely seeds, of natural prompts, by one token.", no_args_is_help=True)


def transition(config: cli.Config, overrides: cli.Overrides = None, plan: Plan = False) -> None:
    """Train on few and on many pictures: from how many on does a model generalize instead of memorizing them."""
    from tuning.training.transition import TransitionSpec

    answer(load(TransitionSpec, config, overrides or [], CONFIGS), plan)


def finetune(config: cli.Config, overrides: cli.Overrides = None, plan: Plan = False) -> None:
    """Go on with a trained model on other pictures: all of its layers, or the attention alone."""
    from tuning.training.finetune import FinetuneSpec

    answer(load(FinetuneSpec, config, overrides or [], CONFIGS), plan)


def adversarial(config: cli.Config, overrides: cli.Overrides = None, plan: Plan = False) -> None:
    """Go on with a model plainly, with noisier inputs and under attack: what does the attack change."""
    from tuning.training.diffusion.twins import AdversarialSpec

    answer(load(AdversarialSpec, config, overrides or [], CONFIGS), plan)


def distill(config: cli.Config, overrides: cli.Overrides = None, plan: Plan = False) -> None:
    """Teach students to draw in a few steps, plainly and under attack: what does the attack change."""
    from tuning.training.consistency.study import DistillationSpec

    answer(load(DistillationSpec, config, overrides or [], CONFIGS), plan)


def adversarial_tune(config: cli.Config, overrides: cli.Overrides = None, plan: Plan = False) -> None:
    """Search for the settings with which a fine-tuning draws best in few calls, for an equal budget."""
    from tuning.training.diffusion.tune import AdversarialTuneSpec

    answer(load(AdversarialTuneSpec, config, overrides or [], CONFIGS), plan)


@sage.command()
def latent(config: cli.Config, overrides: cli.Overrides = None, plan: Plan = False) -> None:
    """Search for likely seeds that make a model fail, beside as many pictures drawn at random."""
    from tuning.sage.latents.study import LatentStudySpec

    answer(load(LatentStudySpec, config, overrides or [], CONFIGS), plan)


@sage.command()
def prompt(config: cli.Config, overrides: cli.Overrides = None, plan: Plan = False) -> None:
    """Search for natural words behind a prompt that make a model fail, beside words chosen at random."""
    from tuning.sage.prompts.study import PromptStudySpec

    answer(load(PromptStudySpec, config, overrides or [], CONFIGS), plan)


@sage.command()
def token(config: cli.Config, overrides: cli.Overrides = None, plan: Plan = False) -> None:
    """Search for one vector behind any prompt that makes a model draw what no prompt names."""
    from tuning.sage.tokens.study import TokenStudySpec

    answer(load(TokenStudySpec, config, overrides or [], CONFIGS), plan)


@sage.command()
def tune(config: cli.Config, overrides: cli.Overrides = None, plan: Plan = False) -> None:
    """Search for the settings with which a search over latents finds most failures for as many pictures."""
    from tuning.sage.latents.hyper import HyperSpec

    answer(load(HyperSpec, config, overrides or [], CONFIGS), plan)


def answer(study: "StudySpec", plan: bool) -> None:
    """Say what a study does, conduct it and print its answer."""
    cli.asked_of_user(study.check)
    lines = cli.asked_of_user(lambda: list(study.plan()))
    if place := study.run.store:
        lines.append(f"store      {place}; what is done there is fetched, and is not in the counts above")
    for line in lines:
        cli.console.print(line, highlight=False, soft_wrap=True, markup=False)
    if plan:
        return
    from tuning.study import conduct

    page, report = conduct(study, cli.console)
    cli.show(page)
    cli.console.print(f"\n{page.verdict}", style="bold", markup=False, highlight=False)
    left = f"{study.leaves:<9}{study.run.output}/{study.leaves}"
    cli.console.print(f"\nreport   {report}\n{left}", highlight=False, soft_wrap=True)
    cli.console.print(f"browse   {cli.own_name()} ui {study.run.output}", highlight=False, soft_wrap=True)
