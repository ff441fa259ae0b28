"""What benchmarks/gpu.py measures: the models, the steps that others published, and the recipes for each question."""

from __future__ import annotations

from dataclasses import dataclass

from autotune.search.recipe import Choice

Turns = dict[str, Choice]


@dataclass(frozen=True)
class Subject:
    """A model at the size that others published: `small` is the pipeline of its classes that stands in for it."""

    name: str
    small: str
    steps: int


FLUX = Subject("flux-dev", "flux", 28)
SDXL = Subject("sdxl", "sdxl", 30)
SD15 = Subject("sd15", "sd", 30)
VIDEO = Subject("wan21-1.3b", "wan", 30)

BF16: Turns = {"precision": "bf16"}
COMPILED: Turns = {**BF16, "memory_format": "channels_last", "compile": "full", "vae_compile": True}


@dataclass(frozen=True)
class Step:
    """A step of a ladder: published_s is what others measured of a call, on `device`, where they did."""

    says: str
    turned: Turns
    published_s: float | None = None


SDXL_LADDER = (
    Step("fp32, without SDPA", {"attention": "eager"}, 7.36),
    Step("bf16, without SDPA", {**BF16, "attention": "eager"}, 4.63),
    Step("bf16", BF16, 3.31),
    Step("and compiled", COMPILED, 2.54),
    Step("and fused QKV", {**COMPILED, "fuse_qkv": True}, 2.52),
    Step("and dynamic int8", {**COMPILED, "fuse_qkv": True, "quantization": "torchao_int8_dynamic_wide"}, 2.43),
    Step("and the fastest of many kernels", {**COMPILED, "compile": "max_autotune"}),
    Step("and fp8 by rows", {**COMPILED, "quantization": "torchao_fp8_dynamic_row"}),
    Step("fp32, as diffusers makes it", {}),
)
"""On an A100: https://github.com/huggingface/diffusion-fast. The last two numbers need no such card."""

FLUX_LADDER = (
    Step("bf16", BF16, 6.57),
    Step("and compiled", {**BF16, "compile": "full", "vae_compile": True}, 4.21),
    Step(
        "and fp8 by rows",
        {**BF16, "compile": "full", "vae_compile": True, "quantization": "torchao_fp8_dynamic_row"},
        2.97,
    ),
    Step(
        "and what blocks gave before",
        {
            **BF16,
            "compile": "regional",
            "vae_compile": True,
            "quantization": "torchao_fp8_dynamic_row",
            "feature_cache": "first_block_0.08",
        },
    ),
    Step("compiled by blocks", {**BF16, "compile": "regional", "vae_compile": True}),
    Step("and the fastest of many kernels", {**BF16, "compile": "max_autotune", "vae_compile": True}),
    Step(
        "and fp8 by tensors",
        {**BF16, "compile": "full", "vae_compile": True, "quantization": "torchao_fp8_dynamic"},
    ),
)
"""On an H100: https://github.com/sayakpaul/diffusers-torchao"""

PLACES = (
    Step("all on the GPU", BF16),
    Step("int8 weights", {**BF16, "quantization": "torchao_int8_weight_only"}),
    Step("fp8 weights", {**BF16, "quantization": "torchao_fp8_weight_only"}),
    Step("int4 weights", {**BF16, "quantization": "torchao_int4_weight_only"}),
    Step("nf4 weights", {**BF16, "quantization": "bnb_nf4", "text_encoder_quantization": "bnb_nf4"}),
    Step("fp8 storage", {**BF16, "quantization": "fp8_storage"}),
    Step("VAE in tiles", {**BF16, "vae_tiling": "tiling"}),
    Step("one part at a time", {**BF16, "offload": "model"}),
    Step("one block at a time", {**BF16, "offload": "group_block"}),
    Step("one layer at a time, and the next on its way", {**BF16, "offload": "group_leaf_stream"}),
    Step("one layer at a time, little RAM", {**BF16, "offload": "group_leaf_low_ram"}),
    Step("one layer at a time", {**BF16, "offload": "sequential"}),
)
"""Where weights lie and in which format: what each takes of the GPU's memory, and of the time."""

CARDS_GIB = (8, 12, 16, 24)
"""Memories that people have; one GPU with more stands in for them, by the limit of the allocator."""
