"""Loading and calling a pipeline: the two places where a model's folder and a workload meet diffusers."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ..probes.classes import parameters
from .random_weights import dtype_of, made_up

if TYPE_CHECKING:
    from ..probes.model import Component, ModelCard
    from .workload import Workload


def load_pipeline(card: ModelCard, device: str = "cpu", **arguments: Any) -> Any:
    """Return the pipeline of a folder, given `from_pretrained`'s arguments; what lies elsewhere is loaded from there.

    device: where weights come to, whether they are made up or of files: RAM need not hold them, and what only a GPU can
    pack, as int4 for its tensor cores, is quantized there.

    Only safetensors are read, nothing is downloaded, and no code of the folder's own is run. The class itself is asked:
    `DiffusionPipeline` does not know which components are optional in it, and loads those of Wan again over a
    transformer that it is given (diffusers 0.42, `_get_signature_keys`).
    """
    import diffusers

    kind = getattr(diffusers, card.pipeline_class, diffusers.DiffusionPipeline)
    for component in card.components:
        if component.folder and component.name not in arguments:
            arguments[component.name] = _load_component(component, arguments)
    if card.weights == "random":
        arguments |= made_up(card, arguments, device)
        arguments.pop("quantization_config", None)  # it is done, and what is left has nothing to quantize
    elif device.startswith(("cuda", "xpu")) and not kind._load_connected_pipes:  # noqa: SLF001 - what diffusers asks
        arguments.setdefault("device_map", device)
    pipe = kind.from_pretrained(card.folder, use_safetensors=True, local_files_only=True, **arguments)
    pipe.set_progress_bar_config(disable=True)
    return pipe


def _load_component(component: Component, arguments: dict[str, Any]) -> Any:
    """Return a component from its own folder, in the precision and the quantization that the pipeline's would have."""
    import diffusers

    quantized = arguments.get("quantization_config")
    own = quantized.quant_mapping.get(component.name) if quantized else None
    return getattr(diffusers, component.class_name).from_pretrained(
        component.folder,
        dtype=dtype_of(component, arguments),
        use_safetensors=True,
        local_files_only=True,
        **({"quantization_config": own} if own else {}),
    )


def call_arguments(workload: Workload, pipeline_class: str) -> dict[str, Any]:
    """Return the keyword arguments of a pipeline's call that the workload stands for, as far as its class takes them.

    Where a pipeline would compute at the nearest size that it was trained for, and resize, it is told not to.
    """
    arguments = {
        "num_inference_steps": workload.steps,
        "guidance_scale": workload.guidance,
        "width": workload.width,
        "height": workload.height,
    }
    takes = parameters(pipeline_class)
    if "num_frames" in takes:
        arguments["num_frames"] = workload.frames
    if "use_resolution_binning" in takes:
        arguments["use_resolution_binning"] = False
    return arguments


def has_halves(workload: Workload, pipeline_class: str) -> bool:
    """Return whether a call computes an unconditional half as well.

    Where there is a `true_cfg_scale`, which we leave alone, the guidance scale is an input of the denoiser.
    """
    return workload.guidance > 1 and "true_cfg_scale" not in parameters(pipeline_class)


def call_pipeline(pipe: Any, workload: Workload, prompt: str, seed: int, **arguments: Any) -> Any:
    """Return the images of one call, made from a latent that is the same on every device (a CPU generator).

    Of a video pipeline the frames: as numpy arrays of shape (batch, frames, height, width, 3).
    arguments: of the pipeline's call; they go before the workload's.
    """
    import torch

    generator = torch.Generator().manual_seed(seed)
    prompts = [prompt] * workload.batch
    with torch.no_grad():
        asked = {**call_arguments(workload, type(pipe).__name__), **arguments}
        result = pipe(prompt=prompts, generator=generator, **asked)
    return result.frames if hasattr(result, "frames") else result.images
