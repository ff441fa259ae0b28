"""Precision: the number format that the pipeline computes in."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from .knob import Choices, Knob, Setting

if TYPE_CHECKING:
    from ..recipe import Choice
    from .knob import Bench


def refuses(choice: Choice, setting: Setting) -> str | None:
    """Half precision on a CPU is emulated, or missing, operator by operator; on GPUs bf16 came with Ampere."""
    if setting.device == "cpu" and choice == "fp16":
        return "a CPU has no fp16 arithmetic for all that a pipeline needs; bf16 is the one to use"
    for accelerator in setting.machine.accelerators:
        capability = accelerator.compute_capability
        if choice == "bf16" and setting.device == "cuda" and capability and capability < (8, 0):
            return f"bf16 needs compute capability 8.0; {accelerator.name} has {capability[0]}.{capability[1]}"
    return None


def loads(choices: Choices, bench: Bench) -> dict[str, Any]:
    """Load the weights in the format they are computed in.

    OpenVINO is the exception: it converts from fp32 and is told the format when it compiles.
    """
    del bench
    import torch

    if choices["compile"] == "openvino":
        return {"dtype": torch.float32}
    return {"dtype": {"bf16": torch.bfloat16, "fp16": torch.float16}[str(choices["precision"])]}


PRECISION = Knob(
    name="precision",
    says="the number format that the pipeline computes in",
    choices=("fp32", "bf16", "fp16"),
    default="fp32",
    source="https://huggingface.co/docs/diffusers/optimization/fp16",
    refuses=refuses,
    loads=loads,
)
