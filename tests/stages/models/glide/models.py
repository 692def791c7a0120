"""Tiny GLIDE, converted from files in the published format."""

import tempfile
from pathlib import Path

from stages.models.glide.files import convert
from stages.models.glide.options import GlideOptions
from tests.stages.models.glide import published


def options(o):
    return GlideOptions(
        side_px=o["image_size"],
        channels=o["num_channels"],
        multipliers=o["channel_mult"],
        blocks=o["num_res_blocks"],
        attention_px=o["attention"],
        head_channels=o["num_head_channels"],
        context=o["text_ctx"],
        text_width=o["xf_width"],
        text_layers=o["xf_layers"],
        text_heads=o["xf_heads"],
        vocabulary=len(published.WORDS),
        second_stage=o["super_res"],
    )


OPTIONS = (options(published.TINY), options(published.TINY_UPSAMPLER))


def converted(files: Path, folder: Path) -> Path:
    pairs = (files / "encoder.json.gz", files / "vocab.bpe.gz")
    return convert((files / "base.pt", files / "upsample.pt"), pairs, folder, OPTIONS)


class TinyGlide:
    """What can be saved like a pipeline of diffusers."""

    def save_pretrained(self, folder):
        with tempfile.TemporaryDirectory() as files:
            published.write(Path(files))
            converted(Path(files), Path(folder))
