"""A tiny text-to-image model over 8 x 8 pixels, and a language model of its words with known probabilities."""

import diffusers
import torch
from transformers import CLIPTextConfig, CLIPTextModel

from stages.models.language import LanguageModel
from stages.models.pixel_text import PixelText, PixelTextPipeline
from stages.models.placement import Placement
from stages.sampling import SamplerSpec
from tests.stages.models.tiny import unet
from tests.stages.models.tiny_language import clip_tokenizer, written
from tests.tuning.sage.models import LABELS, Logistic
from tuning.sage.prompts.found import PromptSearchSpec
from tuning.sage.prompts.language import LanguageSpec, Words
from tuning.sage.surrogate import Surrogate

CPU = Placement(torch.device("cpu"), torch.float32)
SAMPLER = SamplerSpec(scheduler="ddim", steps=3, guidance=5.0)
SHALLOW = {
    "block_out_channels": (8,),
    "down_block_types": ("CrossAttnDownBlock2D",),
    "up_block_types": ("CrossAttnUpBlock2D",),
}
NOUNS = ("circle", "square")
AFTER = ("red", "blue", "gold", "bright", "on", "left")
WORDS = (*NOUNS, "squares", *AFTER, "photo", "of", "the", "not")
LIMIT = 12

TOKENIZER = clip_tokenizer([*(f"{word}</w>" for word in WORDS), "dark", "ish</w>"], limit=LIMIT)
FIRST = {"red</w>": 0.2, "blue</w>": 0.15, "gold</w>": 0.1, "bright</w>": 0.05, "dark": 0.1, "on</w>": 0.1}
FORBIDDEN = {"not</w>": 0.05, "circle</w>": 0.04, "square</w>": 0.03, "squares</w>": 0.02}
LATER = {f"{word}</w>": 0.15 for word in AFTER}
TABLE = (
    {"<|startoftext|>": {"a</w>": 1.0}, "a</w>": {"photo</w>": 0.5, "circle</w>": 0.25, "square</w>": 0.25}}
    | {"photo</w>": {"of</w>": 1.0}, "of</w>": {"a</w>": 1.0}, "dark": {"ish</w>": 0.9}}
    | dict.fromkeys((f"{noun}</w>" for noun in NOUNS), FIRST | FORBIDDEN)
    | dict.fromkeys((*(f"{word}</w>" for word in AFTER), "ish</w>"), LATER)
)
NEVER = -1000.0
"""A bias at which no picture fails, so that a search only climbs."""
CANDIDATES = {"red", "blue", "gold", "bright", "darkish", "on"}
"""The words that may follow 'a photo of a circle'."""


def generator():
    """Random weights; those of the text are large, so that every word shows."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        config = CLIPTextConfig(
            vocab_size=len(TOKENIZER),
            hidden_size=32,
            intermediate_size=37,
            num_hidden_layers=2,
            num_attention_heads=4,
            max_position_embeddings=LIMIT,
            bos_token_id=TOKENIZER.bos_token_id,
            eos_token_id=TOKENIZER.eos_token_id,
        )
        pipe = PixelTextPipeline(
            unet=unet(in_channels=3, out_channels=3, **SHALLOW),
            text_encoder=CLIPTextModel(config),
            tokenizer=TOKENIZER,
            scheduler=diffusers.DDIMScheduler(clip_sample=False),
        )
    pipe.text_encoder.get_input_embeddings().weight.data.mul_(20)
    for name, weight in pipe.unet.named_parameters():
        if "attn2.to_out" in name:
            weight.data.mul_(8)
    for part in (pipe.unet, pipe.text_encoder):
        part.requires_grad_(False).eval()
    return PixelText(pipe, CPU)


def words(**settings):
    return Words(LanguageSpec(model="-", **settings), LanguageModel(written(TOKENIZER, TABLE), TOKENIZER, CPU), LABELS)


def surrogate(bias=-1.0, members=2):
    ensemble = [Logistic(f"member {number}", bias=bias, noise=0.2) for number in range(members)]
    return Surrogate(ensemble, Logistic("judge", bias=bias, noise=0.2), LABELS)


def spec(**settings):
    small = {"sampler": SAMPLER, "iterations": 1, "words": 2, "batch": 16, "verify": 50, "share": 1.0}
    return PromptSearchSpec.model_validate(small | settings)
