"""Adapters and distilled parts for the tiny pipeline, with random weights."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from safetensors import safe_open
from safetensors.numpy import save_file

ADAPTED = (".to_q.weight", ".to_k.weight", ".to_v.weight", ".to_out.0.weight", ".q_proj.weight", ".v_proj.weight")


def write_adapter(file: Path, model: Path, *, rank: int = 4, seed: int = 1, text: bool = False) -> Path:
    """Write a LoRA for the attention of a pipeline's UNet, and of its text encoder if asked; return the file."""
    chance = np.random.default_rng(seed)
    tensors = {}
    for part in ("unet", "text_encoder") if text else ("unet",):
        [weights] = (model / part).glob("*.safetensors")
        with safe_open(weights, "numpy") as opened:
            for name in (name for name in opened.keys() if name.endswith(ADAPTED)):  # noqa: SIM118 - no mapping
                rows, columns = opened.get_slice(name).get_shape()
                layer = f"{part}.{name.removesuffix('.weight').removeprefix('text_model.')}"
                tensors[f"{layer}.lora_A.weight"] = chance.normal(size=(rank, columns), scale=0.25)
                tensors[f"{layer}.lora_B.weight"] = chance.normal(size=(rows, rank), scale=0.25)
    file.parent.mkdir(parents=True, exist_ok=True)
    save_file({name: tensor.astype(np.float32) for name, tensor in tensors.items()}, file)
    return file


def write_tiny_vae(folder: Path, *, channels: int = 4) -> Path:
    """Write an AutoencoderTiny for the latents of the tiny pipeline, and return the folder."""
    import torch
    from diffusers import AutoencoderTiny

    torch.manual_seed(5)
    blocks = {f"{half}_block_out_channels": (8, 8) for half in ("encoder", "decoder")}
    counts = {"num_encoder_blocks": (1, 1), "num_decoder_blocks": (1, 1)}
    AutoencoderTiny(**blocks, **counts, latent_channels=channels).save_pretrained(folder)
    return folder


def write_small_unet(folder: Path, model: Path) -> Path:
    """Write the tiny pipeline's UNet with one block less, and return the folder."""
    import torch
    from diffusers import UNet2DConditionModel

    torch.manual_seed(6)
    config = dict(UNet2DConditionModel.load_config(model / "unet"))
    fewer = {"block_out_channels": (8,), "down_block_types": ("CrossAttnDownBlock2D",)}
    small = UNet2DConditionModel.from_config(config | fewer | {"up_block_types": ("CrossAttnUpBlock2D",)})
    small.save_pretrained(folder)
    return folder
