"""Surrogate: an ensemble of classifiers that a search differentiates, and a judge that it never sees."""

from collections.abc import Callable, Sequence
from typing import Annotated, ClassVar, Literal, Protocol, TypeAlias, cast, runtime_checkable

import torch
from jaxtyping import Bool, Float
from pydantic import Field, model_validator
from torch import Tensor
from torch.nn.functional import log_softmax, normalize
from typing_extensions import override

from stages.base import Spec
from stages.models.source import Library, fingerprint, folder
from stages.models.spec import ModelSpec
from tuning.sage.edges import Edges, Pictures
from tuning.sage.targets import Target, position

LogProbabilities: TypeAlias = Float[Tensor, "b k"]
"""A distribution over the label set, row by row."""

Network: TypeAlias = Callable[[Pictures], Float[Tensor, "b k"]]

PICTURES_ONLY = {"ToTensor", "MaybeToTensor", "PILToTensor", "MaybePILToTensor", "MaybeConvertMode", "_convert_to_rgb"}
"""Steps of a transform that turn a picture into a tensor, and have nothing to do on a tensor in [0, 1]."""


@runtime_checkable
class Member(Protocol):
    """One classifier. What it is called tells what it was loaded from, whatever it looks at."""

    name: str

    def log_probabilities(self, pictures: Pictures) -> LogProbabilities:
        """Return the log-probabilities [b k] of the label set, of pictures [b 3 h w] in [0, 1]; differentiable."""

    def verdict(self, pictures: Pictures) -> LogProbabilities:
        """Return the same for a verdict, where the gradient does not matter and the classifier's own eyes do."""


class Looking:
    """A member that looks at the picture."""

    def __init__(self, name: str, network: Network, classes: Sequence[int] | None = None) -> None:
        self.name, self.network = name, network
        self.classes = None if classes is None else list(classes)
        """The logits of the label set, in its order; None where they are all of them."""

    def log_probabilities(self, pictures: Pictures) -> LogProbabilities:
        """Return the log-softmax [b k] over the label set alone: other classes of the network do not compete."""
        logits = self.network(pictures)
        return log_softmax(logits if self.classes is None else logits[:, self.classes], dim=-1)

    def verdict(self, pictures: Pictures) -> LogProbabilities:
        """Return the same."""
        return self.log_probabilities(pictures)


class EdgesOnly:
    """A member that looks at edges: soft ones for gradients, Canny's for verdicts."""

    def __init__(self, member: Member, edges: Edges) -> None:
        self.name, self.member, self.edges = member.name, member, edges

    def log_probabilities(self, pictures: Pictures) -> LogProbabilities:
        """Return what the member sees in the soft edges, white on black."""
        return self.member.log_probabilities(self.edges.soft(pictures).expand_as(pictures))

    def verdict(self, pictures: Pictures) -> LogProbabilities:
        """Return what the member sees in Canny's edges."""
        return self.member.verdict(self.edges.canny(pictures).expand_as(pictures))


class MemberSpec(Spec):
    """Which classifier is one of the ensemble."""

    model: str = Field(
        min_length=1, description="As `load_classifier` or `load_clip` takes it: zoo:NAME, a folder, ..."
    )

    library: ClassVar[Library] = "timm"

    def weights(self) -> str:
        """Return the fingerprint of the weights; raises ValueError where there is no such model."""
        return fingerprint(self.model, self.library)

    def load(self, labels: Sequence[str], where: ModelSpec) -> Member:
        """Return the classifier over `labels`, placed as `where` says; raises ValueError for a class it lacks."""
        from stages.models.classifiers import load_classifier

        loaded = load_classifier(where.model_copy(update={"model": self.model}))
        loaded.network.requires_grad_(False)
        prepare = on_tensors(loaded.preprocess.transform)
        names = _known(self.model, loaded.names, labels)
        network = lambda pictures: loaded.network(prepare(pictures).to(*loaded.placement)).float()  # noqa: E731
        return Looking(_identity(self.model), network, names)


class ClassifierMember(MemberSpec):
    """A classifier of pictures."""

    kind: Literal["classifier"] = "classifier"


class EdgeMember(MemberSpec):
    """A classifier of edges, trained on them or not."""

    kind: Literal["edges"] = "edges"
    edges: Edges = Edges()

    @override
    def load(self, labels: Sequence[str], where: ModelSpec) -> Member:
        return EdgesOnly(super().load(labels, where), self.edges)


class ClipMember(MemberSpec):
    """CLIP, zero-shot: Radford et al. 2021 (arXiv:2103.00020), section 3.1, one prompt a class."""

    library: ClassVar = "open_clip"

    kind: Literal["clip"] = "clip"
    template: str = Field("a photo of {article} {label}", pattern=r"\{label\}", description="The prompt of a class.")

    @override
    def load(self, labels: Sequence[str], where: ModelSpec) -> Member:
        from stages.models.clip import load_clip

        loaded = load_clip(where.model_copy(update={"model": self.model}))
        loaded.network.requires_grad_(False)
        prepare, scale = on_tensors(loaded.preprocess.transform), float(loaded.network.logit_scale.exp())
        text = torch.stack([loaded.text(self.prompt(label)) for label in labels]).to(loaded.placement.device)

        def network(pictures: Pictures) -> Float[Tensor, "b k"]:
            seen = loaded.network.encode_image(prepare(pictures).to(*loaded.placement)).float()
            return scale * normalize(seen, dim=-1) @ text.mT

        return Looking(_identity(self.model), network)

    def prompt(self, label: str) -> str:
        """Return the prompt of a class."""
        return self.template.format(article="an" if label[0] in "aeiou" else "a", label=label)


