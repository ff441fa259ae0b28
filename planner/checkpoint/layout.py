"""Which denoiser a file holds: its kind and its sizes, from the names and shapes of its tensors in their first layout.

Two denoisers are of one layout where all of these are the same; what a configuration says of them is `of_config`, what
a file shows is `of_tensors`. Names as in diffusers 0.42, `loaders/single_file_utils.py`, `CHECKPOINT_KEY_NAMES`.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from ...probes.model import Tensor

PREFIX = "model.diffusion_model."
"""Before the names of the denoiser's tensors where a file holds other parts too; some files of it alone have it."""


class Layout(NamedTuple):
    """A class of diffusers and its sizes."""

    class_name: str
    sizes: tuple[tuple[str, int], ...]

    def __str__(self) -> str:
        return f"{self.class_name} ({', '.join(f'{name} {size}' for name, size in self.sizes)})"


def of_tensors(tensors: Mapping[str, Tensor]) -> Layout | None:
    """Return the layout of the denoiser in a file; None where there is none that is known."""
    names = {name.removeprefix(PREFIX): each.shape for name, each in tensors.items()}
    for class_name, (mark, other, sizes, _) in _KINDS.items():
        if mark in names and other not in names:
            try:
                return _layout(class_name, sizes(names))
            except (KeyError, IndexError):  # a file that has been cut down
                return None
    return None


def of_config(config: Mapping[str, Any]) -> Layout | None:
    """Return the layout that a denoiser's configuration stands for; None for a class that is not known in files."""
    kind = _KINDS.get(str(config.get("_class_name")))
    if kind is None:
        return None
    try:
        return _layout(str(config["_class_name"]), kind[3](config))
    except (KeyError, IndexError, TypeError):  # somebody else's configuration leaves out what it has by default
        return None


def _layout(class_name: str, sizes: dict[str, int]) -> Layout:
    return Layout(class_name, tuple(sizes.items()))


def _count(names: Mapping[str, Any], pattern: str) -> int:
    """Return how many different texts the group of a pattern stands for."""
    return len({found[1] for name in names if (found := re.match(pattern, name))})


def _flux(names: Mapping[str, tuple[int, ...]]) -> dict[str, int]:
    return {
        "double blocks": _count(names, r"double_blocks\.(\d+)\."),
        "single blocks": _count(names, r"single_blocks\.(\d+)\."),
        "width": names["img_in.weight"][0],
        "inputs": names["img_in.weight"][1],
        "text width": names["txt_in.weight"][1],
        "pooled width": names["vector_in.in_layer.weight"][1],
        "guidance": int("guidance_in.in_layer.weight" in names),
    }


def _flux_config(config: Mapping[str, Any]) -> dict[str, int]:
    return {
        "double blocks": config["num_layers"],
        "single blocks": config["num_single_layers"],
        "width": config["num_attention_heads"] * config["attention_head_dim"],
        "inputs": config["in_channels"],
        "text width": config["joint_attention_dim"],
        "pooled width": config["pooled_projection_dim"],
        "guidance": int(config["guidance_embeds"]),
    }


def _sd3(names: Mapping[str, tuple[int, ...]]) -> dict[str, int]:
    return {
        "blocks": _count(names, r"joint_blocks\.(\d+)\."),
        "blocks with two attentions": _count(names, r"joint_blocks\.(\d+)\.x_block\.attn2\.qkv\.weight"),
        "width": names["x_embedder.proj.weight"][0],
        "inputs": names["x_embedder.proj.weight"][1],
        "text width": names["context_embedder.weight"][1],
        "pooled width": names["y_embedder.mlp.0.weight"][1],
        "positions": names["pos_embed"][-2],
        "normed attention": int("joint_blocks.0.x_block.attn.ln_q.weight" in names),
    }


def _sd3_config(config: Mapping[str, Any]) -> dict[str, int]:
    return {
        "blocks": config["num_layers"],
        "blocks with two attentions": len(config.get("dual_attention_layers") or ()),
        "width": config["num_attention_heads"] * config["attention_head_dim"],
        "inputs": config["in_channels"],
        "text width": config["joint_attention_dim"],
        "pooled width": config["pooled_projection_dim"],
        "positions": config["pos_embed_max_size"] ** 2,
        "normed attention": int(bool(config.get("qk_norm"))),
    }


def _unet(names: Mapping[str, tuple[int, ...]]) -> dict[str, int]:
    attentions = [shape for name, shape in names.items() if name.endswith(".attn2.to_k.weight")]
    inward = next(shape for name, shape in names.items() if name.endswith(".proj_in.weight"))
    return {
        "input blocks": _count(names, r"input_blocks\.(\d+)\."),
        "transformer blocks": len(attentions),
        "inputs": names["input_blocks.0.0.weight"][1],
        "outputs": names["out.2.weight"][0],
        "first width": names["input_blocks.0.0.weight"][0],
        "last width": names["middle_block.0.in_layers.2.weight"][0],
        "text width": attentions[0][1],
        "added width": names["label_emb.0.0.weight"][1] if "label_emb.0.0.weight" in names else 0,
        "linear projections": int(len(inward) == 2),
    }


def _unet_config(config: Mapping[str, Any]) -> dict[str, int]:
    widths, layers = config["block_out_channels"], config["layers_per_block"]
    depths = config.get("transformer_layers_per_block", 1)
    depths = [depths] * len(widths) if isinstance(depths, int) else depths
    down = [depth for depth, kind in zip(depths, config["down_block_types"], strict=True) if "Attn" in kind]
    up = [depth for depth, kind in zip(depths[::-1], config["up_block_types"], strict=True) if "Attn" in kind]
    return {
        "input blocks": len(widths) * (layers + 1),
        "transformer blocks": layers * sum(down) + depths[-1] + (layers + 1) * sum(up),
        "inputs": config["in_channels"],
        "outputs": config["out_channels"],
        "first width": widths[0],
        "last width": widths[-1],
        "text width": config["cross_attention_dim"],
        "added width": config.get("projection_class_embeddings_input_dim") or 0,
        "linear projections": int(config["use_linear_projection"]),
    }


_KINDS: dict[str, tuple[str, str, Callable[[Any], dict[str, int]], Callable[[Any], dict[str, int]]]] = {
    "FluxTransformer2DModel": (
        "double_blocks.0.img_attn.norm.key_norm.scale",
        "distilled_guidance_layer.in_proj.bias",  # that is Chroma
        _flux,
        _flux_config,
    ),
    "SD3Transformer2DModel": ("joint_blocks.0.context_block.adaLN_modulation.1.bias", "", _sd3, _sd3_config),
    "UNet2DConditionModel": ("input_blocks.0.0.weight", "", _unet, _unet_config),
}
"""By class: a name that every file of it has, one that none has, the sizes in a file and those in a configuration."""
