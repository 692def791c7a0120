"""load_generator: from a name to a model that draws."""

from collections.abc import Mapping
from pathlib import Path

import diffusers
import torch
import transformers
from diffusers import DiffusionPipeline

from stages.models.analytic.files import ANALYTIC, load
from stages.models.analytic.generator import AnalyticGenerator, AnalyticPipe
from stages.models.flow import Flux, StableDiffusion3
from stages.models.generator import Generator, Pipe
from stages.models.placement import Placement, place
from stages.models.source import Location, locate
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
}
"""The pipelines whose steps our own loop takes; every other runs as a whole."""


def load_generator(spec: ModelSpec) -> Generator:
    """Return the model that `spec` names, on its device.

    Weights load from safetensors only and no code comes with them; the safety checker stays off, since a blanked
    picture would count as a failure of the model. Models without text run in single precision unless told otherwise.
    """
    _quiet()
    where = locate(spec.model, "diffusers")
    try:
        if (Path(where.place) / ANALYTIC).is_file():
            return AnalyticGenerator(AnalyticPipe(*load(Path(where.place), spec.dtype)), place(spec))
        parts = DiffusionPipeline.load_config(where.place, revision=where.revision)
        half = torch.bfloat16 if "transformer" in parts else torch.float16
        placement = place(spec, half=half if "text_encoder" in parts else torch.float32)
        pipe = _pipeline(where, parts, placement)
    except UNREADABLE as error:
        raise ValueError(
            f"model {spec.model!r}: expected an image pipeline of diffusers with weights in safetensors, "
            f"but found: {first_line(error)}"
        ) from error
    return ADAPTERS.get(type(pipe), WholePipeline)(pipe, placement)


def _quiet() -> None:
    for library in (diffusers, transformers):
        library.utils.logging.set_verbosity_error()
        library.utils.logging.disable_progress_bar()


def _pipeline(where: Location, parts: Mapping[str, object], placement: Placement) -> Pipe:
    off = {"safety_checker": None, "requires_safety_checker": False} if "safety_checker" in parts else {}
    pipe: Pipe = DiffusionPipeline.from_pretrained(
        where.place, revision=where.revision, dtype=placement.dtype, use_safetensors=True, **off
    ).to(placement.device)
    pipe.set_progress_bar_config(disable=True)
    for part in pipe.components.values():
        if isinstance(part, torch.nn.Module):
            part.requires_grad_(False)  # gradients are taken of inputs only
    vae = getattr(pipe, "vae", None)
    if vae is not None and placement.dtype == torch.float16 and vae.config.get("force_upcast"):
        vae.to(torch.float32)  # its activations overflow in half precision
    return pipe
