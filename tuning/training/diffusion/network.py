"""What a network is given for this training: outputs for a learned variance, a dropout of its own."""

from typing import Any

import torch
from torch import Tensor, nn

from stages.models.loading import load_generator
from stages.models.spec import ModelSpec
from tuning.training.diffusion.settings import DiffusionSpec


def answering(module: nn.Module, outputs: int) -> nn.Module:
    """Return the network with this many output channels; those that it lacked are 0 for every picture at first."""
    network: Any = module
    channels = network.config.out_channels or network.config.in_channels
    if channels == outputs:
        return module
    if channels > outputs:
        raise ValueError(
            f"network: expected one of {outputs} outputs, since variance='fixed', found {channels} outputs; "
            "set variance='learned_range'"
        )
    last = network.conv_out if hasattr(network, "conv_out") else network.proj_out_2
    patches = len(last.weight) // channels  # a transformer answers a patch of pixels at once, channels innermost
    for name in ("weight", "bias"):
        old = getattr(last, name)
        setattr(last, name, nn.Parameter(widened(old, patches, outputs), requires_grad=old.requires_grad))
    for part, attribute in ((last, "out_channels"), (last, "out_features"), (network, "out_channels")):
        if isinstance(vars(part).get(attribute), int):
            setattr(part, attribute, len(last.weight) if part is last else outputs)
    network.register_to_config(out_channels=outputs)
    return module


@torch.no_grad()
def widened(x: Tensor, patches: int, outputs: int) -> Tensor:
    """Return weights or biases with zeros for further outputs of every patch."""
    by_patch = x.unflatten(0, (patches, -1))
    missing = by_patch.new_zeros(patches, outputs - by_patch.shape[1], *x.shape[1:])
    return torch.cat([by_patch, missing], dim=1).flatten(0, 1)


def dropping(module: nn.Module, share: float | None) -> nn.Module:
    """Return a U-Net whose residual blocks drop this share of their activations; null: the share it came with."""
    if share is None:
        return module
    from diffusers.models.resnet import ResnetBlock2D

    blocks = [part for part in module.modules() if isinstance(part, ResnetBlock2D)]
    if not blocks:
        raise ValueError("dropout: expected a U-Net, found a network without residual blocks; leave dropout null")
    for block in blocks:
        block.dropout.p = share
    network: Any = module
    network.register_to_config(dropout=share)
    return module


def check_start(spec: DiffusionSpec, scheduler: Any) -> None:
    """Refuse to go on from a model that was trained on other noise levels, or to answer something else."""
    if spec.network.kind != "pretrained":
        return
    start = load_generator(ModelSpec(model=spec.network.model, device="cpu")).pipe.scheduler
    known = getattr(start, "alphas_cumprod", None)
    predicts = start.config.get("prediction_type", "epsilon")
    same = known is not None and len(known) == spec.noise_levels and torch.allclose(known, scheduler.alphas_cumprod)
    if not same or predicts != "epsilon":
        raise ValueError(
            f"network.model: expected a model that predicts the noise on the schedule {spec.schedule!r} of "
            f"{spec.noise_levels} steps, found {type(start).__name__} with {start.config.get('beta_schedule')!r}, "
            f"which predicts {predicts!r}"
        )
