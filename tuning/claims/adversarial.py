"""Claims of "Better Adversarial Robustness" (arXiv:2502.17099): what the tables say of adversarial training, as signs.

The paper's numbers are of larger models and of TensorFlow's Inception; these are differences, from the same noise, to
as much plain training. Where a claim is of several samplers or steps, the least favourable one decides.
"""

import math
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING

from pipelines.claims.claim import Claim, Measure, Range
from stages.metrics import Estimate
from tuning.claims.subject import OfStudy, studied

if TYPE_CHECKING:
    from tuning.training.consistency.study import DistillationSpec
    from tuning.training.diffusion.twins import AdversarialSpec
    from tuning.training.diffusion.twins_page import TwinErrors
    from tuning.training.searched import Searched
    from tuning.training.shaken import Shaken
    from tuning.training.table import Compared

PAPER = "arXiv:2502.17099"
OURS = "Our own questions"
TWINS, STUDENTS = "adversarial_small", "distill_small"
PRINTED = "adversarial, full"
NOTHING = Estimate.missing(0, "nothing to measure")
"""Of a study that leaves out the question that a claim rests on."""


def twins(config: str, overrides: list[str]) -> OfStudy:
    """Return the study of what adversarial training changes."""
    from tuning.training.diffusion.twins import AdversarialSpec

    return studied(AdversarialSpec, config, overrides)


def students(config: str, overrides: list[str]) -> OfStudy:
    """Return the study of what adversarial distillation changes."""
    from tuning.training.consistency.study import DistillationSpec

    return studied(DistillationSpec, config, overrides)


def largest(estimates: Iterable[Estimate]) -> Estimate:
    """Return the largest of some estimates; a missing one comes first."""
    return max(estimates, key=lambda one: math.inf if math.isnan(one.value) else one.value, default=NOTHING)


def over_errors(statistic: "Callable[[TwinErrors, str], Estimate]") -> Measure:
    """Return the statistic of the errors of twins, given the plain twin of as many updates."""

    def measure(study: "AdversarialSpec") -> Estimate:
        from tuning.training.diffusion.twins_page import TwinErrors

        return statistic(TwinErrors(study), study.equal()[1])

    return measure


def over_table(pair: "Callable[[AdversarialSpec], tuple[str, str]]", samplers: tuple[str, ...], calls: int) -> Measure:
    """Return the largest change of the FID over some samplers, with so many calls."""

    def measure(study: "AdversarialSpec") -> Estimate:
        from tuning.training.table import Compared

        question = study.table()
        if question is None or calls not in question.spec.nfe:
            return NOTHING
        compared = pair(study)
        table = Compared(question, [compared])
        known = [name for name in samplers if name in table.answers.sampler_names]
        return largest(table.change(compared, name, calls) for name in known)

    return measure


def over_shifts(statistic: "Callable[[Shaken, AdversarialSpec], Estimate]") -> Measure:
    """Return the statistic of twins whose seeds were shaken."""

    def measure(study: "AdversarialSpec") -> Estimate:
        from pipelines.factorial_answers import read
        from tuning.training.shaken import Shaken

        question = study.brittleness()
        return statistic(Shaken(read(question), study.controls()), study) if question else NOTHING

    return measure


def over_searches(statistic: "Callable[[Searched, AdversarialSpec], Estimate]") -> Measure:
    """Return the statistic of twins whose latents were searched for failures."""

    def measure(study: "AdversarialSpec") -> Estimate:
        from tuning.training.searched import Searched

        searches = study.searches()
        return statistic(Searched(searches, study.controls()), study) if searches else NOTHING

    return measure


def over_students(statistic: "Callable[[Compared, DistillationSpec], Estimate]") -> Measure:
    """Return the statistic of what students draw."""

    def measure(study: "DistillationSpec") -> Estimate:
        from tuning.training.table import Compared

        return statistic(Compared(study.table(), study.controls()), study)

    return measure


def attacked(study: "AdversarialSpec") -> tuple[str, str]:
    """Return the training as printed, and as many plain updates."""
    return PRINTED, study.equal()[1]


def against_noisier(study: "AdversarialSpec") -> tuple[str, str]:
    """Return the training as printed, and as many updates with noisier inputs."""
    return PRINTED, study.equal()[1].replace("fine-tuned", "noisier inputs")


