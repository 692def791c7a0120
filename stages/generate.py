"""Generate: draw one picture per row, from the row's own seed."""

from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, NamedTuple, cast

import numpy as np
from pydantic import Field
from typing_extensions import override

from stages.base import Batch, Column, Stage, objects
from stages.models.chunks import chunks
from stages.models.source import revision
from stages.models.spec import ModelSpec
from stages.models.unreadable import first_line
from stages.perturbations import parse, unlikeliness_of_each
from stages.perturbations.unlikeliness import UNKNOWN
from stages.randomness import rng
from stages.sampling import SamplerSpec
from stages.sampling import parse as parse_sampler
from stages.sampling.recording import Recording, Trace

if TYPE_CHECKING:
    from stages.models.generator import Generator, Stepwise
    from stages.sampling.trajectory import Plane


class GenerateSpec(ModelSpec):
    """Which model to draw from, and on what hardware."""

    batch: int = Field(16, gt=0, le=4096, description="Pictures per forward pass; a smaller batch is padded to it.")
    record: Recording | None = Field(
        None,
        exclude_if=lambda value: value is None,
        description="What to keep of the rows' trajectories; null keeps pictures only.",
    )


class Request(NamedTuple):
    """What one row asks for."""

    prompt: str
    seed: int
    sampler: SamplerSpec
    latent: np.ndarray
    control: np.ndarray
    """The latent before its perturbation."""


class Generate(Stage[GenerateSpec]):
    """Draw one picture per row, from the row's own seed.

    The latent is perturbed at unit variance, before the scheduler's initial scaling. A row that fails has no picture
    (None) and says why in `error`; no other row notices. Its pixels depend on the row, the weights, the hardware and
    `batch`, never on the rows beside it. `load` makes the model where it is not `load_generator`'s to load.

    Columns: reads model, revision, prompt, perturbation, sampler str [b], seed int64 [b], and error str|None [b], which
    it keeps. Writes image uint8 [h w 3] or None [b], latent_mean_z, latent_norm_z, latent_ks_p float64 [b] (NaN where
    there is no latent), truncated str|None [b] (the end of the prompt that the text encoder does not see), error, and
    what `record` asks for.
    """

    reads: ClassVar = ("model", "revision", "prompt", "seed", "perturbation", "sampler", "error")
    writes: ClassVar = ("image", "latent_mean_z", "latent_norm_z", "latent_ks_p", "truncated", "error")

    def __init__(self, spec: GenerateSpec, load: Callable[[GenerateSpec], object] | None = None) -> None:
        from stages.models.loading import load_generator

        super().__init__(spec)
        self.revision = revision(spec.model, spec.dtype)
        self.generator = cast("Generator", (load or load_generator)(spec))
        self.plane = self._plane()
        self.check = lru_cache(self.generator.check)
        self.truncated = lru_cache(self.generator.truncated)

    @classmethod
    @override
    def columns(cls, spec: GenerateSpec) -> tuple[tuple[str, ...], tuple[str, ...]]:
        return cls.reads, cls.writes + (spec.record.writes() if spec.record else ())

    def _plane(self) -> "Plane | None":
        """Return the plane that trajectories are projected onto, if one is asked for."""
        from stages.sampling.trajectory import load_plane

        if self.spec.record is None:
            return None
        self.generator.check_recording()
        return load_plane(Path(self.spec.record.plane)) if self.spec.record.plane else None

    @override
    def transform(self, batch: Mapping[str, Column]) -> Batch:
        errors = [error if isinstance(error, str) else None for error in batch["error"]]
        requests: dict[int, Request] = {}
        for number, error in enumerate(errors):
            if error is None:
                try:
                    requests[number] = self._request({name: batch[name][number] for name in self.reads})
                except ValueError as failure:
                    errors[number] = first_line(failure)
        traces: dict[int, Trace] = {}
        pictures = self._pictures(requests, traces)
        for number in requests.keys() - pictures.keys():
            errors[number] = "the picture has values that are not finite"
        known = dict(zip(requests, unlikeliness_of_each([r.latent for r in requests.values()]), strict=True))
        distances = [known.get(n, UNKNOWN) for n in range(len(errors))]
        mean_z, norm_z, ks_p = np.array(distances, dtype=np.float64).reshape(-1, 3).T
        return {
            "image": objects([pictures.get(n) for n in range(len(errors))]),
            "latent_mean_z": mean_z,
            "latent_norm_z": norm_z,
            "latent_ks_p": ks_p,
            "truncated": objects(
                [self.truncated(requests[n].prompt) if n in requests else None for n in range(len(errors))]
            ),
            "error": objects(errors),
        } | {
            name: objects([getattr(traces.get(n), name, None) for n in range(len(errors))])
            for name in (self.spec.record.writes() if self.spec.record else ())
        }

    def _request(self, row: Mapping[str, object]) -> Request:
        """Return what a row asks for, its latent drawn and perturbed; ValueError where it cannot be drawn."""
        loaded, asked = (self.spec.model, self.revision), (row["model"], row["revision"])
        if loaded != asked:
            raise ValueError(f"the row wants {'@'.join(map(str, asked))}, but this actor holds {'@'.join(loaded)}")
        prompt, seed = row["prompt"], int(str(row["seed"]))
        if not isinstance(prompt, str):
            raise ValueError(f"the prompt must be a text, but is {prompt!r}")
        self.generator.check_prompt(prompt)
        sampler = parse_sampler(str(row["sampler"]))
        self.check(sampler)
        self.generator.check_measurement(sampler, seed)
        if self.spec.record and sampler.measurement:
            raise ValueError("record: expected a sampler without measurement, whose trajectories nobody watches")
        control = rng(seed, "latent").standard_normal(self.generator.latent_shape(sampler.size_px), dtype=np.float32)
        latent = parse(str(row["perturbation"]))(control, rng(seed, "perturbation"))
        if not np.isfinite(latent).all():
            raise ValueError(f"the perturbed latent has values that are not finite ({row['perturbation']})")
        return Request(prompt, seed, sampler, latent, control)

    def _pictures(self, requests: Mapping[int, Request], traces: dict[int, Trace]) -> dict[int, np.ndarray]:
        """Return the finite pictures by row number; rows of one sampler are drawn together. Adds their `traces`."""
        groups: dict[SamplerSpec, list[int]] = defaultdict(list)
        for number, request in requests.items():
            groups[request.sampler].append(number)
        pictures: dict[int, np.ndarray | None] = {}
        for sampler, numbers in groups.items():
            for chunk, real in chunks(numbers, self.spec.batch):
                drawn, kept = self._draw([requests[n] for n in chunk], sampler)
                pictures |= dict(zip(chunk[:real], drawn[:real], strict=True))
                traces |= dict(zip(chunk[:real], kept[:real], strict=bool(kept)))
        return {number: picture for number, picture in pictures.items() if picture is not None}

    def _draw(
        self, requests: Sequence[Request], sampler: SamplerSpec
    ) -> tuple[Sequence[np.ndarray | None], Sequence[Trace]]:
        """Return a picture per request, and its trace where trajectories are recorded."""
        latents, prompts = [r.latent for r in requests], [r.prompt for r in requests]
        seeds = [r.seed for r in requests]
        if self.spec.record is None:
            return self.generator.pictures(latents, prompts, seeds, sampler), []
        from stages.models.traced import traced

        both = (latents, [r.control for r in requests])
        generator = cast("Stepwise", self.generator)  # as `check_recording` has seen to
        return traced(generator, both, (prompts, seeds), sampler, self.spec.record, self.plane)
