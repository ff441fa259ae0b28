"""LCM LoRA: an adapter that makes a few unguided steps do, where the user allows the model to be changed."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

from .knob import Bench, Choices, Knob, Setting

if TYPE_CHECKING:
    from ..recipe import Choice
    from ..workload import Workload

STEPS = {"8_steps": 8, "4_steps": 4}
GUIDANCE = 1.0  # none: the adapter was trained with guidance in it, and each step costs half


def refuses(choice: Choice, setting: Setting) -> str | None:
    """It must be allowed and there, for a UNet, and save steps."""
    if setting.card.denoiser.class_name != "UNet2DConditionModel":
        return f"LCM adapters are for a UNet2DConditionModel, and the denoiser is a {setting.card.denoiser.class_name}"
    if setting.workload.steps <= STEPS[str(choice)]:
        return f"the workload has only {setting.workload.steps} steps"
    return setting.added.lacks("lcm_lora") or setting.lacks("peft", "lora")


def shortened(choices: Choices, workload: Workload) -> Workload:
    """Return the workload with as many steps as are chosen, and no guidance; the same if nothing is chosen."""
    steps = STEPS.get(str(choices["lcm_lora"]))
    return workload.model_copy(update={"steps": steps, "guidance": GUIDANCE}) if steps else workload


def prepares(choices: Choices, bench: Bench) -> Bench:
    """Let every knob see the shorter workload: graphs are made for it."""
    return replace(bench, workload=shortened(choices, bench.workload))


def apply(pipe: Any, choices: Choices, bench: Bench) -> None:
    """Take the sampler that the adapter was trained for; the adapter itself is fused when the weights are loaded.

    Source: https://huggingface.co/docs/diffusers/using-diffusers/inference_with_lcm; Luo et al. 2023, arXiv:2311.05556
    """
    del choices, bench
    from diffusers import LCMScheduler

    pipe.scheduler = LCMScheduler.from_config(pipe.scheduler.config)


def calls(choices: Choices, bench: Bench) -> dict[str, Any]:
    """Return the steps and the guidance of every call."""
    workload = shortened(choices, bench.workload)
    return {"num_inference_steps": workload.steps, "guidance_scale": workload.guidance}


LCM_LORA = Knob(
    name="lcm_lora",
    says="an LCM adapter, its sampler, a few steps and no guidance; only with --allow distilled",
    choices=("none", *STEPS),
    default="none",
    lossy=frozenset(STEPS),
    source="arXiv:2311.05556",
    refuses=refuses,
    prepares=prepares,
    apply=apply,
    calls=calls,
)