def in_every_step(table: "Compared", study: "DistillationSpec") -> Estimate:
    """Return the largest change of the FID by the attack over steps, against as many plain updates."""
    pair = study.plain()
    return largest(table.change(pair, table.answers.sampler_names[0], calls) for calls in study.quality.nfe)


CLAIMS = (
    Claim(
        "at/robust",
        "Adversarial training makes the denoiser robust to small perturbations of its input.",
        PAPER,
        TWINS,
        "error under the printed attack of the model trained under it, less that of as many plain updates",
        Range(high=0),
        over_errors(lambda errors, plain: errors.change(PRINTED, plain, "full")),
        twins,
    ),
    Claim(
        "at/few-calls",
        "Adversarially trained models draw best in few calls, by DDIM, epsilon scaling and DPM-Solver.",
        PAPER,
        TWINS,
        "FID with 5 calls of the model trained under the printed attack, less that of as many plain updates; the "
        "sampler for which it is largest",
        Range(high=0),
        over_table(attacked, ("DDIM", "ES", "DPM-Solver++"), 5),
        twins,
    ),
    Claim(
        "at/not-ancestral",
        "With 5 calls of the ancestral sampler plain fine-tuning is no worse (one of the paper's exceptions).",
        PAPER,
        TWINS,
        "FID with 5 ancestral calls of the model trained under the printed attack, less that of as many plain updates",
        Range(low=0),
        over_table(attacked, ("IDDPM",), 5),
        twins,
    ),
    Claim(
        "at/many-calls",
        "Adversarially trained models draw best with many calls too.",
        PAPER,
        TWINS,
        "FID with 50 calls of the model trained under the printed attack, less that of as many plain updates; the "
        "sampler for which it is largest",
        Range(high=0),
        over_table(attacked, ("IDDPM", "DDIM", "ES", "DPM-Solver++"), 50),
        twins,
    ),
    Claim(
        "at/not-ancestral-at-fifty",
        "With 50 calls of the ancestral sampler noisier inputs (ADM-IP) are no worse (one of the paper's exceptions).",
        PAPER,
        TWINS,
        "FID with 50 ancestral calls of the model trained under the printed attack, less that of as many updates with "
        "noisier inputs",
        Range(low=0),
        over_table(against_noisier, ("IDDPM",), 50),
        twins,
    ),
    Claim(
        "at/not-dpm-at-fifty",
        "With 50 calls of DPM-Solver plain fine-tuning is no worse (one of the paper's exceptions).",
        PAPER,
        TWINS,
        "FID with 50 calls of DPM-Solver++ of the model trained under the printed attack, less that of as many plain "
        "updates",
        Range(low=0),
        over_table(attacked, ("DPM-Solver++",), 50),
        twins,
    ),
    Claim(
        "at/ip-collapses",
        "Training with noisier inputs (ADM-IP) draws badly with many calls of DPM-Solver.",
        PAPER,
        TWINS,
        "FID with 50 calls of DPM-Solver++ of the model trained with noisier inputs, less that of as much plain "
        "training",
        Range(low=0),
        over_table(lambda _: ("noisier inputs", "fine-tuned"), ("DPM-Solver++",), 50),
        twins,
    ),
    Claim(
        "at/less-brittle",
        "Adversarial training also makes a model less brittle under shifts of its seed.",
        OURS,
        TWINS,
        "loss of top-1 for a standard deviation of a channel's mean, of as many plain updates less that of the model "
        "trained under the printed attack",
        Range(low=0),
        over_shifts(lambda shaken, study: shaken.change(attacked(study))),
        twins,
    ),
    Claim(
        "at/latent-search",
        "Adversarial training also makes failures harder to find by a search over latents.",
        OURS,
        TWINS,
        "share of searches that find a failure of the model trained under the printed attack, less that of as many "
        "plain updates, from seeds of which neither fails by itself",
        Range(high=0),
        over_searches(lambda searched, study: searched.change(attacked(study))),
        twins,
    ),
    Claim(
        "at/students",
        "Adversarial distillation draws better than plain distillation in 1 to 8 steps.",
        PAPER,
        STUDENTS,
        "FID of the student under attack, less that of as many plain updates; the number of steps for which it is "
        "largest",
        Range(high=0),
        over_students(in_every_step),
        students,
    ),
)
