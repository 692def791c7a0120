"""Failures that a search has found, kept so that their pictures can be drawn again bit for bit."""

import hashlib
import json
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Literal, NamedTuple

import numpy as np
import torch
from jaxtyping import Float, Float32, UInt8
from pydantic import Field
from safetensors.numpy import load_file, save_file

from stages.arrays import Latent
from stages.base import Spec, digest
from stages.sampling.gradients import Full, pictures
from stages.sampling.prompts import Extended
from stages.sampling.spec import SamplerSpec
from tuning.sage.surrogate import Surrogate
from tuning.sage.targets import AnyTarget, Untargeted

if TYPE_CHECKING:
    from stages.models.generator import Stepwise

FILE, ARRAYS, BEFORE, AFTER = "failure.json", "arrays.safetensors", "before.png", "after.png"
Picture = UInt8[np.ndarray, "height width 3"]
Vectors = Float32[np.ndarray, "n width"]


class Failure(Spec):
    """What was searched, what it was drawn from, and what its picture is."""

    search: Literal["latent", "prompt", "token", "seed"] = Field(
        description="What the search changed; 'seed': nothing, the plain seed fails by itself."
    )
    model: str
    revision: str = Field(description="Fingerprint of the weights.")
    prompt: str = Field(description="What the picture was drawn from.")
    before: str = Field(description="The prompt that the search started from.")
    label: str = Field(description="The class that the prompt names.")
    target: AnyTarget = Untargeted()
    seed: int = Field(description="Of the latent that the search started from.")
    sampler: SamplerSpec
    evaluations: int = Field(ge=1, description="Pictures that the search had drawn by then.")
    objective: float | None = Field(description="What the search maximised, at this picture.")
    measured: dict[str, float] = Field(description="Its tests: of the latent, of the prompt, of the vectors.")
    seen: dict[str, str] = Field(
        description="The class that each member and the judge name, and its probability: 'fish 0.98'."
    )
    sha256: str = Field(description="Of the pixels of its picture, rows from the top, red, green, blue.")

    @property
    def name(self) -> str:
        """Return 12 hex digits that name what the picture is drawn from."""
        parts = [self.model, self.revision, self.prompt, self.seed, self.sampler.canonical(), self.sha256]
        return digest(parts)[:12]


class Saved(NamedTuple):
    """A failure with its arrays and its pictures."""

    failure: Failure
    latent: Latent
    vectors: Vectors | None
    """What stands behind the prompt; None where nothing does."""
    before: Picture
    after: Picture


def draw(
    generator: "Stepwise", sampler: SamplerSpec, prompt: str, latent: Latent, vectors: Vectors | None = None
) -> Picture:
    """Return the picture of a latent, drawn alone, so that no other row can move its last bits.

    Raises ValueError for a picture that is not finite.
    """
    texts = [prompt] if vectors is None else Extended([prompt], torch.from_numpy(vectors)[None])
    with torch.no_grad():
        (pixels,) = pictures(generator, torch.from_numpy(latent)[None], texts, sampler, Full())
    if not pixels.isfinite().all():
        raise ValueError(f"failure: expected a finite picture of {prompt!r}, found values that are not")
    picture: Picture = (pixels.clamp(0, 1) * 255).round().byte().cpu().numpy()
    return picture


def seen(picture: Picture, surrogate: Surrogate) -> dict[str, str]:
    """Return the class that each member and the judge name, by what they are called, with its probability."""
    found = {}
    for role, member in [*((f"member {n}", m) for n, m in enumerate(surrogate.members, 1)), ("judge", surrogate.judge)]:
        (log_p,) = member.verdict(as_tensor(picture))
        best = int(log_p.argmax())
        found[role] = f"{surrogate.labels[best]} {float(log_p[best].exp()):.2f}"
    return found


def as_tensor(picture: Picture) -> Float[torch.Tensor, "1 3 height width"]:
    """Return a picture as classifiers of an ensemble read it, in [0, 1]."""
    return torch.from_numpy(np.ascontiguousarray(picture)).permute(2, 0, 1)[None].float() / 255


def sha256(picture: Picture) -> str:
    """Return the SHA-256 of the pixels of a picture."""
    return hashlib.sha256(np.ascontiguousarray(picture).tobytes()).hexdigest()


def save(folder: Path, saved: Saved) -> Path:
    """Write a failure into a folder of its own within `folder`, and return that; one that is there stays."""
    from PIL import Image

    target = folder / saved.failure.name
    if (target / FILE).is_file():
        return target
    target.mkdir(parents=True, exist_ok=True)
    arrays = {"latent": saved.latent} | ({} if saved.vectors is None else {"vectors": saved.vectors})
    save_file({name: np.ascontiguousarray(array) for name, array in arrays.items()}, target / ARRAYS)
    for name, picture in ((BEFORE, saved.before), (AFTER, saved.after)):
        Image.fromarray(picture).save(target / name)
    partial = target / f"{FILE}.partial"
    partial.write_text(json.dumps(saved.failure.model_dump(mode="json"), indent=2, ensure_ascii=False) + "\n")
    partial.rename(target / FILE)  # last, so that a folder with this file is whole
    return target


def load(folder: Path) -> Saved:
    """Return the failure in a folder. Raises ValueError where it is not whole."""
    from PIL import Image

    for name in (FILE, ARRAYS, BEFORE, AFTER):
        if not (folder / name).is_file():
            raise ValueError(f"failure {folder}: expected {name}, found no such file; name a folder in failures/")
    failure = Failure.model_validate_json((folder / FILE).read_text(encoding="utf-8"))
    arrays = load_file(folder / ARRAYS)
    before, after = (np.asarray(Image.open(folder / name).convert("RGB")) for name in (BEFORE, AFTER))
    return Saved(failure, arrays["latent"], arrays.get("vectors"), before, after)


def every(folder: Path) -> list[Saved]:
    """Return the failures in a folder, by name; those that are not whole yet are left out."""
    return [load(file.parent) for file in sorted(folder.glob(f"*/{FILE}"))]


def gather(source: Path, target: Path, names: Sequence[str]) -> list[Saved]:
    """Copy failures of one folder into another, and return them: found ones before natural ones, the clearest first."""
    for name in names:
        shutil.copytree(source / name, target / name, dirs_exist_ok=True)
    saved = [load(target / name) for name in names]
    return sorted(saved, key=lambda one: (one.failure.search == "seed", -(one.failure.objective or 0.0)))


def redraw(saved: Saved, generator: "Stepwise") -> Picture:
    """Return the picture of a failure, drawn again by a generator that holds its model."""
    failure = saved.failure
    return draw(generator, failure.sampler, failure.prompt, saved.latent, saved.vectors)
