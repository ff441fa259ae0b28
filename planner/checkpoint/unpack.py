"""The process that unpacks: `python -m autotune.planner.checkpoint.unpack JOB`, where JOB is a `Job` as JSON.

It writes the weights of each part that lies in the file, tensor by tensor, and says how far it is. No code but that of
the installed libraries is run, and the hub is not asked.
"""

from __future__ import annotations

import json
import os
import shutil
import struct
import sys
from math import prod
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ...errors import AutotuneError
from ...value import Value
from ..apart import channel, say
from .convert import converted
from .header import ITEM_BYTES

if TYPE_CHECKING:
    from collections.abc import Iterator

    from .convert import Ready

TELL_EVERY_BYTES = 2**28


class Packed(Value):
    """A part that lies in the file: what is needed to load it, and what stands before the names of its tensors."""

    name: str
    library: str
    class_name: str
    prefix: str


class Job(Value):
    """What to unpack: the file, the folder of configurations of the model that it is laid out like, and where to."""

    file: str
    base: str
    target: str
    parts: tuple[Packed, ...]
    total_bytes: int


def main(text: str) -> None:
    """Do the job, and say what came of it."""
    os.environ["HF_HUB_OFFLINE"] = "1"
    output = channel()
    job = Job.model_validate_json(text)
    try:
        done_bytes = 0
        for part in job.parts:
            for size in _unpack(job, part):
                done_bytes += size
                say(output, {"bytes": min(done_bytes, job.total_bytes), "of": job.total_bytes})
        answer = {"folder": job.target}
    except (AutotuneError, OSError) as error:
        answer = {"refused": _sentence(job, error)}
    except Exception as error:  # noqa: BLE001 - whatever a converter says against a file becomes a sentence
        answer = {"refused": f"{Path(job.file).name} cannot be unpacked ({type(error).__name__}: {error})."}
    say(output, answer)
    os._exit(0)


def _sentence(job: Job, error: Exception) -> str:
    return f"{Path(job.file).name} cannot be unpacked: {str(error).rstrip('.')}."


def _unpack(job: Job, part: Packed) -> Iterator[int]:
    """Write the weights and the configuration of a part, yielding the bytes that were written since the last time."""
    source, target = Path(job.base) / part.name, Path(job.target) / part.name
    target.mkdir(parents=True)
    shutil.copyfile(source / "config.json", target / "config.json")
    state = _tensors(Path(job.file), part.prefix)
    ready = converted(source, part.library, part.class_name, part.prefix, state)
    stem = "diffusion_pytorch_model" if part.library == "diffusers" else "model"
    yield from write_safetensors(target / f"{stem}.safetensors", ready)


def _tensors(file: Path, prefix: str) -> dict[str, Any]:
    """Return the tensors of a part; those of safetensors stay on the disk until they are looked at."""
    if file.suffix.lower() == ".gguf":
        from diffusers.models.model_loading_utils import load_gguf_checkpoint

        return {name: tensor for name, tensor in load_gguf_checkpoint(str(file)).items() if name.startswith(prefix)}
    from safetensors import safe_open

    with safe_open(file, framework="pt") as opened:
        return {name: _wide(opened.get_tensor(name)) for name in opened.keys() if name.startswith(prefix)}  # noqa: SIM118


def _wide(tensor: Any) -> Any:
    """Return a tensor of 8 bits a number as bf16, which has each of them; what is computed with has no fewer."""
    import torch

    return tensor.to(torch.bfloat16) if tensor.is_floating_point() and tensor.element_size() == 1 else tensor


FORMATS = {"float32": "F32", "bfloat16": "BF16", "float16": "F16", "float64": "F64", "int64": "I64", "int32": "I32"}


def write_safetensors(file: Path, tensors: dict[str, Ready]) -> Iterator[int]:
    """Write tensors one after the other, forgetting each, and yield now and then how many bytes that was.

    The library's own `save_file` has all of them in memory once more. What is in GGUF's blocks becomes bf16.
    """
    header, end = {}, 0
    for name, (tensor, shape) in tensors.items():
        dtype = "bfloat16" if hasattr(tensor, "quant_type") else str(tensor.dtype).removeprefix("torch.")
        begin, end = end, end + prod(shape) * ITEM_BYTES[FORMATS[dtype]]
        header[name] = {"dtype": FORMATS[dtype], "shape": shape, "data_offsets": [begin, end]}
    text = json.dumps({"__metadata__": {"format": "pt"}, **header}).encode()
    text += b" " * (-len(text) % 8)
    with file.open("wb") as stream:
        stream.write(struct.pack("<Q", len(text)) + text)
        waiting_bytes = 0
        for name in list(tensors):
            waiting_bytes += stream.write(_bytes(tensors.pop(name).tensor))
            if waiting_bytes >= TELL_EVERY_BYTES:
                yield waiting_bytes
                waiting_bytes = 0
        stream.flush()
        os.fsync(stream.fileno())
        yield waiting_bytes


def _bytes(tensor: Any) -> Any:
    import torch

    if hasattr(tensor, "quant_type"):
        from diffusers.quantizers.gguf.utils import dequantize_gguf_tensor

        tensor = dequantize_gguf_tensor(tensor).to(torch.bfloat16)
    return tensor.contiguous().reshape(-1).view(torch.uint8).numpy()


if __name__ == "__main__":
    main(sys.argv[1])
