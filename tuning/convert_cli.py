"""The commands that turn published checkpoints into folders that `model=` takes."""

from pathlib import Path
from typing import Annotated

import typer

from pipelines import cli
from pipelines.config import Tree, UserError, assign, validate
from stages.base import Spec
from stages.models.glide.options import BASE, UPSAMPLER, GlideOptions

app = typer.Typer(help="Folders for `model=` from checkpoints in other formats.", no_args_is_help=True)


class GlideSizes(Spec):
    """The sizes of both networks; those of the published pair unless told otherwise."""

    base: GlideOptions = BASE
    upsampler: GlideOptions = UPSAMPLER


@app.command()
def glide(
    base: Annotated[Path, typer.Argument(help="The published base.pt, or one trained from it.")],
    output: Annotated[Path, typer.Option(help="Folder to write.")],
    upsampler: Annotated[Path | None, typer.Option(help="The published upsample.pt; empty: 64 x 64 only.")] = None,
    tokenizer: Annotated[
        Path | None,
        typer.Option(
            help="Folder of encoder.json.gz and vocab.bpe.gz, such as glide_text2im/tokenizer of its code; "
            "empty: that of BASE."
        ),
    ] = None,
    sizes: Annotated[
        list[str] | None,
        typer.Argument(help="Sizes other than the published, such as base.channels=96 or upsampler.side_px=128."),
    ] = None,
) -> None:
    """Convert GLIDE's published checkpoints once; the folder is a model like any other."""
    options = sized(sizes or [])
    pairs = byte_pairs(tokenizer or base.parent)
    from stages.models.glide.files import convert

    both = (options.base, options.upsampler)
    folder = cli.asked_of_user(lambda: convert((base, upsampler), pairs, output, both))
    cli.console.print(f"model={folder}", highlight=False, soft_wrap=True, markup=False)


def sized(overrides: list[str]) -> GlideSizes:
    """Return the published sizes with overrides; raises `UserError`."""
    tree: Tree = GlideSizes().model_dump(mode="json")
    for override in overrides:
        assign(tree, override)
    return validate(GlideSizes, tree, where="convert")


def byte_pairs(folder: Path) -> tuple[Path, Path]:
    """Return the files of the vocabulary and of the merges, packed or unpacked; raises `UserError`."""
    found = []
    for name in ("encoder.json", "vocab.bpe"):
        files = [file for file in (folder / f"{name}.gz", folder / name) if file.is_file()]
        if not files:
            raise UserError(
                f"convert: expected {name}.gz or {name} in {folder}, found neither; "
                "name the folder of both by --tokenizer: they stand beside GLIDE's code, in glide_text2im/tokenizer"
            )
        found.append(files[0])
    return found[0], found[1]
