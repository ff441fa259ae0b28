"""Folders in diffusers format, written by hand in a millisecond: real class names, and weights of a few numbers."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
from safetensors.numpy import save_file

WEIGHTS = "diffusion_pytorch_model.safetensors"
INDEX = {
    "_class_name": "StableDiffusionPipeline",
    "_diffusers_version": "0.42.1",
    "requires_safety_checker": False,
    "safety_checker": [None, None],
    "scheduler": ["diffusers", "DDIMScheduler"],
    "unet": ["diffusers", "UNet2DConditionModel"],
    "vae": ["diffusers", "AutoencoderKL"],
}


def write_json(file: Path, content: Any) -> None:
    """Write a file, and the folder that it stands in."""
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(json.dumps(content))


def write_weights(file: Path, *shapes: tuple[int, ...]) -> None:
    """Write fp32 tensors of these shapes."""
    file.parent.mkdir(parents=True, exist_ok=True)
    save_file({f"tensor {number}": np.zeros(shape, np.float32) for number, shape in enumerate(shapes)}, file)


def write_model(folder: Path, **index: Any) -> Path:
    """Write a pipeline of 10 + 7 parameters for 64x64 images; `index` is what its model_index.json says otherwise."""
    write_json(folder / "model_index.json", {**INDEX, **index})
    write_json(folder / "scheduler" / "scheduler_config.json", {"num_train_timesteps": 1000})
    write_json(folder / "unet" / "config.json", {"sample_size": 32})
    write_weights(folder / "unet" / WEIGHTS, (2, 3), (4,))
    write_json(folder / "vae" / "config.json", {"block_out_channels": [8, 8]})
    write_weights(folder / "vae" / WEIGHTS, (7,), ())
    return folder
