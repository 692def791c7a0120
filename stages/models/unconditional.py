"""Models that take a class or nothing instead of a text, in pixels or behind an autoencoder."""

import json
from collections.abc import Mapping
from pathlib import Path

import torch
from diffusers.configuration_utils import FrozenDict
from torch import Tensor
from typing_extensions import override

from stages.models.generator import Pipe, Stepwise, from_centred
from stages.models.placement import Placement
from stages.sampling.loop import Condition
from stages.sampling.spec import SamplerSpec
from stages.tensors import Latents, Output, Pixels, Time

CLASS_NAMES = "classes.json"


class Labelled(Stepwise):
    """A model whose prompt is the name of a class, or empty: no class, where it was trained for that.

    Guidance needs both, so without them the scale must be 1 (or 0, where every picture is drawn without a class).
    """

    classes: Mapping[str, int]
    """The input that each class name stands for."""
    null: int | None
    """The input that stands for no class; None where the network knows none or takes no class at all."""

    @override
    def check_prompt(self, prompt: str) -> None:
        if prompt in self.classes or (not prompt and (self.null is not None or not self.classes)):
            return
        known = ", ".join(list(self.classes)[:20]) + (", ..." if len(self.classes) > 20 else "")
        empty = [] if self.classes and self.null is None else ["empty"]
        expected = " or ".join(empty + ([f"one of {known}"] if self.classes else []))
        raise ValueError(f"the prompt of a model without text must be {expected}, but is {prompt!r}")

    @override
    def check(self, sampler: SamplerSpec) -> None:
        super().check(sampler)
        if self.classes and self.null is not None:
            return
        allowed = (1,) if self.classes else (0, 1)
        if sampler.guidance not in allowed:
            why = "has no input for 'no class'" if self.classes else "takes no class"
            raise ValueError(f"sampler: guidance={sampler.guidance:g}, but this model {why}; set guidance=1")

    @override
    def _encode(self, prompt: str | None) -> Condition:
        label = self.classes[prompt] if prompt else self.null
        return {} if label is None else {"label": torch.tensor([label], device=self.device)}


class LabelledNetwork(Labelled):
    """A U-Net or a DiT of diffusers without text: the folders of DDPMPipeline, DDIMPipeline, DiTPipeline, LDMPipeline.

    Class names come from the pipeline, or from a list in `classes.json` beside its `model_index.json`; without either
    they are the numbers 0, 1, ... A DiT's last input is no class. So is a U-Net's, if it has one more than names.
    """

    @override
    def __init__(self, pipe: Pipe, placement: Placement) -> None:
        super().__init__(pipe, placement)
        self.network = pipe.unet if hasattr(pipe, "unet") else pipe.transformer
        self.vae = getattr(pipe, "vae", None) or getattr(pipe, "vqvae", None)
        self.classes, self.null = class_inputs(pipe, self.network.config)

    @override
    def predict(self, x: Latents, t: Time, condition: Condition) -> Output:
        labels = {"class_labels": condition["label"]} if condition else {}
        output: Tensor = self.network(x.to(self.dtype), timestep=t.expand(len(x)), **labels, return_dict=False)[0]
        return output.float()

    @override
    def latent_shape(self, size_px: int | None) -> tuple[int, int, int]:
        config = self.network.config
        size = (size_px // self.factor if size_px else None) or config.sample_size
        if size is None:
            raise ValueError("sampler: this model names no size of its own; set size_px")
        height, width = (size, size) if isinstance(size, int) else size
        multiple = self.factor * self._multiple()
        if size_px is not None and size_px % multiple:
            raise ValueError(f"sampler: size_px of this model must be a multiple of {multiple}, but is {size_px}")
        return config.in_channels, height, width

    @property
    def factor(self) -> int:
        """How many pixels a latent's entry spans."""
        return 1 if self.vae is None else 2 ** (len(self.vae.config.block_out_channels) - 1)

    def _multiple(self) -> int:
        config = self.network.config
        return int(config.patch_size) if "patch_size" in config else 2 ** (len(config.block_out_channels) - 1)

    @override
    def side_px(self, sampler: SamplerSpec) -> int:
        return self.latent_shape(sampler.size_px)[1] * self.factor

    @override
    def decode(self, latents: Latents) -> Pixels:
        pixels = latents
        if self.vae is not None:
            scaled = latents / self.vae.config.scaling_factor
            pixels = self.vae.decode(scaled.to(self.vae.dtype), return_dict=False)[0].float()
        return from_centred(pixels)


def class_inputs(pipe: Pipe, config: FrozenDict) -> tuple[dict[str, int], int | None]:
    """Return the input of each class name, and the input of no class; None where there is none."""
    kind = config.get("class_embed_type")
    if kind not in (None, "timestep"):
        raise ValueError(f"expected classes by number, found class_embed_type={kind!r}")
    names = getattr(pipe, "labels", None) or class_names(Path(pipe.config.get("_name_or_path") or ""))
    if (transformer := config.get("num_embeds_ada_norm")) is not None:  # 0 classes, and the input of none
        return names or {str(number): number for number in range(transformer)}, transformer
    inputs = config.get("num_class_embeds") or (len(names) if kind else 0)
    names = names or {str(number): number for number in range(inputs)}
    if len(names) not in (inputs, inputs - 1):
        raise ValueError(f"{CLASS_NAMES}: expected {inputs} names, or {inputs - 1} and no class; found {len(names)}")
    return names, len(names) if len(names) < inputs else None


def class_names(folder: Path) -> dict[str, int]:
    """Return the number of each class that the model's folder names; empty where it names none."""
    file = folder / CLASS_NAMES
    if not file.is_file():
        return {}
    names = json.loads(file.read_text())
    if not isinstance(names, list) or not all(isinstance(n, str) and n for n in names) or len({*names}) < len(names):
        raise ValueError(f"{file}: expected a list of distinct names, found {str(names)[:80]}")
    return {name: number for number, name in enumerate(names)}
