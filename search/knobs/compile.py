"""Compile: who turns the denoiser and the decoder into machine code."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from . import deepcache, openvino
from .knob import Bench, Choices, Knob, Setting

if TYPE_CHECKING:
    from ..recipe import Choice

REGIONAL_CLASSES = (
    "UNet2DConditionModel",
    "FluxTransformer2DModel",
    "WanTransformer3DModel",
    "QwenImageTransformer2DModel",
)
"""Denoisers that declare their repeated blocks; the others raise (diffusers 0.42, `_repeated_blocks`)."""


CUDA_MODES = {"reduce_overhead": "reduce-overhead", "max_autotune": "max-autotune"}
"""Modes of `torch.compile` beside the default: CUDA graphs, and the fastest of many kernels by trial."""


def refuses(choice: Choice, setting: Setting) -> str | None:
    """Inductor needs a C++ compiler on a CPU, regions need a model that names its blocks, OpenVINO a CPU."""
    if choice == "openvino":
        if setting.device != "cpu":
            return "autotune uses OpenVINO for the CPU"
        return setting.lacks("openvino", "cpu")
    if choice != "none" and setting.device == "cpu" and not setting.machine.software.cxx_compiler:
        return "inductor needs a C++ compiler for the CPU, and none was found (Debian: apt install g++ python3-dev)"
    if choice in CUDA_MODES and setting.device != "cuda":
        return f"{choice} is about CUDA graphs and kernels, and this is {setting.device}"
    if choice == "regional" and setting.card.denoiser.class_name not in REGIONAL_CLASSES:
        return f"{setting.card.denoiser.class_name} does not name its repeated blocks"
    return None


def loads(choices: Choices, bench: Bench) -> dict[str, Any]:
    """What OpenVINO runs need not be loaded by torch as well."""
    return openvino.loads(choices, bench) if choices["compile"] == "openvino" else {}


def apply(pipe: Any, choices: Choices, bench: Bench) -> None:
    """Compile in place; the first call then takes the time of compiling.

    Source: https://huggingface.co/docs/diffusers/optimization/fp16 (torch.compile, regional compilation)
    """
    if choices["compile"] == "openvino":
        openvino.apply(pipe, choices, bench)
        return
    denoiser = getattr(pipe, bench.card.denoiser.name)
    if choices["compile"] == "regional":
        denoiser.compile_repeated_blocks()
    else:
        mode = CUDA_MODES.get(str(choices["compile"]))
        for module in (*deepcache.halves(denoiser), pipe.vae.decoder):
            module.compile(mode=mode)


def builds(choices: Choices, bench: Bench) -> None:
    """Convert for OpenVINO ahead of the trial; inductor keeps its own cache."""
    if choices["compile"] == "openvino":
        openvino.build(choices, bench)


COMPILE = Knob(
    name="compile",
    says="inductor on the repeated blocks (regional) or on everything (full and its modes), or OpenVINO",
    choices=("none", "regional", "full", *CUDA_MODES, "openvino"),
    default="none",
    source="https://huggingface.co/docs/diffusers/optimization/fp16",
    refuses=refuses,
    loads=loads,
    apply=apply,
    builds=builds,
)
