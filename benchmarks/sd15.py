"""A pipeline of the size and shape of Stable Diffusion 1.5, with random weights: what speed and memory depend on.

Its configuration is that of the published model; its words are those of `shapes`, in a vocabulary as large as CLIP's.
Where nothing may be downloaded it stands for the real one in all but its images.

Source: stable-diffusion-v1-5/stable-diffusion-v1-5, the config.json of each component; openai/clip-vit-large-patch14.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from on_disk import written_once

CLIP_TOKENS = 77
CLIP_VOCABULARY = 49408


def written(folder: Path, *, tiny: bool = False) -> Path:
    """Return the folder with the pipeline in diffusers format, fp32, written there if it is not yet: 4.3 GB.

    tiny: of the same classes and blocks, but of a few channels, for 128x128 images: to try the way, not the speed.
    """
    return written_once(folder, lambda: _pipeline(tiny=tiny))


def _pipeline(*, tiny: bool) -> Any:
    from diffusers import DDIMScheduler, StableDiffusionPipeline

    from autotune.shapes.vocabulary import tokenizer

    words = tokenizer()
    words.model_max_length = CLIP_TOKENS
    width = 32 if tiny else 768
    return StableDiffusionPipeline(
        vae=_vae(tiny=tiny),
        text_encoder=_text_encoder(width, words, tiny=tiny),
        tokenizer=words,
        unet=_unet(width, tiny=tiny),
        scheduler=DDIMScheduler(
            beta_start=0.00085,
            beta_end=0.012,
            beta_schedule="scaled_linear",
            steps_offset=1,
            set_alpha_to_one=False,
            clip_sample=False,
        ),
        safety_checker=None,
        feature_extractor=None,
        requires_safety_checker=False,
    )


def _unet(text_width: int, *, tiny: bool) -> Any:
    from diffusers import UNet2DConditionModel

    return UNet2DConditionModel(
        sample_size=16 if tiny else 64,
        block_out_channels=(32, 32, 64, 64) if tiny else (320, 640, 1280, 1280),
        layers_per_block=1 if tiny else 2,
        cross_attention_dim=text_width,
        attention_head_dim=8,
        down_block_types=("CrossAttnDownBlock2D",) * 3 + ("DownBlock2D",),
        up_block_types=("UpBlock2D",) + ("CrossAttnUpBlock2D",) * 3,
    )


def _vae(*, tiny: bool) -> Any:
    from diffusers import AutoencoderKL

    return AutoencoderKL(
        block_out_channels=(32, 32, 32, 32) if tiny else (128, 256, 512, 512),
        layers_per_block=1 if tiny else 2,
        latent_channels=4,
        down_block_types=("DownEncoderBlock2D",) * 4,
        up_block_types=("UpDecoderBlock2D",) * 4,
        sample_size=128 if tiny else 512,
    )


def _text_encoder(width: int, words: Any, *, tiny: bool) -> Any:
    from transformers import CLIPTextConfig, CLIPTextModel

    config = CLIPTextConfig(
        vocab_size=CLIP_VOCABULARY if not tiny else len(words),
        hidden_size=width,
        intermediate_size=4 * width,
        num_hidden_layers=1 if tiny else 12,
        num_attention_heads=2 if tiny else 12,
        max_position_embeddings=CLIP_TOKENS,
        projection_dim=width,
        bos_token_id=words.bos_token_id,
        eos_token_id=words.eos_token_id,
        pad_token_id=words.pad_token_id,
    )
    return CLIPTextModel(config)
