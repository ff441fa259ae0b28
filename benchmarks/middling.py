"""Pipelines of middling size and of the real classes, with random weights: large enough that memory is what counts.

Some 100 to 250 million parameters each, so that a call at 256x256 takes seconds on a CPU and its weights and tensors
outweigh what a process has anyway.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from on_disk import written_once

from autotune.search.verify.architectures import t5_tokenizer


def written(name: str, folder: Path) -> Path:
    """Return the folder with the pipeline of that name in diffusers format, fp32, written there if it is not yet."""
    return written_once(folder, PIPELINES[name])


def _clip_words() -> Any:
    from autotune.shapes.vocabulary import tokenizer

    words = tokenizer()
    words.model_max_length = 77
    return words


def _clip(*, projection: bool = False) -> Any:
    from transformers import CLIPTextConfig, CLIPTextModel, CLIPTextModelWithProjection

    words = _clip_words()
    config = CLIPTextConfig(
        vocab_size=49408,
        hidden_size=512,
        intermediate_size=2048,
        projection_dim=512,
        num_hidden_layers=8,
        num_attention_heads=8,
        eos_token_id=words.eos_token_id,
        bos_token_id=words.bos_token_id,
        pad_token_id=words.pad_token_id,
    )
    return CLIPTextModelWithProjection(config) if projection else CLIPTextModel(config)


def _t5(kind: str = "T5") -> Any:
    import transformers

    config = getattr(transformers, f"{kind}Config")(
        vocab_size=8000,
        d_model=768,
        d_kv=64,
        d_ff=2048,
        num_layers=8,
        num_heads=12,
        decoder_start_token_id=0,
        feed_forward_proj="gated-gelu",
    )
    return getattr(transformers, f"{kind}EncoderModel")(config)


def _vae(channels: int, **more: Any) -> Any:
    from diffusers import AutoencoderKL

    return AutoencoderKL(
        block_out_channels=(64, 128, 256, 256),
        layers_per_block=2,
        latent_channels=channels,
        down_block_types=("DownEncoderBlock2D",) * 4,
        up_block_types=("UpDecoderBlock2D",) * 4,
        sample_size=512,
        **more,
    )


def _sd() -> Any:
    from diffusers import DDIMScheduler, StableDiffusionPipeline, UNet2DConditionModel

    unet = UNet2DConditionModel(
        sample_size=64,
        block_out_channels=(128, 256, 512, 512),
        layers_per_block=2,
        cross_attention_dim=512,
        attention_head_dim=8,
        down_block_types=("CrossAttnDownBlock2D",) * 3 + ("DownBlock2D",),
        up_block_types=("UpBlock2D",) + ("CrossAttnUpBlock2D",) * 3,
    )
    return StableDiffusionPipeline(
        vae=_vae(4),
        text_encoder=_clip(),
        tokenizer=_clip_words(),
        unet=unet,
        scheduler=DDIMScheduler(steps_offset=1, clip_sample=False),
        safety_checker=None,
        feature_extractor=None,
        requires_safety_checker=False,
    )


def _sdxl() -> Any:
    from diffusers import EulerDiscreteScheduler, StableDiffusionXLPipeline, UNet2DConditionModel

    unet = UNet2DConditionModel(
        sample_size=64,
        block_out_channels=(128, 256, 512),
        layers_per_block=2,
        attention_head_dim=(2, 4, 8),
        cross_attention_dim=1024,
        down_block_types=("DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D"),
        up_block_types=("CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"),
        use_linear_projection=True,
        addition_embed_type="text_time",
        addition_time_embed_dim=64,
        transformer_layers_per_block=(1, 2, 4),
        projection_class_embeddings_input_dim=512 + 6 * 64,
    )
    return StableDiffusionXLPipeline(
        vae=_vae(4),
        text_encoder=_clip(),
        text_encoder_2=_clip(projection=True),
        tokenizer=_clip_words(),
        tokenizer_2=_clip_words(),
        unet=unet,
        scheduler=EulerDiscreteScheduler(),
        add_watermarker=False,
    )


def _flux() -> Any:
    from diffusers import FlowMatchEulerDiscreteScheduler, FluxPipeline, FluxTransformer2DModel

    transformer = FluxTransformer2DModel(
        in_channels=64,
        num_layers=4,
        num_single_layers=8,
        attention_head_dim=64,
        num_attention_heads=10,
        joint_attention_dim=768,
        pooled_projection_dim=512,
        guidance_embeds=True,
        axes_dims_rope=(8, 28, 28),
    )
    return FluxPipeline(
        transformer=transformer,
        vae=_vae(16, use_quant_conv=False, use_post_quant_conv=False, shift_factor=0.06),
        text_encoder=_clip(),
        tokenizer=_clip_words(),
        text_encoder_2=_t5(),
        tokenizer_2=t5_tokenizer(512),
        scheduler=FlowMatchEulerDiscreteScheduler(),
    )


def _pixart() -> Any:
    from diffusers import DPMSolverMultistepScheduler, PixArtSigmaPipeline, PixArtTransformer2DModel

    transformer = PixArtTransformer2DModel(
        sample_size=64,
        num_layers=12,
        in_channels=4,
        out_channels=8,
        attention_head_dim=64,
        num_attention_heads=10,
        cross_attention_dim=640,
        caption_channels=768,
        norm_type="ada_norm_single",
        use_additional_conditions=False,
    )
    return PixArtSigmaPipeline(
        transformer=transformer,
        vae=_vae(4),
        text_encoder=_t5(),
        tokenizer=t5_tokenizer(300),
        scheduler=DPMSolverMultistepScheduler(),
    )


def _wan() -> Any:
    from diffusers import AutoencoderKLWan, FlowMatchEulerDiscreteScheduler, WanPipeline, WanTransformer3DModel

    transformer = WanTransformer3DModel(
        num_attention_heads=8,
        attention_head_dim=64,
        text_dim=768,
        ffn_dim=2048,
        num_layers=12,
    )
    return WanPipeline(
        transformer=transformer,
        vae=AutoencoderKLWan(base_dim=48),
        text_encoder=_t5("UMT5"),
        tokenizer=t5_tokenizer(256),
        scheduler=FlowMatchEulerDiscreteScheduler(shift=7.0),
    )


PIPELINES: dict[str, Callable[[], Any]] = {"sd": _sd, "sdxl": _sdxl, "flux": _flux, "pixart": _pixart, "wan": _wan}
