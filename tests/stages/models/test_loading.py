import shutil
from pathlib import Path

import pytest
import torch

from stages.models.loading import load_generator
from stages.models.placement import Placement
from stages.models.spec import ModelSpec
from stages.models.whole import WholePipeline
from tests.stages.models import tiny


@pytest.fixture
def copied(folder_of, tmp_path):
    """A copy of the smallest model, to damage."""
    return Path(shutil.copytree(folder_of("stable_diffusion_1"), tmp_path / "model"))


def refused(model, message, **fields):
    with pytest.raises((ValueError, FileNotFoundError), match=message) as caught:
        load_generator(ModelSpec(model=str(model), **fields))
    assert "\n" not in str(caught.value)


def test_the_safety_checker_stays_off_and_the_device_is_the_cpu(generator_of):
    generator = generator_of("stable_diffusion_1")
    assert generator.pipe.safety_checker is None
    assert (generator.device.type, generator.dtype) == ("cpu", torch.float32)


def test_a_pipeline_without_adapter_runs_as_a_whole(generator_of):
    assert isinstance(generator_of("pixart"), WholePipeline)


def test_damaged_weights(copied):
    weights = copied / "unet" / "diffusion_pytorch_model.safetensors"
    weights.write_bytes(weights.read_bytes()[:1000])
    refused(copied, "expected an image pipeline of diffusers with weights in safetensors, but found: ")


def test_weights_that_are_no_safetensors(copied):
    weights = copied / "unet" / "diffusion_pytorch_model.safetensors"
    weights.rename(weights.with_suffix(".bin"))
    refused(copied, "but found: .*diffusion_pytorch_model.safetensors")


def test_weights_of_another_model(copied, folder_of):
    other = Path(folder_of("stable_diffusion_xl")) / "unet"
    shutil.copy(other / "diffusion_pytorch_model.safetensors", copied / "unet")
    refused(copied, "but found: ")


def test_no_pipeline_in_the_folder(tmp_path):
    refused(tmp_path, "but found: .*model_index.json")


def test_missing_folder():
    refused("./no/such/folder", "'./no/such/folder': expected a folder of weights, but no/such/folder is none")


def test_no_name_of_anything():
    refused("what is this?", "neither zoo:NAME, nor a local folder, nor a hub id")


def test_unknown_member_of_the_zoo():
    refused("zoo:no-such", "no-such")


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_a_gpu_that_is_not_there(folder_of):
    refused(folder_of("stable_diffusion_1"), "device 'cuda' is asked for, but this machine has no CUDA", device="cuda")


def test_a_pipeline_that_takes_no_latents(generator_of):
    class Closed:
        scheduler = None

        def __call__(self, prompt, generator):
            """Draw from a latent of its own."""

    generator = generator_of("stable_diffusion_1")
    with pytest.raises(ValueError, match=r"Closed cannot draw from a given latent, .* lacks .*'latents'"):
        WholePipeline(Closed(), Placement(generator.device, generator.dtype))


def test_every_family_is_tested():
    assert {*tiny.FAMILIES} >= {"stable_diffusion_1", "stable_diffusion_2", "stable_diffusion_xl", "flux"}
