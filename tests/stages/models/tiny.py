"""Random weights in the real classes, at tiny size."""

import json
from pathlib import Path

import diffusers
import open_clip
import safetensors.torch
import timm
import torch
from tokenizers import pre_tokenizers
from transformers import (
    CLIPTextConfig,
    CLIPTextModel,
    CLIPTextModelWithProjection,
    CLIPTokenizer,
    T5Config,
    T5EncoderModel,
    T5TokenizerFast,
)

from stages.models.pixel_text import PixelTextPipeline
from tests.stages.models.glide.models import TinyGlide

TOKENS = 16


def clip_tokenizer() -> CLIPTokenizer:
    """A CLIP tokenizer that knows single characters only."""
    characters = sorted(pre_tokenizers.ByteLevel.alphabet())
    words = [*characters, *(c + "</w>" for c in characters), "<|startoftext|>", "<|endoftext|>"]
    return CLIPTokenizer(vocab={word: i for i, word in enumerate(words)}, merges=[], model_max_length=TOKENS)


def clip_text(width: int = 32, projected: bool = False) -> CLIPTextModel | CLIPTextModelWithProjection:
    config = CLIPTextConfig(
        vocab_size=514,
        hidden_size=width,
        intermediate_size=37,
        num_hidden_layers=3,
        num_attention_heads=4,
        max_position_embeddings=TOKENS,
        projection_dim=32,
        bos_token_id=512,
        eos_token_id=513,
    )
    return (CLIPTextModelWithProjection if projected else CLIPTextModel)(config)


def t5() -> tuple[T5EncoderModel, T5TokenizerFast]:
    pieces = [("<pad>", 0.0), ("</s>", 0.0), ("<unk>", 0.0), *((c, -2.0) for c in "▁abcdefghijklmnopqrstuvwxyz")]
    config = T5Config(vocab_size=200, d_model=32, d_ff=37, d_kv=8, num_layers=2, num_heads=4)
    return T5EncoderModel(config), T5TokenizerFast(vocab=pieces, extra_ids=0)


def autoencoder(channels: int = 4, **settings: float) -> diffusers.AutoencoderKL:
    return diffusers.AutoencoderKL(
        block_out_channels=(8, 16),
        norm_num_groups=4,
        down_block_types=("DownEncoderBlock2D",) * 2,
        up_block_types=("UpDecoderBlock2D",) * 2,
        latent_channels=channels,
        **settings,
    )


def unet(**settings: object) -> diffusers.UNet2DConditionModel:
    defaults = {
        "block_out_channels": (8, 16),
        "norm_num_groups": 4,
        "layers_per_block": 1,
        "sample_size": 8,
        "down_block_types": ("DownBlock2D", "CrossAttnDownBlock2D"),
        "up_block_types": ("CrossAttnUpBlock2D", "UpBlock2D"),
        "cross_attention_dim": 32,
        "attention_head_dim": 4,
    }
    return diffusers.UNet2DConditionModel(**(defaults | settings))


NOISE = {"beta_start": 0.00085, "beta_end": 0.012, "beta_schedule": "scaled_linear"}


def stable_diffusion_1() -> diffusers.StableDiffusionPipeline:
    scheduler = diffusers.PNDMScheduler(**NOISE, skip_prk_steps=True, steps_offset=1)
    return _stable_diffusion(diffusers.StableDiffusionPipeline, scheduler, unet())


def stable_diffusion_2() -> diffusers.StableDiffusionPipeline:
    scheduler = diffusers.DDIMScheduler(
        **NOISE, prediction_type="v_prediction", clip_sample=False, set_alpha_to_one=False, steps_offset=1
    )
    return _stable_diffusion(diffusers.StableDiffusionPipeline, scheduler, unet(use_linear_projection=True))


def latent_consistency() -> diffusers.LatentConsistencyModelPipeline:
    scheduler = diffusers.LCMScheduler(**NOISE)
    return _stable_diffusion(diffusers.LatentConsistencyModelPipeline, scheduler, unet(time_cond_proj_dim=16))


