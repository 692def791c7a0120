import json

import diffusers
import numpy as np
import pytest
import torch

from stages.models.analytic import load, save
from stages.models.loading import load_generator
from stages.models.source import fingerprint
from stages.models.spec import ModelSpec
from tests.stages.models.analytic.models import SHAPE, TABLE, empirical, normal


@pytest.mark.parametrize("name", TABLE)
def test_a_saved_model_answers_the_same(tmp_path, name):
    save(TABLE[name], tmp_path)
    model, scheduler = load(tmp_path)
    x = normal(2, *SHAPE)
    assert torch.equal(model.denoise(x, 0.5), TABLE[name].denoise(x, 0.5))
    assert type(scheduler) is diffusers.EDMEulerScheduler
    assert model.shape == SHAPE


def test_the_fingerprint_is_of_the_content(tmp_path):
    for folder, count in (("a", 4), ("b", 4), ("c", 5)):
        save(empirical(count), tmp_path / folder)
    a, b, c = (fingerprint(str(tmp_path / folder)) for folder in "abc")
    assert a == b != c
    save(empirical(4), tmp_path / "b", diffusers.DDIMScheduler())
    assert fingerprint(str(tmp_path / "b")) != a


def test_single_precision_is_asked_for_by_the_spec(tmp_path):
    save(empirical(), tmp_path)
    generators = [load_generator(ModelSpec(model=str(tmp_path), dtype=dtype)) for dtype in ("auto", "float32")]
    assert [generator.pipe.model.dtype for generator in generators] == [torch.float64, torch.float32]


@pytest.mark.parametrize(
    ("file", "change", "message"),
    [
        ("analytic.json", {"kind": "oracle"}, "expected a kind of gaussian, molrg, empirical in .*, found oracle"),
        ("scheduler/scheduler_config.json", {"_class_name": "DDPMScheduler"}, "expected a scheduler of EDMEuler"),
    ],
)
def test_a_folder_that_names_something_else(tmp_path, file, change, message):
    save(empirical(), tmp_path)
    settings = json.loads((tmp_path / file).read_text())
    (tmp_path / file).write_text(json.dumps(settings | change))
    with pytest.raises(ValueError, match=message):
        load_generator(ModelSpec(model=str(tmp_path)))


def test_half_precision_and_damaged_weights_are_refused(tmp_path):
    save(empirical(), tmp_path)
    with pytest.raises(ValueError, match="in auto or float32, found empirical in bfloat16"):
        load_generator(ModelSpec(model=str(tmp_path), dtype="bfloat16"))
    (tmp_path / "model.safetensors").write_bytes(np.zeros(9).tobytes())
    with pytest.raises(ValueError, match="with weights in safetensors, but found: "):
        load_generator(ModelSpec(model=str(tmp_path)))
