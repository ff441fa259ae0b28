"""Small pipelines of the real classes, with random weights: one for each kind of denoiser that people run.

`python -m autotune.search.verify.architectures NAME FOLDER` writes one. As a process of its own, because the libraries
talk while they are imported, and because whoever wants the folder need not have torch in memory.

Wide enough that every kernel and every quantization finds its groups of channels, deep enough that blocks repeat, and
otherwise as small as can be: a call takes a tenth of a second on a CPU. Made from configuration classes alone, so that
nothing is downloaded.
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ...errors import TechniqueMissingError
from ..trial.process import trial_environment
from ..workload import Workload

WIDTH = 64  # of every hidden layer: divisible by the groups of each quantization that has small ones
IMAGE = Workload(width=32, height=32, steps=12, guidance=4.0)
VIDEO = Workload(width=32, height=32, steps=12, guidance=4.0, frames=5)


@dataclass(frozen=True)
class Architecture:
    """A kind of pipeline: `build` makes a small one, `workload` is a call of it."""

    name: str
    pipeline_class: str
    build: Callable[[], Any]
    workload: Workload = IMAGE

    def write(self, folder: Path) -> Path:
        """Let a process write it into a folder in diffusers format, the same weights each time.

        Raises TechniqueMissingError where the installed libraries cannot make it.
        """
        command = [sys.executable, "-m", __name__, self.name, str(folder)]
        done = subprocess.run(command, env=trial_environment(), capture_output=True, text=True, check=False)
        if done.returncode:
            last = (done.stderr.strip().splitlines() or ["no reason was given"])[-1]
            msg = f"The small {self.name} pipeline cannot be made with the installed diffusers: {last}"
            raise TechniqueMissingError(msg)
        return folder

    def save(self, folder: Path) -> Path:
        """Write it, in this process."""
        import torch

        torch.manual_seed(0)
        pipe = self.build()
        _break_symmetry(pipe)
        pipe.save_pretrained(folder, safe_serialization=True)
        return folder


def _break_symmetry(pipe: Any) -> None:
    """Give weights to what is initialised to zero: an output that is zero would hide whatever is done to a model."""
    import torch

    denoiser = getattr(pipe, "unet", None) or pipe.transformer
    for parameter in denoiser.parameters():
        if not parameter.any():
            torch.nn.init.normal_(parameter, std=0.05)


def _clip_tokenizer() -> Any:
    from ...shapes.vocabulary import tokenizer

    return tokenizer()


def _clip(*, projection: bool = False) -> Any:
    from transformers import CLIPTextConfig, CLIPTextModel, CLIPTextModelWithProjection

    from ...shapes.vocabulary import MAX_TOKENS

    words = _clip_tokenizer()
    config = CLIPTextConfig(
        vocab_size=len(words),
        hidden_size=WIDTH,
        intermediate_size=2 * WIDTH,
        projection_dim=WIDTH,
        num_hidden_layers=2,
        num_attention_heads=2,
        max_position_embeddings=MAX_TOKENS,
        eos_token_id=words.eos_token_id,
        pad_token_id=words.pad_token_id,
    )
    return CLIPTextModelWithProjection(config) if projection else CLIPTextModel(config)


def t5_tokenizer(tokens: int = 16) -> Any:
    """Return a tokenizer of letters, for texts of up to so many tokens."""
    from transformers import T5TokenizerFast

    letters = [(letter, -2.0) for letter in "abcdefghijklmnopqrstuvwxyz"]
    return T5TokenizerFast(
        vocab=[("<pad>", 0.0), ("</s>", 0.0), ("<unk>", 0.0), ("\u2581", -1.0), *letters],
        extra_ids=0,
        model_max_length=tokens,
    )


def _t5(width: int = WIDTH, kind: str = "T5") -> Any:
    import transformers

    config = getattr(transformers, f"{kind}Config")(
        vocab_size=64, d_model=width, d_kv=32, d_ff=2 * WIDTH, num_layers=2, num_heads=2, decoder_start_token_id=0
    )
    return getattr(transformers, f"{kind}EncoderModel")(config)


def _vae(channels: int, **more: Any) -> Any:
    from diffusers import AutoencoderKL

    return AutoencoderKL(
        block_out_channels=(16, 32),
        down_block_types=("DownEncoderBlock2D",) * 2,
        up_block_types=("UpDecoderBlock2D",) * 2,
        latent_channels=channels,
        norm_num_groups=4,
        sample_size=32,
        **more,
    )


def _unet(**more: Any) -> Any:
    from diffusers import UNet2DConditionModel

    shape = {
        "sample_size": 16,
        "layers_per_block": 1,
        "block_out_channels": (32, WIDTH),
        "cross_attention_dim": WIDTH,
        "norm_num_groups": 4,
        "down_block_types": ("CrossAttnDownBlock2D", "DownBlock2D"),
        "up_block_types": ("UpBlock2D", "CrossAttnUpBlock2D"),
        "attention_head_dim": 2,
    }
    return UNet2DConditionModel(**{**shape, **more})


def _sd() -> Any:
    from diffusers import DDIMScheduler, StableDiffusionPipeline

    return StableDiffusionPipeline(
        vae=_vae(4),
        text_encoder=_clip(),
        tokenizer=_clip_tokenizer(),
        unet=_unet(),
        scheduler=DDIMScheduler(),
        safety_checker=None,
        feature_extractor=None,
        requires_safety_checker=False,
    )


def _sdxl() -> Any:
    from diffusers import EulerDiscreteScheduler, StableDiffusionXLPipeline

    unet = _unet(
        down_block_types=("DownBlock2D", "CrossAttnDownBlock2D"),
        up_block_types=("CrossAttnUpBlock2D", "UpBlock2D"),
        use_linear_projection=True,
        addition_embed_type="text_time",
        addition_time_embed_dim=8,
        transformer_layers_per_block=(1, 2),
        projection_class_embeddings_input_dim=WIDTH + 6 * 8,
        cross_attention_dim=2 * WIDTH,
    )
    return StableDiffusionXLPipeline(
        vae=_vae(4),
        text_encoder=_clip(),
        text_encoder_2=_clip(projection=True),
        tokenizer=_clip_tokenizer(),
        tokenizer_2=_clip_tokenizer(),
        unet=unet,
        scheduler=EulerDiscreteScheduler(),
        add_watermarker=False,
    )


def _sd3() -> Any:
    from diffusers import FlowMatchEulerDiscreteScheduler, SD3Transformer2DModel, StableDiffusion3Pipeline

    transformer = SD3Transformer2DModel(
        sample_size=16,
        in_channels=4,
        out_channels=4,
        num_layers=3,
        attention_head_dim=32,
        num_attention_heads=2,
        caption_projection_dim=WIDTH,
        joint_attention_dim=2 * WIDTH,
        pooled_projection_dim=2 * WIDTH,
        pos_embed_max_size=16,
    )
    return StableDiffusion3Pipeline(
        transformer=transformer,
        vae=_vae(4, use_quant_conv=False, use_post_quant_conv=False, shift_factor=0.06),
        text_encoder=_clip(projection=True),
        tokenizer=_clip_tokenizer(),
        text_encoder_2=_clip(projection=True),
        tokenizer_2=_clip_tokenizer(),
        text_encoder_3=_t5(2 * WIDTH),
        tokenizer_3=t5_tokenizer(),
        scheduler=FlowMatchEulerDiscreteScheduler(),
    )


def _flux() -> Any:
    from diffusers import FlowMatchEulerDiscreteScheduler, FluxPipeline, FluxTransformer2DModel

    transformer = FluxTransformer2DModel(
        in_channels=16,
        num_layers=2,
        num_single_layers=2,
        attention_head_dim=32,
        num_attention_heads=2,
        joint_attention_dim=WIDTH,
        pooled_projection_dim=WIDTH,
        guidance_embeds=True,
        axes_dims_rope=(8, 12, 12),
    )
    return FluxPipeline(
        transformer=transformer,
        vae=_vae(4, use_quant_conv=False, use_post_quant_conv=False, shift_factor=0.06),
        text_encoder=_clip(),
        tokenizer=_clip_tokenizer(),
        text_encoder_2=_t5(),
        tokenizer_2=t5_tokenizer(),
        scheduler=FlowMatchEulerDiscreteScheduler(),
    )


def _pixart() -> Any:
    from diffusers import DPMSolverMultistepScheduler, PixArtSigmaPipeline, PixArtTransformer2DModel

    transformer = PixArtTransformer2DModel(
        sample_size=16,
        num_layers=3,
        in_channels=4,
        out_channels=8,
        attention_head_dim=32,
        num_attention_heads=2,
        cross_attention_dim=WIDTH,
        caption_channels=WIDTH,
        norm_type="ada_norm_single",
        use_additional_conditions=False,
    )
    return PixArtSigmaPipeline(
        transformer=transformer,
        vae=_vae(4),
        text_encoder=_t5(),
        tokenizer=t5_tokenizer(),
        scheduler=DPMSolverMultistepScheduler(),
    )


def _sana() -> Any:
    from diffusers import AutoencoderDC, DPMSolverMultistepScheduler, SanaPipeline, SanaTransformer2DModel

    transformer = SanaTransformer2DModel(
        in_channels=4,
        out_channels=4,
        num_layers=3,
        num_attention_heads=2,
        attention_head_dim=32,
        num_cross_attention_heads=2,
        cross_attention_head_dim=32,
        cross_attention_dim=WIDTH,
        caption_channels=WIDTH,
        sample_size=16,
    )
    vae = AutoencoderDC(
        latent_channels=4,
        attention_head_dim=4,
        encoder_block_types=("ResBlock", "EfficientViTBlock"),
        decoder_block_types=("ResBlock", "EfficientViTBlock"),
        encoder_block_out_channels=(16, 16),
        decoder_block_out_channels=(16, 16),
        encoder_qkv_multiscales=((), (5,)),
        decoder_qkv_multiscales=((), (5,)),
        encoder_layers_per_block=(1, 1),
        decoder_layers_per_block=(1, 1),
        downsample_block_type="conv",
        upsample_block_type="interpolate",
        decoder_norm_types="rms_norm",
        decoder_act_fns="silu",
        scaling_factor=0.41407,
    )
    return SanaPipeline(
        transformer=transformer,
        vae=vae,
        text_encoder=_gemma(),
        tokenizer=_gemma_tokenizer(),
        scheduler=DPMSolverMultistepScheduler(prediction_type="flow_prediction", use_flow_sigmas=True),
    )


def _gemma_tokenizer() -> Any:
    from transformers import GemmaTokenizerFast

    pieces = ["<pad>", "<eos>", "<bos>", "<unk>", "\u2581", *"abcdefghijklmnopqrstuvwxyz"]
    return GemmaTokenizerFast(
        vocab={piece: place for place, piece in enumerate(pieces)}, merges=[], model_max_length=16
    )


def _gemma() -> Any:
    from transformers import Gemma2Config, Gemma2Model

    return Gemma2Model(
        Gemma2Config(
            vocab_size=64,
            hidden_size=WIDTH,
            intermediate_size=2 * WIDTH,
            num_hidden_layers=2,
            num_attention_heads=2,
            num_key_value_heads=2,
            head_dim=32,
        )
    )


def _wan() -> Any:
    from diffusers import AutoencoderKLWan, FlowMatchEulerDiscreteScheduler, WanPipeline, WanTransformer3DModel

    transformer = WanTransformer3DModel(
        num_attention_heads=2,
        attention_head_dim=32,
        in_channels=16,
        out_channels=16,
        text_dim=WIDTH,
        freq_dim=64,
        ffn_dim=2 * WIDTH,
        num_layers=3,
        rope_max_seq_len=32,
    )
    vae = AutoencoderKLWan(
        base_dim=4, z_dim=16, dim_mult=[1, 1, 1, 1], num_res_blocks=1, temperal_downsample=[False, True, True]
    )
    return WanPipeline(
        transformer=transformer,
        vae=vae,
        text_encoder=_t5(kind="UMT5"),
        tokenizer=t5_tokenizer(),
        scheduler=FlowMatchEulerDiscreteScheduler(shift=7.0),
    )


def _ltx() -> Any:
    from diffusers import (
        AutoencoderKLLTXVideo,
        FlowMatchEulerDiscreteScheduler,
        LTXPipeline,
        LTXVideoTransformer3DModel,
    )

    transformer = LTXVideoTransformer3DModel(
        in_channels=8,
        out_channels=8,
        num_attention_heads=2,
        attention_head_dim=32,
        cross_attention_dim=WIDTH,
        num_layers=3,
        caption_channels=WIDTH,
    )
    vae = AutoencoderKLLTXVideo(
        latent_channels=8,
        block_out_channels=(8, 8, 8, 8),
        decoder_block_out_channels=(8, 8, 8, 8),
        layers_per_block=(1, 1, 1, 1, 1),
        decoder_layers_per_block=(1, 1, 1, 1, 1),
        spatio_temporal_scaling=(True, True, False, False),
        decoder_spatio_temporal_scaling=(True, True, False, False),
        patch_size=1,
    )
    return LTXPipeline(
        transformer=transformer,
        vae=vae,
        text_encoder=_t5(),
        tokenizer=t5_tokenizer(),
        scheduler=FlowMatchEulerDiscreteScheduler(),
    )


ARCHITECTURES: tuple[Architecture, ...] = (
    Architecture("sd", "StableDiffusionPipeline", _sd),
    Architecture("sdxl", "StableDiffusionXLPipeline", _sdxl),
    Architecture("flux", "FluxPipeline", _flux),
    Architecture("sd3", "StableDiffusion3Pipeline", _sd3),
    Architecture("pixart", "PixArtSigmaPipeline", _pixart),
    Architecture("sana", "SanaPipeline", _sana),
    Architecture("wan", "WanPipeline", _wan, VIDEO),
    Architecture("ltx", "LTXPipeline", _ltx, VIDEO),
)


def main(name: str, folder: str) -> None:
    """Write the architecture of that name into a folder."""
    next(each for each in ARCHITECTURES if each.name == name).save(Path(folder))


if __name__ == "__main__":
    main(*sys.argv[1:])
