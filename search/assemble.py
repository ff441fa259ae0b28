"""A recipe becomes a pipeline: the one way, in trials and in the app alike."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from .knobs import KNOBS, Bench, Choices, Knob
from .pipeline import load_pipeline

if TYPE_CHECKING:
    from ..probes.software import Software
    from .recipe import Recipe


def choices_of(recipe: Recipe) -> Choices:
    """Return the recipe with every knob in it: those that it does not turn have their defaults."""
    return {knob.name: recipe.turned.get(knob.name, knob.default) for knob in KNOBS}


def builds(recipe: Recipe) -> bool:
    """Return whether the recipe needs artifacts, which `build` makes."""
    return any(knob.builds and knob.name in recipe.turned for knob in KNOBS)


def build(recipe: Recipe, bench: Bench) -> None:
    """Make the artifacts that the recipe needs and that are not there yet."""
    for knob in KNOBS:
        if knob.builds and knob.name in recipe.turned:
            knob.builds(choices_of(recipe), bench)


def calls(recipe: Recipe, bench: Bench) -> dict[str, Any]:
    """Return the keyword arguments that every call of the assembled pipeline must have."""
    arguments: dict[str, Any] = {}
    for knob in KNOBS:
        if knob.name in recipe.turned:
            arguments |= knob.calls(choices_of(recipe), bench)
    return arguments


def environment(recipe: Recipe, software: Software) -> dict[str, str]:
    """Return the environment that a process must be started with for the recipe; empty for nearly all."""
    asked: dict[str, str] = {}
    for knob in KNOBS:
        if knob.name in recipe.turned:
            asked |= knob.environment(recipe.turned[knob.name], software)
    return asked


def assemble(recipe: Recipe, bench: Bench) -> Any:
    """Return the diffusers pipeline of the bench's model, with every knob of the recipe turned."""
    choices = choices_of(recipe)
    turned = [knob for knob in KNOBS if knob.name in recipe.turned]
    pipe = load_pipeline(bench.card, **_loading(turned, choices, bench))
    if choices["offload"] == "none" and bench.device != "cpu":
        pipe.to(bench.device)
    for knob in turned:
        knob.apply(pipe, choices, bench)
    return pipe


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