def _stable_diffusion(pipeline, scheduler, network):
    return pipeline(
        vae=autoencoder(),
        text_encoder=clip_text(),
        tokenizer=clip_tokenizer(),
        unet=network,
        scheduler=scheduler,
        safety_checker=None,
        feature_extractor=None,
        requires_safety_checker=False,
    )


def stable_diffusion_xl() -> diffusers.StableDiffusionXLPipeline:
    network = unet(
        cross_attention_dim=64,
        addition_embed_type="text_time",
        addition_time_embed_dim=8,
        projection_class_embeddings_input_dim=6 * 8 + 32,
        transformer_layers_per_block=(1, 2),
        use_linear_projection=True,
    )
    return diffusers.StableDiffusionXLPipeline(
        vae=autoencoder(scaling_factor=0.13025),
        text_encoder=clip_text(),
        text_encoder_2=clip_text(projected=True),
        tokenizer=clip_tokenizer(),
        tokenizer_2=clip_tokenizer(),
        unet=network,
        scheduler=diffusers.EulerDiscreteScheduler(**NOISE, timestep_spacing="leading", steps_offset=1),
        add_watermarker=False,
    )


def stable_diffusion_3() -> diffusers.StableDiffusion3Pipeline:
    transformer = diffusers.SD3Transformer2DModel(
        sample_size=8,
        patch_size=1,
        in_channels=4,
        num_layers=1,
        attention_head_dim=8,
        num_attention_heads=4,
        joint_attention_dim=64,
        caption_projection_dim=32,
        pooled_projection_dim=64,
        out_channels=4,
    )
    encoder, tokenizer = t5()
    encoder = T5EncoderModel(T5Config(**(encoder.config.to_dict() | {"d_model": 64})))
    return diffusers.StableDiffusion3Pipeline(
        transformer=transformer,
        scheduler=diffusers.FlowMatchEulerDiscreteScheduler(shift=3.0),
        vae=autoencoder(scaling_factor=1.5305, shift_factor=0.0609),
        text_encoder=clip_text(projected=True),
        tokenizer=clip_tokenizer(),
        text_encoder_2=clip_text(projected=True),
        tokenizer_2=clip_tokenizer(),
        text_encoder_3=encoder,
        tokenizer_3=tokenizer,
    )


def flux(guidance_embeds: bool = True) -> diffusers.FluxPipeline:
    transformer = diffusers.FluxTransformer2DModel(
        patch_size=1,
        in_channels=16,
        num_layers=1,
        num_single_layers=1,
        attention_head_dim=16,
        num_attention_heads=2,
        joint_attention_dim=32,
        pooled_projection_dim=32,
        axes_dims_rope=(4, 4, 8),
        guidance_embeds=guidance_embeds,
    )
    encoder, tokenizer = t5()
    return diffusers.FluxPipeline(
        transformer=transformer,
        scheduler=diffusers.FlowMatchEulerDiscreteScheduler(shift=3.0, use_dynamic_shifting=True),
        vae=autoencoder(scaling_factor=0.3611, shift_factor=0.1159),
        text_encoder=clip_text(),
        tokenizer=clip_tokenizer(),
        text_encoder_2=encoder,
        tokenizer_2=tokenizer,
    )


def pixart() -> diffusers.PixArtAlphaPipeline:
    """A pipeline that no adapter of ours knows."""
    encoder, tokenizer = t5()
    return diffusers.PixArtAlphaPipeline(
        transformer=diffusers.PixArtTransformer2DModel(
            sample_size=8,
            num_layers=1,
            patch_size=2,
            attention_head_dim=8,
            num_attention_heads=3,
            caption_channels=32,
            in_channels=4,
            cross_attention_dim=24,
            out_channels=8,
            use_additional_conditions=False,
        ),
        scheduler=diffusers.DDIMScheduler(clip_sample=False),
        vae=autoencoder(),
        text_encoder=encoder,
        tokenizer=tokenizer,
    )


