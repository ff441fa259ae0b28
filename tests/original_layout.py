"""Weights in the layout that Civitai and ComfyUI hand out: names as before diffusers, several parts in one file.

The inverse of what diffusers does when it reads such a file, for the parts that tests write; a state dict in, a state
dict out, on whatever device its tensors lie (the meta device for full sizes).
"""

from __future__ import annotations

import json
import re
import struct
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

DENOISER = "model.diffusion_model."

_UNET = {
    "time_embedding.linear_1": "time_embed.0",
    "time_embedding.linear_2": "time_embed.2",
    "add_embedding.linear_1": "label_emb.0.0",
    "add_embedding.linear_2": "label_emb.0.2",
    "conv_in": "input_blocks.0.0",
    "conv_norm_out": "out.0",
    "conv_out": "out.2",
}
_RESNET = {
    "norm1": "in_layers.0",
    "conv1": "in_layers.2",
    "norm2": "out_layers.0",
    "conv2": "out_layers.3",
    "time_emb_proj": "emb_layers.1",
    "conv_shortcut": "skip_connection",
}


def unet(state: Mapping[str, Any], layers: int) -> dict[str, Any]:
    """Return a UNet's tensors; layers: a level has."""
    return {_unet_name(name, layers): tensor for name, tensor in state.items()}


def _unet_name(name: str, layers: int) -> str:
    for new, old in _UNET.items():
        if name.startswith(new + "."):
            return old + name[len(new) :]
    if found := re.match(r"mid_block\.(resnets|attentions)\.(\d)\.(.+)", name):
        place = 1 if found[1] == "attentions" else 2 * int(found[2])
        return f"middle_block.{place}.{_inner(found[1], found[3])}"
    found = re.match(r"(down|up)_blocks\.(\d+)\.(resnets|attentions|\w+samplers)\.(\d+)\.(.+)", name)
    assert found, name
    level, kind, number, rest = int(found[2]), found[3], int(found[4]), found[5]
    if found[1] == "down":
        if kind == "downsamplers":
            return f"input_blocks.{(level + 1) * (layers + 1)}.0.{rest.replace('conv', 'op')}"
        return f"input_blocks.{level * (layers + 1) + number + 1}.{int(kind == 'attentions')}.{_inner(kind, rest)}"
    block = level * (layers + 1) + (layers if kind == "upsamplers" else number)
    if kind == "upsamplers":
        return f"output_blocks.{block}.UP.{rest}"
    return f"output_blocks.{block}.{int(kind == 'attentions')}.{_inner(kind, rest)}"


def _inner(kind: str, rest: str) -> str:
    if kind == "attentions":
        return rest
    head, _, tail = rest.partition(".")
    return f"{_RESNET[head]}.{tail}"


def with_upsamplers(state: dict[str, Any]) -> dict[str, Any]:
    """Put upsamplers behind the attention of their block, where there is one."""
    named = {}
    for name, tensor in state.items():
        block = name.partition(".UP.")[0]
        place = 2 if any(other.startswith(f"{block}.1.") for other in state) else 1
        named[name.replace(".UP.", f".{place}.")] = tensor
    return named


def vae(state: Mapping[str, Any], levels: int) -> dict[str, Any]:
    """Return an autoencoder's tensors."""
    return {_vae_name(name, levels): _as_conv(name, tensor) for name, tensor in state.items()}


def _as_conv(name: str, tensor: Any) -> Any:
    return tensor[:, :, None, None] if ".to_" in name and name.endswith("weight") else tensor


def _vae_name(name: str, levels: int) -> str:
    name = name.replace("conv_norm_out", "norm_out").replace("conv_shortcut", "nin_shortcut")
    name = re.sub(r"mid_block\.resnets\.(\d)", lambda found: f"mid.block_{int(found[1]) + 1}", name)
    name = name.replace("mid_block.attentions.0.group_norm", "mid.attn_1.norm")
    for new, old in {"to_q": "q", "to_k": "k", "to_v": "v", "to_out.0": "proj_out"}.items():
        name = name.replace(f"mid_block.attentions.0.{new}.", f"mid.attn_1.{old}.")
    name = re.sub(r"down_blocks\.(\d)\.resnets\.(\d)", r"down.\1.block.\2", name)
    name = re.sub(r"down_blocks\.(\d)\.downsamplers\.0", r"down.\1.downsample", name)
    up = lambda found: f"up.{levels - 1 - int(found[1])}."  # noqa: E731
    name = re.sub(r"up_blocks\.(\d)\.(?=resnets)", up, name)
    name = re.sub(r"up_blocks\.(\d)\.(?=upsamplers)", up, name)
    return re.sub(r"(?<=up\.\d\.)resnets", "block", name).replace("upsamplers.0", "upsample")


