"""What inductor compiles: of a denoiser the whole, or its repeated blocks one by one; and how.

Blocks of one class share their code, so that the first is compiled and the others find it done: a model of thirty
layers is compiled in the time of one. What diffusers' classes call repeated is taken; of a class that names nothing,
the blocks that it says must stay whole; of one that does not say that either, a list from its source.

Source: https://huggingface.co/docs/diffusers/optimization/fp16 (regional compilation);
https://docs.pytorch.org/tutorials/recipes/regional_compilation.html
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ...errors import UnfitError
from ...probes.classes import abilities
from . import deepcache

if TYPE_CHECKING:
    from .knob import Setting

MODES = {
    "reduce_overhead": "reduce-overhead",
    "max_autotune": "max-autotune",
    "max_autotune_no_cudagraphs": "max-autotune-no-cudagraphs",
}
"""Modes of `torch.compile` beside the default: CUDA graphs, the fastest of many kernels by trial, and that alone."""

NAMELESS = {
    "AceStepTransformer1DModel": ("AceStepTransformerBlock",),
    "AllegroTransformer3DModel": ("AllegroTransformerBlock",),
    "BriaTransformer2DModel": ("BriaTransformerBlock", "BriaSingleTransformerBlock"),
    "ConsisIDTransformer3DModel": ("ConsisIDBlock",),
    "DiTTransformer2DModel": ("BasicTransformerBlock",),
    "HunyuanDiT2DModel": ("HunyuanDiTBlock",),
    "LatteTransformer3DModel": ("BasicTransformerBlock",),
    "LuminaNextDiT2DModel": ("LuminaNextDiTBlock",),
    "PRXTransformer2DModel": ("PRXBlock",),
    "PriorTransformer": ("BasicTransformerBlock",),
    "StableAudioDiTModel": ("StableAudioDiTBlock",),
    "UNet3DConditionModel": ("BasicTransformerBlock",),
    "UNetMotionModel": ("BasicTransformerBlock",),
    "UNetSpatioTemporalConditionModel": ("BasicTransformerBlock", "TemporalBasicTransformerBlock"),
}
"""The repeated blocks of classes that name none. Source: diffusers 0.42, models/transformers and models/unets."""

SHAPES = {"automatic": None, "static": False, "dynamic": True}
"""What torch calls each: it begins with fixed shapes and gives up those that change; never; from the start."""

MOST_REGIONS = 64  # shapes and kinds of one block; torch alone gives up after 8, and runs the rest uncompiled


def regions_of(class_name: str) -> tuple[str, ...]:
    """Return the classes of the blocks that a denoiser repeats; empty where none are known."""
    can = abilities(class_name)
    whole = tuple(dict.fromkeys(name for name in can.whole_blocks if "Block" in name))
    return can.repeated_blocks or whole or NAMELESS.get(class_name, ())


def lacks_compiler(setting: Setting) -> str | None:
    """Return why inductor cannot compile in a setting, None where it can."""
    if setting.device == "cpu" and not setting.machine.software.cxx_compiler:
        return "inductor needs a C++ compiler for the CPU, and none was found (Debian: apt install g++ python3-dev)"
    return None


def compile_whole(denoiser: Any, mode: str | None, shapes: str) -> None:
    """Compile everything that runs when the denoiser is called, in place."""
    _allow(shapes)
    for module in deepcache.halves(denoiser):
        module.compile(mode=mode, dynamic=SHAPES[shapes])


def compile_regions(denoiser: Any, class_name: str, shapes: str) -> None:
    """Compile the repeated blocks in place, wherever they lie. Raises UnfitError if this denoiser has none.

    Not with `fullgraph`: that compiles nothing more, and only forbids what cannot be one graph.
    """
    import torch

    regions = regions_of(class_name)
    found = [module for module in denoiser.modules() if type(module).__name__ in regions]
    if not found:
        msg = f"The {class_name} has no {' or '.join(regions)}, so that there is no region to compile."
        raise UnfitError(msg)
    _allow(shapes)
    torch._dynamo.config.recompile_limit = max(MOST_REGIONS, torch._dynamo.config.recompile_limit)  # noqa: SLF001
    for module in found:
        module.compile(dynamic=SHAPES[shapes])


def _allow(shapes: str) -> None:
    """Let two sizes that are equal by chance differ later, as diffusers' guide has it for dynamic shapes."""
    if shapes == "dynamic":
        import torch

        torch.fx.experimental._config.use_duck_shape = False  # noqa: SLF001