def pixel_network(**settings: object) -> diffusers.UNet2DModel:
    return diffusers.UNet2DModel(
        sample_size=8,
        block_out_channels=(8, 16),
        norm_num_groups=4,
        layers_per_block=1,
        down_block_types=("DownBlock2D", "AttnDownBlock2D"),
        up_block_types=("AttnUpBlock2D", "UpBlock2D"),
        attention_head_dim=4,
        **settings,
    )


def pixel_transformer(**settings: object) -> diffusers.DiTTransformer2DModel:
    small = {"num_attention_heads": 2, "attention_head_dim": 8, "num_layers": 1, "sample_size": 8, "patch_size": 2}
    return diffusers.DiTTransformer2DModel(**(small | settings))


def pixels(network: torch.nn.Module, scheduler: object = None) -> diffusers.DDPMPipeline:
    return diffusers.DDPMPipeline(unet=network, scheduler=scheduler or diffusers.EDMEulerScheduler())


def dit() -> diffusers.DiTPipeline:
    network = pixel_transformer(in_channels=4, out_channels=8, num_embeds_ada_norm=1000)
    return diffusers.DiTPipeline(network, autoencoder(), diffusers.DDIMScheduler(clip_sample=False))


def latent_unconditional() -> diffusers.LDMPipeline:
    vqvae = diffusers.VQModel(
        block_out_channels=(8, 16),
        down_block_types=("DownEncoderBlock2D",) * 2,
        up_block_types=("UpDecoderBlock2D",) * 2,
        norm_num_groups=4,
        num_vq_embeddings=16,
    )
    return diffusers.LDMPipeline(vqvae=vqvae, unet=pixel_network(), scheduler=diffusers.DDIMScheduler())


def latent_learned() -> diffusers.StableDiffusionPipeline:
    """A learned variance in latents."""
    scheduler = diffusers.DDPMScheduler(**NOISE, variance_type="learned_range", clip_sample=False, steps_offset=1)
    return _stable_diffusion(diffusers.StableDiffusionPipeline, scheduler, unet(out_channels=8))


COSINE = {"beta_schedule": "squaredcos_cap_v2", "clip_sample": True, "timestep_spacing": "linspace"}


def pixel_text(outputs: int = 6) -> PixelTextPipeline:
    learned = {"variance_type": "learned_range"} if outputs == 6 else {}
    return PixelTextPipeline(
        unet=unet(in_channels=3, out_channels=outputs),
        text_encoder=clip_text(),
        tokenizer=clip_tokenizer(),
        scheduler=diffusers.DDPMScheduler(**COSINE, **learned),
        upsampler=unet(in_channels=6, out_channels=6, sample_size=16),
        upsampler_scheduler=diffusers.DDPMScheduler(variance_type="learned_range", timestep_spacing="linspace"),
    )


def _floyd(inputs: int, **settings: object) -> dict[str, object]:
    """DeepFloyd IF's parts, its architecture in small."""
    network = unet(
        in_channels=inputs,
        out_channels=6,
        down_block_types=("ResnetDownsampleBlock2D", "SimpleCrossAttnDownBlock2D"),
        mid_block_type="UNetMidBlock2DSimpleCrossAttn",
        up_block_types=("SimpleCrossAttnUpBlock2D", "ResnetUpsampleBlock2D"),
        encoder_hid_dim=32,
        addition_embed_type="text",
        addition_embed_type_num_heads=2,
        cross_attention_norm="group_norm",
        resnet_time_scale_shift="scale_shift",
        act_fn="gelu",
        **settings,
    )
    encoder, tokenizer = t5()
    scheduler = diffusers.DDPMScheduler(
        beta_schedule="squaredcos_cap_v2",
        variance_type="learned_range",
        thresholding=True,
        dynamic_thresholding_ratio=0.95,
        sample_max_value=1.5,
    )
    off = dict.fromkeys(("safety_checker", "feature_extractor", "watermarker"))
    parts = {"unet": network, "text_encoder": encoder, "tokenizer": tokenizer, "scheduler": scheduler}
    return parts | off | {"requires_safety_checker": False}