def clip(state: Mapping[str, Any]) -> dict[str, Any]:
    """Return a CLIP's tensors as every checkpoint has them: below `text_model`."""
    return {name if name.startswith("text_") else f"text_model.{name}": tensor for name, tensor in state.items()}


def open_clip(state: Mapping[str, Any]) -> dict[str, Any]:
    """Return a CLIP's tensors as OpenCLIP has them."""
    import torch
    from diffusers.loaders.single_file_utils import DIFFUSERS_TO_LDM_MAPPING as NAMES

    known, inner = NAMES["openclip"]["layers"], NAMES["openclip"]["transformer"]
    made: dict[str, Any] = {}
    fused: dict[str, dict[str, Any]] = {}
    for name, tensor in clip(state).items():
        if name in known:
            made[known[name]] = tensor.T.contiguous() if name == "text_projection.weight" else tensor
        elif found := re.match(r"text_model\.encoder\.layers\.(\d+)\.self_attn\.([qkv])_proj\.(\w+)", name):
            fused.setdefault(f"transformer.resblocks.{found[1]}.attn.in_proj_{found[3]}", {})[found[2]] = tensor
        else:
            for new, old in inner.items():
                name = name.replace(new, old)  # noqa: PLW2901
            made[f"transformer.{name}"] = tensor
    return made | {name: torch.cat([rows[each] for each in "qkv"]) for name, rows in fused.items()}


def flux(state: Mapping[str, Any]) -> dict[str, Any]:
    """Return the tensors of a Flux transformer."""
    return _fused(state, _FLUX, swapped="norm_out.linear")


def sd3(state: Mapping[str, Any]) -> dict[str, Any]:
    """Return the tensors of an SD3 transformer."""
    last = max(int(found[1]) for name in state if (found := re.match(r"transformer_blocks\.(\d+)", name)))
    return _fused(state, _SD3, swapped=f"norm_out.linear transformer_blocks.{last}.norm1_context.linear")


