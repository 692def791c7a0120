"""The trial of some token attacks: searched side by side, then tried on prompts and seeds that they have not seen."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from pydantic import Field
from safetensors.numpy import save_file

from stages.base import Spec, digest
from stages.models.source import fingerprint
from tuning.sage.outcomes import finite
from tuning.sage.surrogate import SurrogateSpec
from tuning.sage.tokens.found import Token, TokenAttempt, TokenSearchSpec
from tuning.search import Metrics, Point

if TYPE_CHECKING:
    from tuning.sage.tokens.transfer import Transfer


class TokenTask(Spec):
    """Targets whose tokens are searched side by side."""

    kind: Literal["token"] = "token"
    model: str
    surrogate: SurrogateSpec
    clip: str | None = Field(None, description="What scores pictures against the original prompts; null: nothing.")
    search: TokenSearchSpec
    attempts: tuple[TokenAttempt, ...] = Field(min_length=1)
    output: str
    device: Literal["cpu", "cuda"] = "cpu"
    threads: int = Field(1, ge=1)

    @property
    def folder(self) -> Path:
        """Return where the attacks with these settings and weights lie."""
        weights = [fingerprint(self.model), *self.surrogate.weights()]
        weights += [fingerprint(self.clip, "open_clip")] if self.clip else []
        parts = [self.search.model_dump(mode="json"), self.surrogate.model_dump(mode="json"), self.model, self.clip]
        return Path(self.output) / "sage" / digest([*parts, *weights])[:16]

    def file(self, attempt: TokenAttempt) -> Path:
        """Return the file of what came of an attempt; its vector lies beside it."""
        return self.folder / "token" / f"{attempt.fingerprint()}.json"

    @property
    def measured(self) -> Path:
        """Return the file of the attempt that is worked on last."""
        return self.folder / f"token-{digest([a.fingerprint() for a in self.attempts])[:16]}.done"

    @property
    def pictures(self) -> int:
        """About how many pictures it draws."""
        spec = self.search
        train = len(spec.train.prompts) * len(spec.train.seeds)
        every = (len(spec.train.prompts) + len(spec.held_out.prompts)) * (
            len(spec.train.seeds) + len(spec.held_out.seeds)
        )
        steps = spec.iterations * (spec.minibatch or train) + train * (2 + spec.iterations // spec.check_every)
        return len(self.attempts) * (steps + every * (2 + len(spec.controls)))


def run(point: Point) -> Iterator[Metrics]:
    """Search the tokens of a point's task, try each on new prompts and seeds; what is done is not done again."""
    import torch

    from stages.models.clip import load_clip
    from stages.models.spec import ModelSpec
    from tuning.sage.confirming import Confirming
    from tuning.sage.latents.trial import models
    from tuning.sage.token import TokenSearch
    from tuning.sage.tokens.failing import shots
    from tuning.sage.tokens.transfer import TokenTransfer

    task = TokenTask.model_validate(point["task"])
    torch.set_num_threads(task.threads)
    if todo := [attempt for attempt in task.attempts if not task.file(attempt).is_file()]:
        generator, surrogate = models(task.model, task.surrogate, task.device)
        where = {"model": task.clip or "-", "device": task.device, "dtype": "float32"}
        clip = load_clip(ModelSpec.model_validate(where)) if task.clip else None
        search = TokenSearch(task.search, generator, surrogate, clip)
        confirming = Confirming(task.model, task.search.sampler, generator, surrogate, task.folder / "failures")
        for tick in search.ticks(todo):
            for found in tick.ended:
                transfer = TokenTransfer(search)(found)
                kept = described(transfer) | {"shots": shots(transfer, confirming)}
                keep(task, kept, found.attempt, found.vector)
            yield {"pictures": float(tick.pictures), "objective": tick.objective}
    task.measured.touch()
    yield {"pictures": float(task.pictures)}


def described(transfer: "Transfer") -> dict[str, Any]:
    """Return the numbers of a transfer, each estimate with its interval and n."""
    found = transfer.found
    rows = [
        {"behind": row.arm, "prompts": row.cell.prompts, "seeds": row.cell.seeds}
        | {
            name: json.loads(getattr(row, name).model_dump_json())
            for name in ("success", "gain", "clip", "clip_change")
        }
        for row in transfer.table()
    ]
    return {
        "attempt": found.attempt.model_dump(mode="json"),
        "evaluations": found.evaluations,
        "iteration": None if found.kept is None else found.kept.iteration,
        "curve": [finite(value) for value in found.curve],
        "tests": {name: finite(value) for name, value in transfer.tests._asdict().items()},
        "nearest": list(transfer.nearest),
        "rows": rows,
    }


def keep(task: TokenTask, kept: dict[str, Any], attempt: TokenAttempt, vector: Token) -> None:
    """Write what came of an attempt, whole or not at all, with its vector beside it."""
    file = task.file(attempt)
    file.parent.mkdir(parents=True, exist_ok=True)
    save_file({"vectors": vector}, file.with_suffix(".safetensors"))
    partial = file.with_suffix(".partial")
    partial.write_text(json.dumps(kept, indent=2) + "\n", encoding="utf-8")
    partial.rename(file)
