"""A shift of zero is the control, bit for bit, for every model and every sampler that it can run."""

import numpy as np
import pytest

from stages.base import objects
from stages.generate import Generate, GenerateSpec
from stages.models.source import fingerprint
from stages.perturbations import Control, MixedShift, StdShift, UniformMeanShift
from stages.sampling import SamplerSpec
from stages.sampling.upsampling import Upsampling
from tests.stages.models.tiny import FAMILIES

NAMES = SamplerSpec.model_fields["scheduler"].annotation.__args__
ZERO = (UniformMeanShift(shift=0), StdShift(shrink=0), MixedShift(shift=0, shrink=0))
TWO_STAGES = ("pixel_text", "glide")
WITHOUT_TEXT = ("pixel_unet", "pixel_transformer", "pixel_unconditional", "pixel_ddpm", "latent_unconditional", "dit")

pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")  # diffusers, in Euler


def samplers(stage, family):
    """What the model can run, in four steps."""
    common = {"steps": 4, "guidance": 1.0 if family in WITHOUT_TEXT else 3.0}
    common |= {"size_px": 16} if family.startswith("flux") else {}
    asked = [SamplerSpec(scheduler=name, **common) for name in NAMES]
    asked += [SamplerSpec(scheduler="ddim", eta=0.5, **common), SamplerSpec(spacing="trailing", **common)]
    asked += [SamplerSpec(upsampling=Upsampling(steps=2), **common)] if family in TWO_STAGES else []
    for spec in asked:
        try:
            stage.check(spec)
        except ValueError:
            continue
        yield spec


@pytest.mark.parametrize("family", FAMILIES)
def test_a_shift_of_zero_is_the_control(folder_of, family):
    folder = folder_of(family)
    stage = Generate(GenerateSpec(model=folder, batch=4, threads=1))
    perturbations = [p.canonical() for p in (Control(), *ZERO)]
    able = list(samplers(stage, family))
    assert len(able) > 1
    for spec in able:
        texts = {"model": folder, "revision": fingerprint(folder), "sampler": spec.canonical()}
        rows = {name: objects([text] * 4) for name, text in texts.items()}
        rows |= {"prompt": objects(["" if family in WITHOUT_TEXT else "a cat"] * 4), "error": objects([None] * 4)}
        out = stage(rows | {"perturbation": objects(perturbations), "seed": np.full(4, 7)})
        if out["error"][0] is None:
            assert len({picture.tobytes() for picture in out["image"]}) == 1, spec
        assert len({*out["error"]}) == 1, spec
