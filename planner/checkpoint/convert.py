"""From the first layout to that of diffusers and transformers, a part at a time. Called where torch is in memory.

The names are diffusers' own business (0.42, `loaders/single_file_utils.py`); what comes of it is held to the class that
is to load it, name by name and shape by shape, so that nothing is left out or made up in silence.
"""

from __future__ import annotations

from math import prod
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, NamedTuple

from ...errors import ModelError
from ...probes.build import on_meta
from .layout import PREFIX
from .parts import OPEN_CLIP

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

TIED = {"encoder.embed_tokens.weight": "shared.weight"}
"""What a T5 has twice: files have it once."""


class Ready(NamedTuple):
    """A tensor, and the shape that it is to have; one in GGUF's blocks has another until it is expanded."""

    tensor: Any
    shape: tuple[int, ...]


def converted(part: Path, library: str, class_name: str, prefix: str, state: dict[str, Any]) -> dict[str, Ready]:
    """Return the tensors of a part as its class names them, those of `state` where they need not be put together anew.

    part: the folder of its configuration. state: its tensors as the file has them.
    Raises ModelError where that is not what the class is made of.
    """
    module = on_meta(part, library, class_name)
    wanted = {name: tuple(tensor.shape) for name, tensor in module.state_dict().items()}
    numbers = sum(map(_numbers, state.values()))
    if class_name in _DENOISERS:
        found = _DENOISERS[class_name](_prefixed(state), dict(module.config))
        if sum(map(_numbers, found.values())) != numbers:
            msg = f"its {class_name} has tensors that diffusers does not know, as where it is quantized in another way"
            raise ModelError(msg)
    elif class_name == "AutoencoderKL":
        found = _utils().convert_ldm_vae_checkpoint(state, dict(module.config))
    else:
        found = _text_encoder(prefix, state, module.config, wanted)
    return {name: _fitting(name, found, shape) for name, shape in wanted.items() if not _is_tied(name, found)}


def _utils() -> Any:
    from diffusers.loaders import single_file_utils

    return single_file_utils


def _prefixed(state: dict[str, Any]) -> dict[str, Any]:
    if any(name.startswith(PREFIX) for name in state):
        return state
    return {PREFIX + name: tensor for name, tensor in state.items()}


_DENOISERS: dict[str, Callable[[dict[str, Any], dict[str, Any]], dict[str, Any]]] = {
    "UNet2DConditionModel": lambda state, config: _utils().convert_ldm_unet_checkpoint(state, config),
    "FluxTransformer2DModel": lambda state, _: _utils().convert_flux_transformer_checkpoint_to_diffusers(state),
    "SD3Transformer2DModel": lambda state, _: _utils().convert_sd3_transformer_checkpoint_to_diffusers(state),
}


def _text_encoder(prefix: str, state: dict[str, Any], config: Any, wanted: Mapping[str, Any]) -> dict[str, Any]:
    import torch

    found: dict[str, Any]
    if prefix in OPEN_CLIP:
        shape = SimpleNamespace(config=SimpleNamespace(hidden_size=config.hidden_size))
        found = _utils().convert_open_clip_checkpoint(shape, state, prefix)
    else:
        found = {name.removeprefix(prefix): tensor for name, tensor in state.items()}
    if not any(name.startswith("text_model.") for name in wanted):  # CLIPTextModel, since transformers 5.6
        found = {name.removeprefix("text_model."): tensor for name, tensor in found.items()}
    if "text_projection.weight" in wanted and "text_projection.weight" not in found:  # that of SD3 is none
        found["text_projection.weight"] = torch.eye(wanted["text_projection.weight"][0])
    return found


def _is_tied(name: str, found: Mapping[str, Any]) -> bool:
    return name in TIED and name not in found and TIED[name] in found


def _fitting(name: str, found: Mapping[str, Any], shape: tuple[int, ...]) -> Ready:
    """Return a tensor if it has so many numbers; the shape itself may be written otherwise (1x1 convolutions, GGUF)."""
    if name not in found:
        msg = f"it has no {name}, which the model that it is laid out like is made of"
        raise ModelError(msg)
    if _numbers(found[name]) != prod(shape):
        has = "x".join(map(str, _shape(found[name])))
        msg = f"{name} is {has} in it, and should be {'x'.join(map(str, shape))}"
        raise ModelError(msg)
    return Ready(found[name], shape)


def _numbers(tensor: Any) -> int:
    return prod(_shape(tensor))


def _shape(tensor: Any) -> tuple[int, ...]:
    """Return the shape of what a tensor stands for: in GGUF's blocks there are more numbers than bytes."""
    return tuple(getattr(tensor, "quant_shape", tensor.shape))
