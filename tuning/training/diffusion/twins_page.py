"""The page that answers what adversarial training changes."""

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
from jaxtyping import Float

from pipelines.factorial_answers import read as shifted
from pipelines.figures import COLOURS, band, sheet
from pipelines.report import Page, Picture, interval
from pipelines.tables import columns_of
from stages.metrics import Bootstrap, Estimate, Mean, paired_difference
from tuning.training.diffusion.exposure import Step
from tuning.training.diffusion.exposure import read as walked
from tuning.training.diffusion.probe import levels, read
from tuning.training.diffusion.twins import GRADIENTS, AdversarialSpec
from tuning.training.searched import Searched
from tuning.training.shaken import Shaken
from tuning.training.table import Compared

if TYPE_CHECKING:
    from matplotlib.figure import Figure

WORDS = {
    "clean": "error of the predicted noise, pictures untouched",
    "full": "under the attack through prediction and target, as printed",
    "detached": "under the attack through the prediction alone, as in the released code",
    "random": "moved as far in a random direction",
}
CAPTION = (
    "Mean squared error of the predicted noise on {} unseen pictures, less that of the original, over the time step; "
    "95 % intervals."
)

EXPOSURE = (
    "Exposure bias: distance (KID of pixels) of the sampler's states, {} a model, to the noisy pictures of training at "
    "the same time step; 95 % intervals. Grey: noisy pictures that none has seen."
)


class TwinErrors:
    """The errors of every model of a study: [levels n] by what was done to the same pictures."""

    def __init__(self, spec: AdversarialSpec) -> None:
        self.spec = spec
        self.all = {name: read(task) for name, task in spec.tasks().items()}

    def pictures(self, model: str, done: str) -> Float[np.ndarray, " n"]:
        """Return each picture's mean over the time steps: its loss with uniform time steps."""
        return self.all[model][done].astype(np.float64).mean(axis=0)

    def mean(self, model: str, done: str) -> Estimate:
        """Return the mean over pictures."""
        return Mean().of(self.pictures(model, done))

    def change(self, model: str, other: str, done: str) -> Estimate:
        """Return a model's error less another's, of the same pictures."""
        return paired_difference(self.pictures(other, done), self.pictures(model, done), Bootstrap())


def page(spec: AdversarialSpec) -> Page:
    """Return the page of a study whose models have all been measured."""
    errors = TwinErrors(spec)
    steps = {name: walked(task) for name, task in spec.tasks().items()}
    judged = list(judgements(spec))
    return Page(
        title=f"Seedquake: {spec.name}",
        question=spec.asks,
        verdict=verdict(errors),
        sentences=(*sentences(errors), *(said for answer in judged for said in answer.sentences())),
        pictures=(
            Picture("twins", CAPTION.format(spec.probe.pictures), curves(errors), wide=True),
            Picture("exposure", EXPOSURE.format(spec.probe.pictures), exposure(steps)),
        ),
        tables={"twins": table(errors), "exposure": exposure_table(steps)},
        shown=shown(errors),
        heading="Every model",
        others={heading: rows for answer in judged for heading, rows in answer.tables().items()},
        facts=facts(spec),
        spec=spec.model_dump(mode="json"),
        numbers={f"{name} {done}": errors.mean(name, done).value for name in errors.all for done in WORDS},
    )


def judgements(spec: AdversarialSpec) -> Iterator[Compared | Shaken | Searched]:
    """Yield the answers to the questions that were asked of the twins."""
    if quality := spec.table():
        yield Compared(quality, spec.controls())
    if brittleness := spec.brittleness():
        yield Shaken(shifted(brittleness), spec.controls())
    if searches := spec.searches():
        yield Searched(searches, spec.controls())


def facts(spec: AdversarialSpec) -> dict[str, str]:
    """Return what was trained, how long, and where it lies."""
    start, tuned = spec.model.budget.pictures, spec.tuning.pictures
    return {
        "Model": f"{len(spec.models())} twins, {spec.model.network.kind}",
        "Size": f"trained on {start:,} pictures, then on {tuned:,}; {spec.probe.pictures} measured",
        "Models": f"{spec.run.output}/trained, folders of diffusers",
        "Start": spec.start(),
    }


