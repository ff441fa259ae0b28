"""Offload: weights wait in RAM and visit the accelerator when they are needed."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from .knob import Choices, Knob, Setting

if TYPE_CHECKING:
    from ..recipe import Choice
    from .knob import Bench


def refuses(choice: Choice, setting: Setting) -> str | None:
    """Offloading has a meaning only where there is a second memory to offload from."""
    if choice != "none" and setting.device in {"cpu", "mps"}:
        return f"offload moves weights between RAM and an accelerator's own memory, which the {setting.device} has not"
    return None


def apply(pipe: Any, choices: Choices, bench: Bench) -> None:
    """Hook the pipeline's components so that they move by themselves.

    Not run on the maintainers' machines yet, which have no accelerator.
    Source: https://huggingface.co/docs/diffusers/optimization/memory
    """
    import torch

    if choices["offload"] == "model":
        pipe.enable_model_cpu_offload(device=bench.device)
    elif choices["offload"] == "sequential":
        pipe.enable_sequential_cpu_offload(device=bench.device)
    else:
        pipe.enable_group_offload(
            onload_device=torch.device(bench.device),
            offload_device=torch.device("cpu"),
            offload_type="leaf_level",
            use_stream=bench.device == "cuda",
        )


OFFLOAD = Knob(
    name="offload",
    says="which parts wait in RAM until the accelerator needs them",
    choices=("none", "model", "group", "sequential"),
    default="none",
    source="https://huggingface.co/docs/diffusers/optimization/memory",
    refuses=refuses,
    apply=apply,
)
