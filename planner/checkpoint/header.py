"""The header of a file of weights: the names, shapes and formats of its tensors. No tensor is read, and no pickle."""

from __future__ import annotations

import json
import math
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from ...errors import ModelError, TechniqueMissingError
from ...probes.model import UNSAFE_SUFFIXES, Tensor, readable, safetensors_header, safetensors_shapes
from ...value import key_of

if TYPE_CHECKING:
    from collections.abc import Mapping

SUFFIXES = (".safetensors", ".gguf")

ITEM_BYTES = {"F64": 8, "F32": 4, "I64": 8, "I32": 4, "F16": 2, "BF16": 2}
"""The bytes of a number, where the file keeps it as it is; in all other formats it is bf16 when it is unpacked."""

GGUF_SHAPE = "comfy.gguf.orig_shape."
"""What a GGUF file says of a tensor whose rows did not fill blocks, so that it was kept in another shape."""


class Header(NamedTuple):
    """What a file says of its tensors, and a digest of that and of the file's size and time."""

    file: Path
    tensors: Mapping[str, Tensor]
    size_bytes: int
    digest: str


def is_checkpoint(path: Path) -> bool:
    """Return whether a path leads to a file that is to be taken for a model: of weights, or of pickled ones."""
    return path.suffix.lower() in (*SUFFIXES, *UNSAFE_SUFFIXES) and path.is_file()


def read_header(file: Path) -> Header:
    """Return the header of a safetensors or GGUF file.

    Raises ModelError where it is neither or is cut short, and TechniqueMissingError where it is GGUF and nothing here
    reads that.
    """
    if file.suffix.lower() not in SUFFIXES:
        msg = f"{file} is pickled, and a pickle can run code, so it is not opened: convert it to safetensors."
        raise ModelError(msg)
    with readable(file):
        whole = file.parent.resolve() / file.name  # in the hub's cache what a link leads to has no such name
        stat = whole.stat()
        return _read(whole, stat.st_size, stat.st_mtime_ns)


@cache
def _read(file: Path, size_bytes: int, time_ns: int) -> Header:
    tensors = _gguf(file) if file.suffix.lower() == ".gguf" else _safetensors(file)
    said = [[name, *tensor] for name, tensor in sorted(tensors.items())]
    return Header(file, tensors, size_bytes, key_of([size_bytes, time_ns, said]))


def _safetensors(file: Path) -> dict[str, Tensor]:
    shapes = safetensors_shapes(file)
    formats = json.loads(safetensors_header(file))
    return {name: Tensor(str(formats[name].get("dtype", "")), tuple(shape)) for name, shape in shapes.items()}


def _gguf(file: Path) -> dict[str, Tensor]:
    try:
        import gguf
    except ImportError as error:
        msg = f"{file.name} needs gguf to be read: pip install autotune-diffusers[gguf]"
        raise TechniqueMissingError(msg) from error
    try:
        reader = gguf.GGUFReader(file)
        own = {
            name.removeprefix(GGUF_SHAPE): tuple(map(int, field.contents()))
            for name, field in reader.fields.items()
            if name.startswith(GGUF_SHAPE)
        }
        return {
            each.name: Tensor(each.tensor_type.name, own.get(each.name) or tuple(map(int, reversed(each.shape))))
            for each in reader.tensors
        }
    except (ValueError, KeyError, IndexError, TypeError, OverflowError) as error:
        msg = f"{file} is not a GGUF file, or is cut short: its header cannot be read ({error})."
        raise ModelError(msg) from error


def unpacked_size(tensors: Mapping[str, Tensor]) -> tuple[int, int]:
    """Return how many numbers there are, and the bytes that they take when the file is unpacked."""
    counts = {name: math.prod(each.shape) for name, each in tensors.items()}
    return sum(counts.values()), sum(counts[name] * ITEM_BYTES.get(each.dtype, 2) for name, each in tensors.items())
