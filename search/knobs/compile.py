"""Compile: who turns the denoiser into machine code."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from . import inductor, openvino
from .knob import Bench, Choices, Knob, Setting

if TYPE_CHECKING:
    from ..recipe import Choice


UNCONVERTED = ("WanTransformer3DModel",)
"""Denoisers of pipelines of which OpenVINO 2026.4 does not convert some part: `None constant cannot be converted`."""


def refuses(choice: Choice, setting: Setting) -> str | None:
    """Inductor needs a C++ compiler on a CPU, regions need a model whose blocks are known, OpenVINO a CPU."""
    if choice == "openvino":
        if setting.device != "cpu":
            return "autotune uses OpenVINO for the CPU"
        if setting.card.denoiser.class_name in UNCONVERTED:
            return f"OpenVINO does not convert the pipeline of a {setting.card.denoiser.class_name} (seen by running)"
        return setting.lacks("openvino", "cpu")
    if choice in inductor.MODES and setting.device != "cuda":
        return f"{choice} is about CUDA graphs and kernels, and this is {setting.device}"
    class_name = setting.card.denoiser.class_name
    if choice == "regional" and not inductor.regions_of(class_name):
        return f"it is not known which blocks a {class_name} repeats"
    return inductor.lacks_compiler(setting)


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
    card, shapes = bench.card.denoiser, str(choices["compile_shapes"])
    if choices["compile"] == "regional":
        inductor.compile_regions(getattr(pipe, card.name), card.class_name, shapes)
    else:
        inductor.compile_whole(getattr(pipe, card.name), inductor.MODES.get(str(choices["compile"])), shapes)


def builds(choices: Choices, bench: Bench) -> None:
    """Convert for OpenVINO ahead of the trial; what inductor compiled is kept after the first call."""
    if choices["compile"] == "openvino":
        openvino.build(choices, bench)


COMPILE = Knob(
    name="compile",
    says="inductor on the denoiser's repeated blocks (regional) or on all of it (full and its modes), or OpenVINO",
    choices=("none", "regional", "full", *inductor.MODES, "openvino"),
    default="none",
    source="https://huggingface.co/docs/diffusers/optimization/fp16",
    refuses=refuses,
    loads=loads,
    apply=apply,
    builds=builds,
)