_FLUX = {
    r"time_text_embed\.timestep_embedder\.linear_1": "time_in.in_layer",
    r"time_text_embed\.timestep_embedder\.linear_2": "time_in.out_layer",
    r"time_text_embed\.text_embedder\.linear_1": "vector_in.in_layer",
    r"time_text_embed\.text_embedder\.linear_2": "vector_in.out_layer",
    r"time_text_embed\.guidance_embedder\.linear_1": "guidance_in.in_layer",
    r"time_text_embed\.guidance_embedder\.linear_2": "guidance_in.out_layer",
    r"context_embedder": "txt_in",
    r"x_embedder": "img_in",
    r"norm_out\.linear": "final_layer.adaLN_modulation.1",
    r"proj_out": "final_layer.linear",
    r"transformer_blocks\.(\d+)\.norm1\.linear": r"double_blocks.\1.img_mod.lin",
    r"transformer_blocks\.(\d+)\.norm1_context\.linear": r"double_blocks.\1.txt_mod.lin",
    r"transformer_blocks\.(\d+)\.attn\.to_([qkv])": r"double_blocks.\1.img_attn.qkv:\2",
    r"transformer_blocks\.(\d+)\.attn\.add_([qkv])_proj": r"double_blocks.\1.txt_attn.qkv:\2",
    r"transformer_blocks\.(\d+)\.attn\.norm_q\.weight": r"double_blocks.\1.img_attn.norm.query_norm.scale",
    r"transformer_blocks\.(\d+)\.attn\.norm_k\.weight": r"double_blocks.\1.img_attn.norm.key_norm.scale",
    r"transformer_blocks\.(\d+)\.attn\.norm_added_q\.weight": r"double_blocks.\1.txt_attn.norm.query_norm.scale",
    r"transformer_blocks\.(\d+)\.attn\.norm_added_k\.weight": r"double_blocks.\1.txt_attn.norm.key_norm.scale",
    r"transformer_blocks\.(\d+)\.attn\.to_out\.0": r"double_blocks.\1.img_attn.proj",
    r"transformer_blocks\.(\d+)\.attn\.to_add_out": r"double_blocks.\1.txt_attn.proj",
    r"transformer_blocks\.(\d+)\.ff\.net\.0\.proj": r"double_blocks.\1.img_mlp.0",
    r"transformer_blocks\.(\d+)\.ff\.net\.2": r"double_blocks.\1.img_mlp.2",
    r"transformer_blocks\.(\d+)\.ff_context\.net\.0\.proj": r"double_blocks.\1.txt_mlp.0",
    r"transformer_blocks\.(\d+)\.ff_context\.net\.2": r"double_blocks.\1.txt_mlp.2",
    r"single_transformer_blocks\.(\d+)\.norm\.linear": r"single_blocks.\1.modulation.lin",
    r"single_transformer_blocks\.(\d+)\.attn\.to_([qkv])": r"single_blocks.\1.linear1:\2",
    r"single_transformer_blocks\.(\d+)\.proj_mlp": r"single_blocks.\1.linear1:z",
    r"single_transformer_blocks\.(\d+)\.attn\.norm_q\.weight": r"single_blocks.\1.norm.query_norm.scale",
    r"single_transformer_blocks\.(\d+)\.attn\.norm_k\.weight": r"single_blocks.\1.norm.key_norm.scale",
    r"single_transformer_blocks\.(\d+)\.proj_out": r"single_blocks.\1.linear2",
}
_SD3 = {
    r"pos_embed\.pos_embed": "pos_embed",
    r"pos_embed\.proj": "x_embedder.proj",
    r"time_text_embed\.timestep_embedder\.linear_1": "t_embedder.mlp.0",
    r"time_text_embed\.timestep_embedder\.linear_2": "t_embedder.mlp.2",
    r"time_text_embed\.text_embedder\.linear_1": "y_embedder.mlp.0",
    r"time_text_embed\.text_embedder\.linear_2": "y_embedder.mlp.2",
    r"context_embedder": "context_embedder",
    r"norm_out\.linear": "final_layer.adaLN_modulation.1",
    r"proj_out": "final_layer.linear",
    r"transformer_blocks\.(\d+)\.norm1\.linear": r"joint_blocks.\1.x_block.adaLN_modulation.1",
    r"transformer_blocks\.(\d+)\.norm1_context\.linear": r"joint_blocks.\1.context_block.adaLN_modulation.1",
    r"transformer_blocks\.(\d+)\.attn\.to_([qkv])": r"joint_blocks.\1.x_block.attn.qkv:\2",
    r"transformer_blocks\.(\d+)\.attn\.add_([qkv])_proj": r"joint_blocks.\1.context_block.attn.qkv:\2",
    r"transformer_blocks\.(\d+)\.attn\.norm_([qk])": r"joint_blocks.\1.x_block.attn.ln_\2",
    r"transformer_blocks\.(\d+)\.attn\.norm_added_([qk])": r"joint_blocks.\1.context_block.attn.ln_\2",
    r"transformer_blocks\.(\d+)\.attn\.to_out\.0": r"joint_blocks.\1.x_block.attn.proj",
    r"transformer_blocks\.(\d+)\.attn\.to_add_out": r"joint_blocks.\1.context_block.attn.proj",
    r"transformer_blocks\.(\d+)\.attn2\.to_([qkv])": r"joint_blocks.\1.x_block.attn2.qkv:\2",
    r"transformer_blocks\.(\d+)\.attn2\.norm_([qk])": r"joint_blocks.\1.x_block.attn2.ln_\2",
    r"transformer_blocks\.(\d+)\.attn2\.to_out\.0": r"joint_blocks.\1.x_block.attn2.proj",
    r"transformer_blocks\.(\d+)\.ff\.net\.0\.proj": r"joint_blocks.\1.x_block.mlp.fc1",
    r"transformer_blocks\.(\d+)\.ff\.net\.2": r"joint_blocks.\1.x_block.mlp.fc2",
    r"transformer_blocks\.(\d+)\.ff_context\.net\.0\.proj": r"joint_blocks.\1.context_block.mlp.fc1",
    r"transformer_blocks\.(\d+)\.ff_context\.net\.2": r"joint_blocks.\1.context_block.mlp.fc2",
}


