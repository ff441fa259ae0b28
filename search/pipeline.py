"""Loading and calling a pipeline: the two places where a model's folder and a workload meet diffusers."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ..probes.model import ModelCard
    from .workload import Workload


def load_pipeline(card: ModelCard, **arguments: Any) -> Any:
    """Return the pipeline of a folder, given `from_pretrained`'s arguments.

    Only safetensors are read, nothing is downloaded, and no code of the folder's own is run.
    """
    from diffusers import DiffusionPipeline

    pipe = DiffusionPipeline.from_pretrained(card.folder, use_safetensors=True, local_files_only=True, **arguments)
    pipe.set_progress_bar_config(disable=True)
    return pipe


def call_arguments(workload: Workload) -> dict[str, Any]:
    """Return the keyword arguments of a pipeline's call that the workload stands for."""
    return {
        "num_inference_steps": workload.steps,
        "guidance_scale": workload.guidance,
        "width": workload.width,
        "height": workload.height,
    }


def call_pipeline(pipe: Any, workload: Workload, prompt: str, seed: int, **arguments: Any) -> Any:
    """Return the images of one call, made from a latent that is the same on every device (a CPU generator)."""
    import torch

    generator = torch.Generator().manual_seed(seed)
    prompts = [prompt] * workload.batch
    with torch.no_grad():
        return pipe(prompts, generator=generator, **call_arguments(workload), **arguments).images
