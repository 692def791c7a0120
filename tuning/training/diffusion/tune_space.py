"""The settings of a fine-tuning that a search may vary, and which of them apply beside which. No heavy library."""

from collections.abc import Mapping
from typing import Annotated, Any

from pydantic import Field, JsonValue, model_validator

from stages.base import Spec
from tuning.spaces import AnyRange, Choice, Integers, LogUniform, Uniform
from tuning.training.diffusion.perturbations import Adversarial, AnyPerturbation, InputNoise, Unperturbed

Numbers = Annotated[Choice | Uniform | LogUniform, Field(discriminator="kind")]
Whole = Annotated[Choice | Integers, Field(discriminator="kind")]

METHODS = ("none", "input", "adversarial")
NEEDS: dict[str, tuple[str, JsonValue]] = {
    "gamma": ("method", "input"),
    **dict.fromkeys(("passes", "step", "norm", "gradient", "inner"), ("method", "adversarial")),
}
"""Setting -> the method without which it means nothing."""


class Space(Spec):
    """Ranges; what is null stays as the study has it."""

    method: Choice = Field(Choice(values=METHODS), description="Kinds of perturbation: none, input, adversarial.")
    learning_rate: Numbers | None = None
    gamma: Numbers | None = Field(None, description="Of ADM-IP.")
    passes: Whole | None = Field(None, description="K, at least 2: one pass is plain training.")
    step: Numbers | None = Field(
        None, description="alpha: l2 length of a step, in units of the noisy picture; in linf a step is as long."
    )
    norm: Choice | None = Field(None, description="l2, linf; needs `step` beside it.")
    gradient: Choice | None = Field(None, description="full, detached.")
    inner: Choice | None = Field(None, description="free, pgd.")
    scale: Numbers | None = Field(None, description="Of epsilon scaling in sampling: the predicted noise over it.")

    @model_validator(mode="after")
    def _sensible(self) -> "Space":
        if unknown := [value for value in self.method.values if value not in METHODS]:
            raise ValueError(f"space.method: expected some of {', '.join(METHODS)}, found {unknown[0]!r}")
        if self.norm and not self.step:
            raise ValueError("space.norm: expected space.step beside it, which says how far a step of any norm goes")
        for name, (_, method) in NEEDS.items():
            if getattr(self, name) and method not in self.method.values:
                raise ValueError(f"space.{name}: expected {method!r} among space.method, which it belongs to")
        if self.passes and any(int(str(value)) < 2 for value in ends(self.passes)):
            raise ValueError("space.passes: expected at least 2, since one pass is plain training; see method 'none'")
        return self

    def ranges(self) -> dict[str, AnyRange]:
        """Return what varies, each after what it needs."""
        return {name: values for name in type(self).model_fields if (values := getattr(self, name))}


def perturbation(settings: Mapping[str, JsonValue], attack: Adversarial, gamma: float, entries: int) -> AnyPerturbation:
    """Return the perturbation of these settings, the others as they are; a picture has so many entries."""
    if settings["method"] == "none":
        return Unperturbed()
    if settings["method"] == "input":
        return InputNoise.model_validate({"gamma": settings.get("gamma", gamma)})
    varied = {name: value for name, value in settings.items() if name in Adversarial.model_fields}
    found: dict[str, Any] = attack.model_dump() | varied
    if "step" in settings and found["norm"] == "linf":
        found["step"] /= entries**0.5  # a step by the sign of every entry is this much longer in l2
    return Adversarial.model_validate(found)


def ends(values: AnyRange) -> tuple[JsonValue, ...]:
    """Return the values of a choice, or the ends of a range."""
    return values.values if isinstance(values, Choice) else (values.low, values.high)
