"""A recipe becomes a pipeline: the one way, in trials and in the app alike."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from .adapters import add_adapters
from .freed import give_back_freed_memory
from .knobs import KNOBS, Bench, Choices, Knob
from .knobs.lcm_lora import shortened
from .pipeline import load_pipeline

if TYPE_CHECKING:
    from ..probes.software import Software
    from .recipe import Recipe
    from .workload import Workload


def choices_of(recipe: Recipe) -> Choices:
    """Return the recipe with every knob in it: those that it does not turn have their defaults."""
    return {knob.name: recipe.turned.get(knob.name, knob.default) for knob in KNOBS}


def _turned(recipe: Recipe) -> list[Knob]:
    """Return the knobs that a recipe turns; one that it sets to its default is not among them."""
    return [knob for knob in KNOBS if recipe.turned.get(knob.name, knob.default) != knob.default]


def builds(recipe: Recipe) -> bool:
    """Return whether the recipe needs artifacts, which `build` makes."""
    return any(knob.builds for knob in _turned(recipe))


def has_uneven_steps(recipe: Recipe) -> bool:
    """Return whether some denoising steps of the recipe take longer than others by design."""
    return any(knob.uneven_steps for knob in _turned(recipe))


def workload_of(recipe: Recipe, workload: Workload) -> Workload:
    """Return what the pipeline of a recipe is really called with, where that is asked of it."""
    return shortened(choices_of(recipe), workload)


def build(recipe: Recipe, bench: Bench) -> None:
    """Make the artifacts that the recipe needs and that are not there yet."""
    bench = _prepared(recipe, bench)
    for knob in _turned(recipe):
        if knob.builds:
            knob.builds(choices_of(recipe), bench)


def calls(recipe: Recipe, bench: Bench) -> dict[str, Any]:
    """Return the keyword arguments that every call of the assembled pipeline must have."""
    bench = _prepared(recipe, bench)
    arguments: dict[str, Any] = {}
    for knob in _turned(recipe):
        arguments |= knob.calls(choices_of(recipe), bench)
    return arguments


def environment(recipe: Recipe, software: Software) -> dict[str, str]:
    """Return the environment that a process must be started with for the recipe; empty for nearly all."""
    asked: dict[str, str] = {}
    for knob in _turned(recipe):
        asked |= knob.environment(recipe.turned[knob.name], software)
    return asked


def assemble(recipe: Recipe, bench: Bench) -> Any:
    """Return the diffusers pipeline of the bench's model, with what is added to it and every knob of the recipe turned.

    Raises UnfitError where an adapter is not for this model.
    """
    choices, bench = choices_of(recipe), _prepared(recipe, bench)
    turned = _turned(recipe)
    whole = choices["offload"] == "none"
    pipe = load_pipeline(bench.card, bench.device if whole else "cpu", **_loading(turned, choices, bench))
    if choices["compile"] != "openvino":  # its graphs were made of weights that have them
        add_adapters(pipe, choices, bench)
    if whole and bench.device != "cpu":
        pipe.to(bench.device)
    for knob in turned:
        knob.apply(pipe, choices, bench)
    give_back_freed_memory()
    return pipe


def _prepared(recipe: Recipe, bench: Bench) -> Bench:
    """Return the bench on which the recipe's knobs are turned."""
    for knob in _turned(recipe):
        bench = knob.prepares(choices_of(recipe), bench)
    return bench


def _loading(turned: list[Knob], choices: Choices, bench: Bench) -> dict[str, Any]:
    """Return the arguments of `from_pretrained`; what several knobs say of quantization becomes one configuration."""
    import torch
    from diffusers import PipelineQuantizationConfig

    arguments: dict[str, Any] = {"dtype": torch.float32}
    quantized: dict[str, Any] = {}
    for knob in turned:
        asked = knob.loads(choices, bench)
        quantized |= asked.pop("quant_mapping", {})
        arguments |= asked
    if quantized:
        arguments["quantization_config"] = PipelineQuantizationConfig(quant_mapping=quantized)
    return arguments
