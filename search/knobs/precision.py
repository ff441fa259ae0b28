"""Precision: the number format that the pipeline computes in."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from .knob import Choices, Knob, Setting

if TYPE_CHECKING:
    from ..recipe import Choice
    from .knob import Bench


AMPERE = (8, 0)


def refuses(choice: Choice, setting: Setting) -> str | None:
    """Half precision on a CPU is emulated, or missing, operator by operator; bf16 and TF32 came with Ampere."""
    if setting.device == "cpu" and choice == "fp16":
        return "a CPU has no fp16 arithmetic for all that a pipeline needs; bf16 is the one to use"
    if choice == "tf32" or (choice == "bf16" and setting.device == "cuda"):
        return setting.incapable(AMPERE)
    return None


def loads(choices: Choices, bench: Bench) -> dict[str, Any]:
    """Load the weights in the format they are computed in.

    OpenVINO is the exception: it converts from fp32 and is told the format when it compiles.
    """
    del bench
    return {"dtype": dtype_of(choices)}


def dtype_of(choices: Choices) -> Any:
    """Return the format that weights are loaded in."""
    import torch

    if choices["compile"] == "openvino" or choices["precision"] == "tf32":
        return torch.float32
    return {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}[str(choices["precision"])]


def apply(pipe: Any, choices: Choices, bench: Bench) -> None:
    """Allow TF32, for the whole process: fp32 numbers whose products are made of 19 bits.

    Source: https://docs.pytorch.org/docs/stable/notes/cuda.html (TensorFloat-32)
    """
    del pipe, bench
    if choices["precision"] == "tf32":
        import torch

        torch.backends.cuda.matmul.allow_tf32 = True
        torch.backends.cudnn.allow_tf32 = True


PRECISION = Knob(
    name="precision",
    says="the number format that the pipeline computes in",
    choices=("fp32", "bf16", "fp16", "tf32"),
    default="fp32",
    source="https://huggingface.co/docs/diffusers/optimization/fp16",
    refuses=refuses,
    loads=loads,
    apply=apply,
)