def deep_floyd() -> diffusers.IFPipeline:
    return diffusers.IFPipeline(**_floyd(3))


def deep_floyd_second() -> diffusers.IFSuperResolutionPipeline:
    noising = diffusers.DDPMScheduler(beta_schedule="squaredcos_cap_v2")
    parts = _floyd(6, sample_size=16, class_embed_type="timestep", mid_block_scale_factor=1.414)
    return diffusers.IFSuperResolutionPipeline(**parts, image_noising_scheduler=noising)


FAMILIES = {
    "stable_diffusion_1": stable_diffusion_1,
    "stable_diffusion_2": stable_diffusion_2,
    "stable_diffusion_xl": stable_diffusion_xl,
    "latent_consistency": latent_consistency,
    "stable_diffusion_3": stable_diffusion_3,
    "flux": flux,
    "pixart": pixart,
    "flux_schnell": lambda: flux(guidance_embeds=False),
    "pixel_unet": lambda: pixels(pixel_network(num_class_embeds=4)),
    "pixel_transformer": lambda: pixels(pixel_transformer(in_channels=3, out_channels=6, num_embeds_ada_norm=3)),
    "pixel_unconditional": lambda: pixels(pixel_network()),
    "pixel_ddpm": lambda: pixels(pixel_network(), diffusers.DDPMScheduler()),
    "dit": dit,
    "latent_unconditional": latent_unconditional,
    "latent_learned": latent_learned,
    "pixel_text": pixel_text,
    "pixel_text_fixed": lambda: pixel_text(outputs=3),
    "deep_floyd": deep_floyd,
    "glide": TinyGlide,
}

SECOND_STAGES = {"deep_floyd_second": deep_floyd_second}

CLASSES = {"pixel_unet": ["circle", "square", "heart"], "pixel_transformer": ["circle", "square", "heart"]}


def save(family: str, folder: str) -> None:
    """Write the family's model, with weights that a fixed seed gives."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        (FAMILIES | SECOND_STAGES)[family]().save_pretrained(folder)
    if family in CLASSES:
        (Path(folder) / "classes.json").write_text(json.dumps(CLASSES[family]))
    if family == "dit":  # as its authors publish it
        index = Path(folder) / "model_index.json"
        labels = {str(number): f"n{number}, other {number}" for number in range(1000)}
        index.write_text(json.dumps(json.loads(index.read_text()) | {"id2label": labels}))


def save_classifier(folder: Path, size: int = 32, crop: float = 1.0, classes: int = 7) -> None:
    """Write a random timm classifier in timm's local format."""
    model = timm.create_model("resnet10t", num_classes=classes)
    folder.mkdir(parents=True, exist_ok=True)
    safetensors.torch.save_file(model.state_dict(), folder / "model.safetensors")
    data = {"input_size": [3, size, size], "crop_pct": crop, "interpolation": "bicubic", "label_names": list("abcdefg")}
    config = {"architecture": "resnet10t", "num_classes": classes, "pretrained_cfg": data | {"num_classes": classes}}
    (folder / "config.json").write_text(json.dumps(config))


def save_clip(folder: Path, size: int = 32) -> None:
    """Write a random CLIP in open_clip's local format."""
    vision = {"image_size": size, "layers": 1, "width": 32, "head_width": 16, "patch_size": 16}
    text = {"context_length": 32, "vocab_size": 49408, "width": 32, "heads": 2, "layers": 1}
    config = {"embed_dim": 16, "vision_cfg": vision, "text_cfg": text}
    model = open_clip.CLIP(**config)
    folder.mkdir(parents=True, exist_ok=True)
    safetensors.torch.save_file(model.state_dict(), folder / "open_clip_model.safetensors")
    (folder / "open_clip_config.json").write_text(json.dumps({"model_cfg": config, "preprocess_cfg": {}}))
