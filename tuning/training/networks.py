"""The networks that the trainer of small pixel-space models knows, in the classes of diffusers."""

from typing import TYPE_CHECKING, Annotated, Any, Literal, TypeAlias

from pydantic import Field

from stages.base import Spec

if TYPE_CHECKING:
    from torch import nn


class UNet(Spec):
    """A U-Net whose level i has `width` x `multipliers[i]` channels."""

    kind: Literal["unet"] = "unet"
    width: int = Field(32, ge=8, multiple_of=8, description="Channels of the first level.")
    multipliers: tuple[int, ...] = Field((1, 2, 2), min_length=1)
    layers: int = Field(1, ge=1, description="Residual blocks a level.")
    attention: tuple[int, ...] = Field((1,), description="Levels with attention, the first being 0.")
    head_channels: int = Field(16, ge=1, description="Channels of an attention head.")
    dropout: float = Field(0.0, ge=0, lt=1)

    def build(self, side_px: int, classes: int) -> "nn.Module":
        """Return the untrained network; with classes, the last of its class embeddings is the null class."""
        from diffusers import UNet2DModel

        levels = range(len(self.multipliers))
        module: nn.Module = UNet2DModel(
            sample_size=side_px,
            block_out_channels=tuple(self.width * m for m in self.multipliers),
            layers_per_block=self.layers,
            down_block_types=tuple("AttnDownBlock2D" if i in self.attention else "DownBlock2D" for i in levels),
            up_block_types=tuple("AttnUpBlock2D" if i in self.attention else "UpBlock2D" for i in reversed(levels)),
            attention_head_dim=self.head_channels,
            norm_num_groups=8,
            dropout=self.dropout,
            num_class_embeds=classes + 1 if classes else None,
        )
        return module


class Transformer(Spec):
    """A diffusion transformer: Peebles & Xie 2022 (arXiv:2212.09748), with adaLN-zero."""

    kind: Literal["transformer"] = "transformer"
    width: int = Field(128, ge=8, multiple_of=8, description="Channels of a token.")
    depth: int = Field(6, ge=1, description="Blocks.")
    head_channels: int = Field(32, ge=1, description="Channels of an attention head; divides the width.")
    patch_px: int = Field(2, ge=1, description="Side of the square of pixels that a token stands for.")
    dropout: float = Field(0.0, ge=0, lt=1)

    def build(self, side_px: int, classes: int) -> "nn.Module":
        """Return the untrained network; the last of its class embeddings is the null class."""
        from diffusers import DiTTransformer2DModel

        return without_own_dropout(
            DiTTransformer2DModel(
                num_attention_heads=self.width // self.head_channels,
                attention_head_dim=self.head_channels,
                in_channels=3,
                num_layers=self.depth,
                dropout=self.dropout,
                sample_size=side_px,
                patch_size=self.patch_px,
                num_embeds_ada_norm=classes,
            )
        )


class Pretrained(Spec):
    """A trained network to go on from: all of it, or its attention layers alone."""

    kind: Literal["pretrained"] = "pretrained"
    model: str = Field(min_length=1, description="zoo:NAME or a folder in the format of DDPMPipeline.")
    layers: Literal["all", "attention"] = Field("all", description="What training changes; the rest is frozen.")

    def build(self, side_px: int, classes: int) -> "nn.Module":
        """Return the trained network; only what training may change asks for gradients."""
        from stages.models.loading import load_generator
        from stages.models.spec import ModelSpec
        from stages.models.unconditional import LabelledNetwork

        generator = load_generator(ModelSpec(model=self.model, device="cpu"))
        if not isinstance(generator, LabelledNetwork):
            raise ValueError(f"network.model: expected a pixel-space model without text, found {self.model}")
        found = generator.latent_shape(None)[1], len(generator.classes)
        if found != (side_px, classes):
            raise ValueError(
                f"network.model: expected a model of {side_px} px and {classes} classes, as the pictures have, "
                f"found {found[0]} px and {found[1]} classes in {self.model}"
            )
        module: Any = generator.network
        for parameter in module.parameters() if self.layers == "all" else attention(module):
            parameter.requires_grad = True
        return without_own_dropout(module)


AnyNetwork: TypeAlias = Annotated[UNet | Transformer | Pretrained, Field(discriminator="kind")]


def attention(module: "nn.Module") -> "list[nn.Parameter]":
    """Return the parameters of the attention layers: projections, and in a U-Net the group norms before them."""
    from diffusers.models.attention_processor import Attention

    return [p for part in module.modules() if isinstance(part, Attention) for p in part.parameters()]


def without_own_dropout(module: "nn.Module") -> "nn.Module":
    """Return the module, which no longer replaces classes by the null class itself: the trainer does."""
    for part in module.modules():
        if hasattr(part, "dropout_prob"):
            setattr(part, "dropout_prob", 0.0)  # noqa: B010  its type knows no such name
    return module
