"""A text-to-image model whose pictures are linear in every vector that the text encoder reads, and small searches."""

from types import SimpleNamespace

import diffusers
import torch
from diffusers.configuration_utils import FrozenDict

from stages.models.pixel_text import PixelText
from stages.sampling import SamplerSpec
from tests.tuning.sage.models import SHAPE, SIZE, normal
from tests.tuning.sage.prompt_models import CPU, LIMIT, TOKENIZER
from tuning.sage.tokens.found import LabelledPrompt, PromptGrid, TokenSearchSpec

WIDTH = 6
SAMPLER = SamplerSpec(scheduler="ddim", steps=3, guidance=2.0)


class LinearText(torch.nn.Module):
    """Each token's state is its vector and its place's."""

    def __init__(self):
        super().__init__()
        self.table = torch.nn.Embedding(len(TOKENIZER), WIDTH)
        self.table.weight.data = 0.1 * normal(len(TOKENIZER), WIDTH, purpose="table").float()
        self.places = normal(LIMIT, WIDTH, purpose="places").float()
        self.requires_grad_(False)

    def get_input_embeddings(self):
        return self.table

    def forward(self, tokens):
        return (self.table(tokens) + self.places,)


class LinearNetwork(torch.nn.Module):
    """Noise that is linear in state and picture, of a contrast so small that hardly any pixel is clipped."""

    config = FrozenDict(in_channels=3, out_channels=3, sample_size=8, block_out_channels=(1,))

    def __init__(self):
        super().__init__()
        self.weights = 0.03 * normal(WIDTH, SIZE, purpose="network").float()

    def forward(self, x, _, encoder_hidden_states, **__):
        return (x + (encoder_hidden_states.mean(1) @ self.weights).view(-1, *SHAPE),)


def linear_pictures():
    scheduler = diffusers.DDIMScheduler(clip_sample=False)
    parts = {"unet": LinearNetwork(), "text_encoder": LinearText(), "tokenizer": TOKENIZER, "scheduler": scheduler}
    return PixelText(SimpleNamespace(**parts), CPU)


def prompt(text, label="circle"):
    return LabelledPrompt(text=text, label=label)


TRAIN = PromptGrid(
    prompts=(prompt("a photo of a circle"), prompt("a red circle"), prompt("the blue square", "square")), seeds=(0, 1)
)
HELD_OUT = PromptGrid(prompts=(prompt("the gold circle"), prompt("a bright square", "square")), seeds=(10, 11, 12))


def spec(**settings):
    small = {"sampler": SAMPLER, "iterations": 3, "batch": 4, "train": TRAIN, "held_out": HELD_OUT}
    return TokenSearchSpec.model_validate(small | settings)
