"""Recipes that did well where others measured: tried first, best first, as far as a space allows them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from .recipe import Choice, Recipe

if TYPE_CHECKING:
    from .knobs import Choices
    from .space import SearchSpace

KNOWN_GOOD: tuple[tuple[dict[str, Choice], str], ...] = (
    # CPU: one forward of an SD 1.5-sized UNet, times fp32 eager: 1.9 with bf16, 5.1 with int8 under OpenVINO
    ({"compile": "openvino", "precision": "bf16"}, "OpenVINO, bf16 hint"),
    ({"compile": "openvino", "precision": "bf16", "guidance_cutoff": 0.5}, "half of the steps without guidance"),
    ({"compile": "openvino", "precision": "bf16", "quantization": "nncf_int8"}, "OpenVINO and NNCF int8"),
    (
        {"compile": "openvino", "precision": "bf16", "quantization": "nncf_int8", "guidance_cutoff": 0.5},
        "all of these",
    ),
    ({"compile": "openvino", "precision": "bf16", "tome_ratio": 0.25}, "OpenVINO, a quarter of the tokens merged"),
    ({"compile": "openvino"}, "OpenVINO in fp32, where bf16 is emulated"),
    # GPU: the ladder of https://github.com/huggingface/diffusion-fast, and what fits small cards
    ({"precision": "bf16", "compile": "full", "vae_compile": True}, "diffusion-fast: bf16 and torch.compile"),
    (
        {"precision": "bf16", "compile": "full", "vae_compile": True, "quantization": "torchao_int8_dynamic_wide"},
        "diffusion-fast: and dynamic int8, where layers are wide",
    ),
    (
        {"precision": "bf16", "compile": "full", "vae_compile": True, "quantization": "torchao_fp8_dynamic_row"},
        "https://github.com/sayakpaul/diffusers-torchao: fp8 by rows, from Ada on",
    ),
    ({"precision": "bf16", "compile": "regional"}, "https://huggingface.co/docs/diffusers/optimization/fp16"),
    ({"precision": "fp16", "compile": "full"}, "cards before Ampere"),
    ({"precision": "bf16"}, "https://huggingface.co/docs/diffusers/optimization/fp16"),
    ({"precision": "bf16", "offload": "model"}, "https://huggingface.co/docs/diffusers/optimization/memory"),
    ({"precision": "bf16", "quantization": "bnb_nf4", "offload": "model"}, "hf quantization backends on Flux"),
    (
        {"precision": "bf16", "offload": "group_leaf_stream"},
        "https://huggingface.co/docs/diffusers/optimization/memory",
    ),
)
"""Choices, and where they are known from."""


PROMISING: tuple[tuple[str, Choice], ...] = (
    # published or measured gains of one turn alone, the largest first; what is not here is tried after them
    ("compile", "openvino"),
    ("feature_cache", "deepcache_3"),
    ("feature_cache", "cache_dit_0.24"),
    ("feature_cache", "first_block_0.08"),
    ("compile", "full"),
    ("compile", "regional"),
    ("precision", "bf16"),
    ("quantization", "nncf_int8"),
    ("guidance_cutoff", 0.5),
    ("quantization", "torchao_fp8_dynamic_row"),
    ("quantization", "torchao_int8_dynamic_wide"),
    ("quantization", "torchao_int8_dynamic"),
    ("tome_ratio", 0.5),
    ("tome_ratio", 0.25),
    ("guidance_cutoff", 0.75),
    ("memory_format", "channels_last"),
    ("fuse_qkv", True),
)
"""Turns that are tried first beside the best recipe: from diffusion-fast, the papers, and this project's own grid."""


def promise(turn: tuple[str, Choice], choices: Choices) -> int:
    """Return a rank for turning a knob of a recipe to a choice: the higher, the sooner it is worth a trial.

    What is quantized at each call comes last where nothing is compiled: quantizing is many small operations, which only
    a compiler makes one of. On a CPU a UNet's forward took 15.6 s so and 4.0 s in plain bf16; compiled, 3.6 s.
    """
    if turn[0] == "quantization" and "dynamic" in str(turn[1]) and choices.get("compile") == "none":
        return -1
    return len(PROMISING) - PROMISING.index(turn) if turn in PROMISING else 0


def portfolio(space: SearchSpace, device: str) -> list[Recipe]:
    """Return the known good recipes that the space allows, in order; inductor's come last on a CPU.

    There a compilation takes most of a minute and its gain over OpenVINO has not been seen. fp16 is for cards without
    bf16: on others it is as fast and overflows sooner.
    """
    recipes = [Recipe(turned=dict(turned)) for turned, _ in KNOWN_GOOD]
    allowed = [recipe for recipe in recipes if recipe in space]
    if "bf16" in space.choices.get("precision", ()):
        allowed = [recipe for recipe in allowed if recipe.turned.get("precision") != "fp16"]
    if device == "cpu":
        allowed.sort(key=lambda recipe: recipe.turned.get("compile") in {"full", "regional"})
    return allowed
