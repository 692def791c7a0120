"""load_generator: from a name to a model that draws."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import diffusers
import torch
import transformers
from diffusers import DiffusionPipeline

from stages.models.analytic.files import ANALYTIC, load
from stages.models.analytic.generator import AnalyticGenerator, AnalyticPipe
from stages.models.flow import Flux, StableDiffusion3
from stages.models.generator import Generator, Pipe
from stages.models.glide.files import GLIDE
from stages.models.glide.generator import GlideGenerator, open_pipe
from stages.models.pixel_text import DeepFloyd, PixelText, PixelTextPipeline
from stages.models.placement import Placement, channels_last, place
from stages.models.second_stage import FloydSecondStage
from stages.models.source import Location, locate, stages_of
from stages.models.spec import ModelSpec
from stages.models.stable_diffusion import StableDiffusion, StableDiffusionXL
from stages.models.unconditional import LabelledNetwork
from stages.models.unreadable import UNREADABLE, first_line
from stages.models.whole import WholePipeline

ADAPTERS: dict[type, type[Generator]] = {
    diffusers.StableDiffusionPipeline: StableDiffusion,
    diffusers.LatentConsistencyModelPipeline: StableDiffusion,
    diffusers.StableDiffusionXLPipeline: StableDiffusionXL,
    diffusers.StableDiffusion3Pipeline: StableDiffusion3,
    diffusers.FluxPipeline: Flux,
    diffusers.DDPMPipeline: LabelledNetwork,
    diffusers.DDIMPipeline: LabelledNetwork,
    diffusers.DiTPipeline: LabelledNetwork,
    diffusers.LDMPipeline: LabelledNetwork,
    diffusers.IFPipeline: DeepFloyd,
    PixelTextPipeline: PixelText,
}
"""The pipelines whose steps our own loop takes; every other runs as a whole."""


PIPELINES: dict[object, type] = {"PixelTextPipeline": PixelTextPipeline}
"""The pipelines that diffusers does not know."""


def load_generator(spec: ModelSpec) -> Generator:
    """Return the model that `spec` names, on its device.

    Weights load from safetensors only and no code comes with them; the safety checker stays off, since a blanked
    picture would count as a failure of the model. Models without text run in single precision unless told otherwise.
    DeepFloyd IF's stages are two models, FIRST+SECOND.
    """
    _quiet()
    first, *rest = stages_of(spec.model)
    generator = _load(spec.model_copy(update={"model": first}))
    if rest:
        _add_second_stage(generator, spec, rest)
    return generator


def _load(spec: ModelSpec) -> Generator:
    where = locate(spec.model, "diffusers")
    folder = Path(where.place)
    with _one_sentence(spec.model):
        if (folder / ANALYTIC).is_file():
            return AnalyticGenerator(AnalyticPipe(*load(folder, spec.dtype)), place(spec))
        if (folder / GLIDE).is_file():
            placement = place(spec, half=torch.float16)
            return GlideGenerator(open_pipe(folder, placement), placement)
        parts = DiffusionPipeline.load_config(where.place, revision=where.revision)
        half = torch.bfloat16 if "transformer" in parts else torch.float16
        placement = place(spec, half=half if "text_encoder" in parts else torch.float32)
        pipe = _pipeline(where, parts, placement)
    return ADAPTERS.get(type(pipe), WholePipeline)(pipe, placement)


def _add_second_stage(generator: Generator, spec: ModelSpec, rest: list[str]) -> None:
    if not isinstance(generator, DeepFloyd) or len(rest) != 1:
        raise ValueError(
            f"model {spec.model!r}: expected FIRST+SECOND, the two stages of DeepFloyd IF, "
            f"found {1 + len(rest)} of which the first is a {type(generator.pipe).__name__}"
        )
    where, placement = locate(rest[0], "diffusers"), Placement(generator.device, generator.dtype)
    with _one_sentence(rest[0]):
        parts = DiffusionPipeline.load_config(where.place, revision=where.revision)
        pipe = _pipeline(where, parts, placement, text_encoder=None, tokenizer=None)  # it reads what the first encoded
    if not isinstance(pipe, diffusers.IFSuperResolutionPipeline):
        raise ValueError(f"model {rest[0]!r}: expected DeepFloyd IF's second stage, found a {type(pipe).__name__}")
    generator.second = FloydSecondStage(pipe, placement, generator.encode)


@contextmanager
def _one_sentence(model: str) -> Iterator[None]:
    """Say in one sentence what is wrong with the files of a model."""
    try:
        yield
    except UNREADABLE as error:
        raise ValueError(
            f"model {model!r}: expected an image pipeline of diffusers with weights in safetensors, "
            f"but found: {first_line(error)}"
        ) from error


def _quiet() -> None:
    for library in (diffusers, transformers):
        library.utils.logging.set_verbosity_error()
        library.utils.logging.disable_progress_bar()


def _pipeline(where: Location, parts: Mapping[str, object], placement: Placement, **without: None) -> Pipe:
    off = {"safety_checker": None, "requires_safety_checker": False} if "safety_checker" in parts else {}
    family = PIPELINES.get(parts.get("_class_name"), DiffusionPipeline)
    pipe: Pipe = family.from_pretrained(
        where.place, revision=where.revision, dtype=placement.dtype, use_safetensors=True, **off, **without
    ).to(placement.device)
    pipe.set_progress_bar_config(disable=True)
    for name, part in pipe.components.items():
        if isinstance(part, torch.nn.Module):
            part.requires_grad_(False)  # gradients are taken of inputs only
            if name != "unet" or placement.device.type != "cpu":  # where a small U-Net's group norms would take longer
                channels_last(part)
    vae = getattr(pipe, "vae", None)
    if vae is not None and placement.dtype == torch.float16 and vae.config.get("force_upcast"):
        vae.to(torch.float32)  # its activations overflow in half precision
    return pipe
