"""Confirming: what a search has found is drawn again, alone, and kept if it still fails."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Literal, NamedTuple

from stages.arrays import Latent
from stages.models.source import fingerprint
from stages.sampling.spec import SamplerSpec
from tuning.sage import failures
from tuning.sage.failures import Vectors
from tuning.sage.latent import seed_latent
from tuning.sage.surrogate import Surrogate
from tuning.sage.targets import AnyTarget

if TYPE_CHECKING:
    from stages.models.generator import Stepwise


class Suspect(NamedTuple):
    """A picture that failed in a batch; the fields are those of `Failure`."""

    search: Literal["latent", "prompt", "token", "seed"]
    prompt: str
    before: str
    label: str
    target: AnyTarget
    seed: int
    evaluations: int
    objective: float | None
    measured: dict[str, float]
    latent: Latent | None = None
    """What it was drawn from; None: the latent of its seed."""
    vectors: Vectors | None = None
    """What stands behind its prompt."""


@dataclass
class Confirming:
    """Draws suspects again, so that what hangs on the rounding of a batch does not count."""

    model: str
    sampler: SamplerSpec
    generator: "Stepwise"
    surrogate: Surrogate
    folder: Path
    """Of the failures kept."""
    revision: str = field(init=False)

    def __post_init__(self) -> None:
        self.revision = fingerprint(self.model)

    def __call__(self, suspect: Suspect) -> str | None:
        """Return the name of a suspect's folder, or None for one that, drawn alone, is no failure."""
        start = seed_latent(self.generator, self.sampler, suspect.seed)
        latent = start if suspect.latent is None else suspect.latent
        after = failures.draw(self.generator, self.sampler, suspect.prompt, latent, suspect.vectors)
        if not self.fails(after, suspect):
            return None
        said = {name: value for name, value in suspect._asdict().items() if name not in {"latent", "vectors"}}
        failure = failures.Failure(
            model=self.model,
            revision=self.revision,
            sampler=self.sampler,
            seen=failures.seen(after, self.surrogate),
            sha256=failures.sha256(after),
            **said,
        )
        before = failures.draw(self.generator, self.sampler, suspect.before, start)
        saved = failures.Saved(failure, latent, suspect.vectors, before, after)
        return failures.save(self.folder, saved).name

    def fails(self, picture: failures.Picture, suspect: Suspect) -> bool:
        """Return whether every member and the judge see the target."""
        (verdict,) = self.surrogate.fails(failures.as_tensor(picture), [suspect.label], [suspect.target])
        return bool(verdict)