AnyMember: TypeAlias = Annotated[ClassifierMember | EdgeMember | ClipMember, Field(discriminator="kind")]


class SurrogateSpec(Spec):
    """The ensemble that a search attacks, and the judge that must agree. Which pictures fool both is its finding."""

    labels: tuple[str, ...] = Field(min_length=2, description="The label set: the classes that compete.")
    members: tuple[AnyMember, ...] = Field(min_length=1, description="What the search differentiates.")
    judge: AnyMember

    @model_validator(mode="after")
    def _check(self) -> "SurrogateSpec":
        _check_judge(self.judge.model, [member.model for member in self.members])
        if len({*self.labels}) < len(self.labels):
            raise ValueError(f"surrogate: expected distinct labels, found {', '.join(self.labels)}")
        return self

    def weights(self) -> list[str]:
        """Return the fingerprint of each member and of the judge; raises ValueError where there is no such model."""
        return [member.weights() for member in (*self.members, self.judge)]


class Surrogate:
    """An ensemble and its judge: Liu et al. 2023 (arXiv:2306.00974), a failure only if every classifier rejects.

    Members may run on any device; what they return is gathered where the pictures are. Raises ValueError for a judge
    that is a member.
    """

    def __init__(self, members: Sequence[Member], judge: Member, labels: Sequence[str]) -> None:
        _check_judge(judge.name, [member.name for member in members])
        self.members, self.judge, self.labels = list(members), judge, tuple(labels)

    def log_probabilities(self, pictures: Pictures) -> Float[Tensor, "m b k"]:
        """Return the log-probabilities of each of m members, of pictures [b 3 h w] in [0, 1]; differentiable."""
        return torch.stack([member.log_probabilities(pictures).to(pictures.device) for member in self.members])

    def fails(self, pictures: Pictures, labels: Sequence[str], targets: Sequence[Target]) -> Bool[Tensor, " b"]:
        """Return for each picture, rounded to 8 bits as it would be saved, whether members and judge see the target.

        A picture that is not finite is missing, and no failure.
        """
        return (self.margins(pictures, labels, targets) > 0).all(1)

    @torch.no_grad()
    def margins(
        self, pictures: Pictures, labels: Sequence[str], targets: Sequence[Target]
    ) -> Float[Tensor, "b judges"]:
        """Return how clearly each member and, last, the judge sees the target in the picture that `fails` judges.

        NaN for a picture that is not finite.
        """
        finite = pictures.isfinite().flatten(1).all(1).cpu()
        rounded = (pictures.nan_to_num().clamp(0, 1) * 255).round() / 255
        seen = [one.verdict(rounded).to(rounded.device) for one in (*self.members, self.judge)]
        margins = [
            target.margin(log_p, position(label, self.labels), self.labels)
            for log_p, label, target in zip(torch.stack(seen, dim=1), labels, targets, strict=True)
        ]
        return torch.stack(margins).cpu().where(finite[:, None], torch.nan)


def load_surrogate(spec: SurrogateSpec, where: ModelSpec | None = None) -> Surrogate:
    """Return the ensemble of `spec`, loaded; `where` gives device, type and threads, its model is not read."""
    place = where or ModelSpec(model="-")
    members = [member.load(spec.labels, place) for member in spec.members]
    return Surrogate(members, spec.judge.load(spec.labels, place), spec.labels)


def on_tensors(transform: Callable[..., object]) -> Callable[[Pictures], Float[Tensor, "b 3 h w"]]:
    """Return a classifier's transform for tensors [b 3 h w] in [0, 1]: its resizing, cropping and scaling alone.

    A tensor is resized as a picture is, up to the rounding of pictures to 8 bits.
    """
    steps = getattr(transform, "transforms", None)
    if steps is None:  # a preset of torchvision, which takes both
        return cast("Callable[[Pictures], Tensor]", transform)
    kept = [step for step in steps if getattr(step, "__name__", type(step).__name__) not in PICTURES_ONLY]

    def prepare(pictures: Pictures) -> Float[Tensor, "b 3 h w"]:
        for step in kept:
            pictures = step(pictures)
        return pictures

    return prepare


def _known(model: str, names: Sequence[str] | None, labels: Sequence[str]) -> list[int]:
    if missing := [label for label in labels if label not in (names or ())]:
        found = ", ".join((names or ("no names",))[:20])
        raise ValueError(
            f"surrogate: expected the classes {', '.join(missing)} among those of {model!r}, found {found}"
        )
    return [(names or ()).index(label) for label in labels]


def _identity(model: str) -> str:
    """Return the folder of local weights, so that one model under two names is one model; else the name."""
    path = folder(model)
    return str(path.resolve()) if path else model


def _check_judge(judge: str, members: Sequence[str]) -> None:
    if judge in members:
        raise ValueError(
            f"surrogate: expected a judge that is no member of the ensemble, found {judge!r} in both; "
            "a judge that the search has seen confirms nothing"
        )
