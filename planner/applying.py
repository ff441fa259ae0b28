"""A plan for a pipeline that an app has already: what can be turned after loading is turned, the rest is said."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..errors import UsageError
from ..probes.software import probe_software
from ..search.additions import NOTHING_ADDED
from ..search.assemble import choices_of
from ..search.knobs import KNOBS, Bench
from ..search.pipeline import call_arguments
from ..search.recipe import Recipe
from ..store.places import cache_dir
from .catalogue import Model, find_model
from .choose import Answer
from .tuned import Made, TunedPipeline

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ..search.knobs import Choices, Knob
    from ..search.plan import Plan

log = logging.getLogger("autotune")

LATE_PRECISIONS = ("bf16", "fp16", "tf32")
"""What weights that are loaded can be made into, or need not be made into."""


EARLY = {
    "tiny_vae": "another component is loaded",
    "small_denoiser": "another component is loaded",
    "lcm_lora": "an adapter is fused while loading",
    "lora": "adapters are added while loading",
    "vae_precision": "the VAE is loaded in it",
    "allocator": "the program must be started with it",
    "huge_pages": "the program must be started with it",
    "quantization": "weights are quantized while they load",
    "text_encoder_quantization": "weights are quantized while they load",
    "vae_quantization": "its graphs are converted ahead",
}
"""What is too late for a pipeline that is loaded, by knob; of quantization, some kinds are not."""


def apply(pipe: Any, plan: Plan | Answer) -> TunedPipeline:
    """Return a pipeline of the app's own with a plan applied to it, as far as that can be done after loading.

    pipe: loaded by diffusers, of the model that the plan is for; it is changed in place. What would have to be known
    while it loads, or when the program starts, is left out, and one warning names it: `autotune.load` applies all.

    Raises UsageError if the pipeline is of another class than the plan's model, and ModelError if that is not found.
    """
    answer = plan if isinstance(plan, Answer) else None
    measured = plan.plan if isinstance(plan, Answer) else plan
    model = _model_of(pipe, measured.scope.model)
    if type(pipe).__name__ != model.card.pipeline_class:
        msg = f"The plan is for a {model.card.pipeline_class}, and this is a {type(pipe).__name__}."
        raise UsageError(msg)
    bench = Bench(
        card=model.card,
        workload=measured.scope.workload,
        device=measured.scope.device,
        artifacts=cache_dir(make=False) / "artifacts",
        software=probe_software().key,
        calibration_prompts=model.calibration_prompts,
        machine=measured.scope.machine,
        added=NOTHING_ADDED,
    )
    recipe, left = late(measured.recipe, bench)
    if left:
        log.warning("Of the plan for %s, %s", measured.scope.model, said_left(left))
    choices = choices_of(recipe)
    call: dict[str, Any] = {}
    _cast(pipe, str(choices["precision"]))
    for knob in _turned(recipe):
        knob.apply(pipe, choices, bench)
        call |= knob.calls(choices, bench)
    asked = answer.call if answer else call_arguments(measured.scope.workload, model.card.pipeline_class)
    return TunedPipeline(Made(pipe, answer, {**asked, **call}))


def _model_of(pipe: Any, name: str) -> Model:
    """Return the model that a pipeline was loaded from, if that was a folder; else the one of that name."""
    folder = str(getattr(pipe, "name_or_path", "") or "")
    return find_model(folder if Path(folder, "model_index.json").is_file() else name)


def late(recipe: Recipe, bench: Bench) -> tuple[Recipe, dict[str, str]]:
    """Return the part of a recipe that a loaded pipeline can have, and by knob why the rest is left out."""
    left = {knob.name: because for knob in _turned(recipe) if (because := _too_late(knob, choices_of(recipe), bench))}
    turned = {name: choice for name, choice in recipe.turned.items() if name not in left}
    if "compile" not in turned:
        turned.pop("compile_shapes", None)
    return Recipe(turned=turned), left


def said_left(left: dict[str, str]) -> str:
    """Return the sentence about what cannot be applied any more."""
    parts = "; ".join(f"{name} ({because})" for name, because in left.items())
    return f"this is not applied to a pipeline that is loaded already: {parts}. `autotune.load` applies all of it."


def _too_late(knob: Knob, choices: Choices, bench: Bench) -> str:
    """Return why a knob cannot be turned on a loaded pipeline, nothing where it can."""
    choice = str(choices[knob.name])
    if knob.name == "precision":
        return "" if choice in LATE_PRECISIONS and choices["compile"] != "openvino" else "OpenVINO converts it ahead"
    if choice == "openvino":
        return "its graphs take the place of parts that are loaded"
    if choice == "fp8_storage" or (choice.startswith("bnb") and bench.device == "cpu"):
        return ""
    return EARLY.get(knob.name, "")


def _turned(recipe: Recipe) -> Iterator[Knob]:
    return (knob for knob in KNOBS if recipe.turned.get(knob.name, knob.default) != knob.default)


def _cast(pipe: Any, precision: str) -> None:
    """Make the weights what they are computed in, unless they are that already."""
    import torch

    wanted = {"bf16": torch.bfloat16, "fp16": torch.float16}.get(precision)
    if wanted and pipe.dtype != wanted:
        pipe.to(dtype=wanted)
