"""The page that answers what adversarial training changes."""

from collections.abc import Iterator
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
from jaxtyping import Float

from pipelines.figures import COLOURS, band, sheet
from pipelines.report import Page, Picture, interval
from pipelines.tables import columns_of
from stages.metrics import Bootstrap, Estimate, Mean, paired_difference
from tuning.training.diffusion.probe import levels, read
from tuning.training.diffusion.twins import GRADIENTS, AdversarialSpec

if TYPE_CHECKING:
    from matplotlib.figure import Figure

WORDS = {
    "clean": "error of the predicted noise, pictures untouched",
    "full": "under the attack through prediction and target, as printed",
    "detached": "under the attack through the prediction alone, as in the released code",
    "random": "moved as far in a random direction",
}
CAPTION = "Mean squared error of the predicted noise on {} unseen pictures, over the time step; 95 % intervals."


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
    return Page(
        title=f"Seedquake: {spec.name}",
        question=spec.asks,
        verdict=verdict(errors),
        sentences=tuple(sentences(errors)),
        pictures=(Picture("twins", CAPTION.format(spec.probe.pictures), curves(errors)),),
        tables={"twins": table(errors)},
        shown=shown(errors),
        heading="Every model",
        facts={"Models": f"{spec.run.output}/trained, folders of diffusers", "Start": spec.start()},
        spec=spec.model_dump(mode="json"),
        numbers={f"{name} {done}": errors.mean(name, done).value for name in errors.all for done in WORDS},
    )


def verdict(errors: TwinErrors) -> str:
    """Return one sentence: what training under the printed attack changes against as many plain updates."""
    _, updates = errors.spec.equal()
    attacked, clean = (errors.change("adversarial, full", updates, done) for done in ("full", "clean"))
    said = f"against as many plain updates, error under attack {wording(attacked)}, untouched {wording(clean)}"
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
        for other in dict.fromkeys(errors.spec.equal()):
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
    """Return a panel for each thing that was done, a curve a model, over the time step."""
    spec = errors.spec
    figure, axes = sheet(3.7 * len(WORDS), 3.2, 1, len(WORDS), share_y=True)
    times = np.array(levels(spec.model.noise_levels, spec.probe.levels), float)
    for axis, done in zip(axes, WORDS, strict=True):
        for (name, found), colour in zip(errors.all.items(), COLOURS, strict=False):
            estimates = [Mean().of(row.astype(np.float64)) for row in found[done]]
            band(axis, times, estimates, colour, "-", name)
        axis.set_yscale("log")
        axis.set_title(done, fontsize=9, loc="left")
        axis.set_xlabel("time step", fontsize=8)
    axes[0].legend(frameon=False, fontsize=7)
    return figure
