"""Components without their weights: what is read of a component that a graph stands in for."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Sequence


def shell(library: str, class_name: str, folder: str, files: Sequence[str]) -> Any:
    """Return a component of the right class and configuration without weights.

    What lies directly in it is real: pipelines read that by themselves, as LTX does the mean of its VAE's latents.
    files: those of its weights; without any, what lies in it is as the class makes it.
    """
    import torch
    from accelerate import init_empty_weights

    kind = getattr(importlib.import_module(library), class_name)
    if library == "diffusers":
        config, build_from = kind.load_config(folder, local_files_only=True), kind.from_config
    else:
        config, build_from = kind.config_class.from_pretrained(folder, local_files_only=True), kind
    with torch.device("meta"):
        made = build_from(config)
    if own := [name for name, _ in made.named_buffers(recurse=False)]:
        with init_empty_weights():  # which makes buffers as they are constructed
            buffers = dict(build_from(config).named_buffers(recurse=False))
        buffers |= stored(files, own)
        for name in own:
            setattr(made, name, buffers[name])
    return made


def stored(files: Sequence[str], names: Sequence[str]) -> dict[str, Any]:
    """Return those of these tensors that files have."""
    from safetensors import safe_open

    found: dict[str, Any] = {}
    for file in files:
        with safe_open(file, framework="pt") as tensors:
            found |= {name: tensors.get_tensor(name) for name in {*names} & {*tensors.keys()}}
    return found
