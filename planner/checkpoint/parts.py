"""Where the parts of a pipeline lie in a file that holds several: by what stands before the names of their tensors.

As diffusers 0.42 has it in `loaders/single_file_utils.py`: files of Stable Diffusion 1 and 2, of SDXL, and those of
SD3 and Flux that hold their text encoders and VAE.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ...probes.model import DENOISERS
from .layout import PREFIX

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from ...probes.model import Component, Tensor

OPEN_CLIP = ("cond_stage_model.model.", "conditioner.embedders.1.model.")
"""Text encoders whose tensors have the names of OpenCLIP; the others have those of transformers."""

PREFIXES = {
    "vae": ("first_stage_model.", "vae."),
    "text_encoder": (
        "cond_stage_model.transformer.",
        OPEN_CLIP[0],
        "conditioner.embedders.0.transformer.",
        "text_encoders.clip_l.transformer.",
    ),
    "text_encoder_2": (OPEN_CLIP[1], "text_encoders.clip_g.transformer."),
}
T5 = "text_encoders.t5xxl.transformer."

OPTIONAL = ("safety_checker", "feature_extractor", "image_encoder")
"""Parts that no such file has, and that every pipeline does without."""


def parts_in(tensors: Mapping[str, Tensor], components: Iterable[Component]) -> dict[str, str]:
    """Return those of the components that lie in a file, each with what stands before the names of its tensors."""
    found = {}
    for each in components:
        for prefix in _prefixes(each, tensors):
            if any(name.startswith(prefix) for name in tensors):
                found[each.name] = prefix
                break
    return found


def _prefixes(component: Component, tensors: Mapping[str, Tensor]) -> tuple[str, ...]:
    if component.name in DENOISERS:
        return (PREFIX,) if any(name.startswith(PREFIX) for name in tensors) else ("",)
    if component.class_name == "T5EncoderModel":
        return (T5,)
    return PREFIXES.get(component.name, ())


def within(tensors: Mapping[str, Tensor], prefix: str) -> dict[str, Tensor]:
    """Return the tensors of a part."""
    return {name: each for name, each in tensors.items() if name.startswith(prefix)}