def _fused(state: Mapping[str, Any], names: Mapping[str, str], swapped: str) -> dict[str, Any]:
    """Rename, put together what the first layout has in one tensor (`:q`, in the order of letters), swap halves."""
    import torch

    made: dict[str, Any] = {}
    pieces: dict[str, dict[str, Any]] = {}
    for name, tensor in state.items():
        if name.rpartition(".")[0] in swapped.split():
            tensor = torch.cat(tensor.chunk(2)[::-1])  # noqa: PLW2901 - scale and shift
        old = _first_name(name, names)
        place, letter, leaf = re.fullmatch(r"([^:]+):?(\w?)(.*)", old).groups()  # type: ignore[union-attr]
        if letter:
            pieces.setdefault(place + leaf, {})["qkvz".index(letter)] = tensor  # type: ignore[index]
        else:
            made[old] = tensor
    return made | {name: torch.cat([rows[each] for each in sorted(rows)]) for name, rows in pieces.items()}


def _first_name(name: str, names: Mapping[str, str]) -> str:
    for new, old in names.items():
        if found := re.match(new + r"(?=\.|$)", name):
            return found.expand(old) + name[found.end() :]
    raise KeyError(name)


def below(prefix: str, state: Mapping[str, Any]) -> dict[str, Any]:
    """Return the tensors of a part of a file that has several."""
    return {prefix + name: tensor for name, tensor in state.items()}


FORMATS = {"torch.float32": ("F32", 4), "torch.bfloat16": ("BF16", 2), "torch.float16": ("F16", 2)}


def write_header(file: Path, state: Mapping[str, Any]) -> Path:
    """Write a file as long as its header says, with holes in the place of numbers: it takes no disk."""
    header, end = {}, 0
    for name, tensor in state.items():
        kind, item_bytes = FORMATS[str(tensor.dtype)]
        begin, end = end, end + item_bytes * tensor.numel()
        header[name] = {"dtype": kind, "shape": list(tensor.shape), "data_offsets": [begin, end]}
    text = json.dumps(header).encode()
    file.write_bytes(struct.pack("<Q", len(text)) + text)
    with file.open("r+b") as stream:
        stream.truncate(8 + len(text) + end)
    return file


def write_gguf_header(file: Path, state: Mapping[str, Any], kind: str = "Q4_K") -> Path:
    """Write what stands before the numbers in a GGUF file, as city96's tools do, and holes in their place."""
    import gguf
    import numpy as np

    writer, end_bytes = gguf.GGUFWriter(file, "flux"), 0
    for name, tensor in state.items():
        blocks = tensor.ndim == 2 and tensor.shape[-1] % gguf.QK_K == 0
        format_ = gguf.GGMLQuantizationType[kind if blocks else "F32"]
        numbers, block_bytes = gguf.GGML_QUANT_SIZES[format_]
        size_bytes = tensor.numel() // numbers * block_bytes
        writer.add_tensor_info(name, tuple(tensor.shape), np.dtype(np.float32), size_bytes, raw_dtype=format_)
        end_bytes += -(-size_bytes // 32) * 32
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_ti_data_to_file()
    writer.close()
    with file.open("r+b") as stream:
        begin_bytes = -(-stream.seek(0, 2) // 32) * 32
        stream.truncate(begin_bytes + end_bytes)
    return file


def write_gguf(file: Path, state: Mapping[str, Any], kind: str = "Q8_0") -> Path:
    """Write a GGUF file: matrices whose rows blocks fill in these blocks, all else as fp16, which they must be."""
    import gguf

    writer = gguf.GGUFWriter(file, "sd3")
    for name, tensor in state.items():
        if tensor.ndim == 2 and tensor.shape[-1] % 32 == 0:
            format_ = gguf.GGMLQuantizationType[kind]
            writer.add_tensor(name, gguf.quants.quantize(tensor.float().numpy(), format_), raw_dtype=format_)
        else:
            writer.add_tensor(name, tensor.contiguous().half().numpy())
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return file
