"""GlideOptions: the sizes of one of GLIDE's two networks. Imports no heavy library."""

from pydantic import Field

from stages.base import Spec


class GlideOptions(Spec):
    """The sizes of one of GLIDE's networks; the defaults are those of the published base model."""

    side_px: int = 64
    channels: int = Field(192, multiple_of=32, description="Of the first level; norms work on 32 groups.")
    multipliers: tuple[int, ...] = Field((1, 2, 3, 4), description="Channels of each level, in units of `channels`.")
    blocks: int = Field(3, ge=1, description="Residual blocks a level; one more on the way up.")
    attention_px: tuple[int, ...] = Field((32, 16, 8), description="Sides of the levels that attend.")
    head_channels: int = Field(64, ge=1, description="Channels of an attention head.")
    context: int = Field(128, ge=1, description="Text tokens; the last of them stands for the whole text.")
    text_width: int = 512
    text_layers: int = 16
    text_heads: int = 8
    vocabulary: int = 50_257
    second_stage: bool = Field(False, description="Whether the network also sees a small picture.")

    def attends(self, level: int) -> bool:
        """Return whether a level attends, the first being 0."""
        return self.side_px // 2**level in self.attention_px


BASE = GlideOptions()
UPSAMPLER = GlideOptions(side_px=256, multipliers=(1, 1, 2, 2, 4, 4), blocks=2, second_stage=True)
"""The published pair."""
