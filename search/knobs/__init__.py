"""All knobs, in the order in which they are turned on a pipeline."""

from __future__ import annotations

from .allocator import ALLOCATOR
from .attention import ATTENTION
from .compile import COMPILE
from .compile_shapes import COMPILE_SHAPES
from .feature_cache import FEATURE_CACHE
from .fuse_qkv import FUSE_QKV
from .guidance import GUIDANCE_CUTOFF
from .huge_pages import HUGE_PAGES
from .knob import Bench, Choices, Knob, Setting
from .lcm_lora import LCM_LORA
from .lora import LORA
from .memory_format import MEMORY_FORMAT
from .offload import OFFLOAD
from .precision import PRECISION
from .quantization import QUANTIZATION
from .small_denoiser import SMALL_DENOISER
from .text_encoder_quantization import TEXT_ENCODER_QUANTIZATION
from .threads import THREADS
from .tiny_vae import TINY_VAE
from .tome import TOME_RATIO
from .vae_compile import VAE_COMPILE
from .vae_precision import VAE_PRECISION
from .vae_quantization import VAE_QUANTIZATION
from .vae_tiling import VAE_TILING

KNOBS: tuple[Knob, ...] = (
    TINY_VAE,
    SMALL_DENOISER,
    LCM_LORA,
    LORA,
    PRECISION,
    VAE_PRECISION,
    THREADS,
    ALLOCATOR,
    HUGE_PAGES,
    MEMORY_FORMAT,
    FUSE_QKV,
    ATTENTION,
    QUANTIZATION,
    TEXT_ENCODER_QUANTIZATION,
    VAE_QUANTIZATION,
    TOME_RATIO,
    FEATURE_CACHE,
    VAE_TILING,
    OFFLOAD,
    COMPILE_SHAPES,
    COMPILE,
    GUIDANCE_CUTOFF,
    VAE_COMPILE,
)

__all__ = ["KNOBS", "Bench", "Choices", "Knob", "Setting"]