def verdict(errors: TwinErrors) -> str:
    """Return one sentence: what training under the printed attack changes against the same updates without it."""
    other = errors.spec.unattacked()
    attacked, clean = (errors.change("adversarial, full", other, done) for done in ("full", "clean"))
    said = (
        f"against the same updates without the attack, error under attack {wording(attacked, '+')}, "
        f"untouched {wording(clean, '+')}"
    )
    if attacked.high < 0:
        return f"Adversarial training makes this model more robust: {said}."
    if attacked.low > 0:
        return f"Adversarial training makes this model less robust: {said}."
    return f"Undecided at this size: {said}."


def sentences(errors: TwinErrors) -> Iterator[str]:
    """Yield what else a reader must know, a sentence each."""
    attack, start = errors.spec.probe.attack, errors.mean("original", "clean")
    how = f"{attack.passes - 1} steps of {attack.step:g} in {attack.norm}"
    yield f"The attack takes {how}; the original errs by {wording(start)}."
    for done in ("full", "detached", "random"):
        change = paired_difference(errors.pictures("original", "clean"), errors.pictures("original", done), Bootstrap())
        yield f"The original, {WORDS[done]}: {wording(change, '+')}."
    for gradient in GRADIENTS:
        for other in errors.spec.without_attack():
            found = "; ".join(
                f"{done} {wording(errors.change(f'adversarial, {gradient}', other, done), '+')}" for done in WORDS
            )
            yield f"Trained under the {gradient} gradient, less {other}: {found}."


def wording(estimate: Estimate, sign: str = "") -> str:
    """Return an error, which is small, with its interval."""
    return interval(estimate, sign, digits=4)


def table(errors: TwinErrors) -> pd.DataFrame:
    """Return a row a model."""
    rows = []
    for name, task in errors.spec.tasks().items():
        spec = task.model
        row: dict[str, object] = {"model": name, "minibatches": spec.minibatches, "updates": spec.updates}
        for done in WORDS:
            row |= columns_of(done, errors.mean(name, done))
        rows.append(row | {"passes": spec.passes})
    return pd.DataFrame(rows)


def shown(errors: TwinErrors) -> pd.DataFrame:
    """Return the table as people read it."""
    rows = []
    for name, task in errors.spec.tasks().items():
        cost = {"minibatches": f"{task.model.minibatches:,}", "updates": f"{task.model.updates:,}"}
        rows.append({"model": name, **cost, **{done: wording(errors.mean(name, done)) for done in WORDS}})
    return pd.DataFrame(rows)


def curves(errors: TwinErrors) -> "Figure":
    """Return a panel for each thing that was done, with each model's change of the error over the time step."""
    spec = errors.spec
    figure, axes = sheet(3.7 * len(WORDS), 3.2, 1, len(WORDS), share_y=True)
    times = np.array(levels(spec.model.noise_levels, spec.probe.levels), float)
    for axis, done in zip(axes, WORDS, strict=True):
        first, *others = errors.all.items()
        for (name, found), colour in zip(others, COLOURS[1:], strict=False):
            rows = zip(first[1][done].astype(np.float64), found[done].astype(np.float64), strict=True)
            band(axis, times, [paired_difference(a, b, Bootstrap()) for a, b in rows], colour, "-", name)
        axis.axhline(0, color="0.5", linewidth=0.8)
        axis.set_title(done, fontsize=9, loc="left")
        axis.set_xlabel("time step", fontsize=8)
    axes[0].set_ylabel("error less the original's", fontsize=8)
    axes[0].legend(frameon=False, fontsize=7)
    return figure


def exposure(steps: Mapping[str, Sequence[Step]]) -> "Figure":
    """Return a curve of the exposure bias a model, over the time step, and that of unseen pictures."""
    figure, (axis,) = sheet(4.5, 3.2, 1, 1)
    for (name, found), colour in zip(steps.items(), COLOURS, strict=False):
        band(axis, np.array([step.time for step in found]), [step.drawn for step in found], colour, "-", name)
    first = next(iter(steps.values()))
    band(axis, np.array([step.time for step in first]), [step.unseen for step in first], "0.5", ":", "unseen pictures")
    axis.invert_xaxis()
    axis.set_xlabel("time step", fontsize=8)
    axis.set_ylabel("KID to noisy pictures", fontsize=8)
    axis.legend(frameon=False, fontsize=7)
    return figure


def exposure_table(steps: Mapping[str, Sequence[Step]]) -> pd.DataFrame:
    """Return a row a model and step of the sampler."""
    return pd.DataFrame(
        {"model": name, "time": step.time, **columns_of("drawn", step.drawn), **columns_of("unseen", step.unseen)}
        for name, found in steps.items()
        for step in found
    )
