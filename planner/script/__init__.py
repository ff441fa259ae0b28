"""A plan as a diffusers script that anybody can read and run: autotune need not be installed.

It makes the image that `autotune.load` makes, byte for byte. What is autotune's own code (graphs for OpenVINO, files in
GGUF, DeepCache) is brought along, word for word, above the plan itself. What is made ahead, such as graphs, is read
from where autotune keeps it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ...search.assemble import choices_of
from ...search.knobs import KNOBS
from .draft import Draft, text_of
from .knobs import WRITERS

if TYPE_CHECKING:
    from collections.abc import Mapping

    from ...search.knobs import Bench
    from ...search.recipe import Recipe

OURS = {
    "tiny_vae": "a distilled component takes the place of another",
    "small_denoiser": "a distilled component takes the place of another",
    "lcm_lora": "an adapter is fused into the weights",
    "lora": "adapters are added to the weights",
}
"""The knobs that no script turns, and why: they are of what the user names at each call, and no plan by itself has."""

_ALWAYS = {"precision"}


def why_not(recipe: Recipe, bench: Bench) -> str:
    """Return why a recipe cannot be written as a script, without the recipe's name; nothing where it can."""
    if bench.added.adapters:
        return "adapters are added to the weights"
    if any(component.folder for component in bench.card.components):
        return "a component is loaded from another folder"
    if bench.card.weights == "random":
        return "its weights are made up"
    ours = (name for name in _turned(recipe) if name in OURS)
    return next((f"{name}={recipe.turned[name]}: {OURS[name]}" for name in ours), "")


def _turned(recipe: Recipe) -> set[str]:
    return {knob.name for knob in KNOBS if recipe.turned.get(knob.name, knob.default) != knob.default}


def write(recipe: Recipe, bench: Bench, call: Mapping[str, Any], environment: Mapping[str, str], title: str) -> str:
    """Return the script of a recipe for which `why_not` says nothing, and whose artifacts are made.

    call: keyword arguments of the pipeline's call; environment: what the program must be started with, which the script
    sees to by beginning anew. title: what the script's first line says.
    """
    choices, draft = choices_of(recipe), Draft()
    draft.imports.add(f"from diffusers import {bench.card.pipeline_class}")
    turned = _turned(recipe) | _ALWAYS
    for name, writer in WRITERS.items():
        if name in turned:
            writer(draft, choices, bench)
    draft.calling += [f"{name}={value!r}" for name, value in call.items()]
    return text_of(draft, choices, bench, environment, title)
