"""What a model is, read from its folder: classes, parameters and bytes of each component, without its weights.

Only files are read here; nothing is imported, nothing of the model's own code is run, and a folder that
would need a pickle or code of its own is refused.
"""

from __future__ import annotations

import hashlib
import json
import math
import struct
from pathlib import Path
from typing import Any

from ..errors import ModelError
from ..value import Value, key_of

INDEX = "model_index.json"
LIBRARIES = ("diffusers", "transformers")
DENOISERS = ("transformer", "unet")
UNSAFE_SUFFIXES = (".bin", ".pt", ".pth", ".ckpt", ".pkl")
HEADER_LIMIT_BYTES = 100_000_000  # as in the safetensors library itself


class Component(Value):
    """One part of the pipeline. `parameters` and `bytes` are those of the files; 0 where there are no weights."""

    name: str
    library: str
    class_name: str
    parameters: int
    bytes: int


class ModelCard(Value):
    """A diffusers folder: what it is made of, and a revision that changes when any of it does."""

    name: str
    folder: str
    revision: str
    pipeline_class: str
    components: tuple[Component, ...]
    native_pixels: int | None

    @property
    def denoiser(self) -> Component:
        """The part that is called at each step. Raises ModelError where there is none that autotune knows."""
        for component in self.components:
            if component.name in DENOISERS:
                return component
        msg = f"{self.name} has no {' and no '.join(DENOISERS)}: autotune cannot tune a {self.pipeline_class}."
        raise ModelError(msg)

    def has(self, component: str) -> bool:
        """Return whether the pipeline has that component."""
        return any(each.name == component for each in self.components)


def read_model(folder: Path, name: str | None = None) -> ModelCard:
    """Return the card of a local folder in diffusers format.

    Raises ModelError where it is not one, or where it holds what autotune does not run: pickled weights
    without a safetensors twin, and pipelines with code of their own (CVE-2026-44513).
    """
    index = _json(folder / INDEX, folder)
    pipeline_class = index.get("_class_name")
    if not isinstance(pipeline_class, str):
        msg = f"{folder / INDEX} names no pipeline class of diffusers; a pipeline with code of its own is not run."
        raise ModelError(msg)
    components = tuple(
        _component(folder, part, *classes)
        for part, classes in sorted(index.items())
        if isinstance(classes, list) and len(classes) == 2 and all(classes)
    )
    card = ModelCard(
        name=name or folder.resolve().name,
        folder=str(folder.resolve()),
        revision=revision_of(folder),
        pipeline_class=pipeline_class,
        components=components,
        native_pixels=_native_pixels(folder),
    )
    card.denoiser  # noqa: B018 - asked for its error
    return card


def _json(file: Path, folder: Path) -> dict[str, Any]:
    try:
        content = json.loads(file.read_text(encoding="utf-8"))
    except FileNotFoundError:
        msg = f"{folder} is not a diffusers model folder: it has no {file.name}."
        raise ModelError(msg) from None
    except (OSError, UnicodeDecodeError, json.JSONDecodeError) as error:
        msg = f"{file} cannot be read as JSON ({error})."
        raise ModelError(msg) from error
    if not isinstance(content, dict):
        msg = f"{file} should hold a JSON object, but holds a {type(content).__name__}."
        raise ModelError(msg)
    return content


def _component(folder: Path, part: str, library: Any, class_name: Any) -> Component:
    if library not in LIBRARIES:
        msg = f"{folder.name} takes its {part} from {library!r}; only code of diffusers and transformers is run."
        raise ModelError(msg)
    if (folder / part).is_symlink() or not (folder / part).is_dir():
        msg = f"{folder} names a {part} in {INDEX} but has no folder of that name."
        raise ModelError(msg)
    weights = sorted((folder / part).glob("*.safetensors"))
    unsafe = sorted(file.name for file in (folder / part).iterdir() if file.suffix in UNSAFE_SUFFIXES)
    if unsafe and not weights:
        msg = f"{folder / part} has pickled weights ({unsafe[0]}), which can run code: convert them to safetensors."
        raise ModelError(msg)
    if list((folder / part).glob("*.py")):
        msg = f"{folder / part} brings code of its own, which autotune does not run."
        raise ModelError(msg)
    sizes = [_safetensors_size(file) for file in weights if ".fp16." not in file.name]
    return Component(
        name=part,
        library=str(library),
        class_name=str(class_name),
        parameters=sum(parameters for parameters, _ in sizes),
        bytes=sum(size for _, size in sizes),
    )


def _safetensors_header(file: Path) -> bytes:
    """Return the JSON header: 8 bytes of length, little-endian, then the header itself."""
    with file.open("rb") as stream:
        first = stream.read(8)
        length = struct.unpack("<Q", first)[0] if len(first) == 8 else HEADER_LIMIT_BYTES + 1
        if length > HEADER_LIMIT_BYTES:
            msg = f"{file} is not a safetensors file: its header is not there or absurdly long."
            raise ModelError(msg)
        return stream.read(length)


def _safetensors_size(file: Path) -> tuple[int, int]:
    """Return the number of parameters and of bytes that the header of a safetensors file declares."""
    try:
        header = json.loads(_safetensors_header(file))
        tensors = [tensor for name, tensor in header.items() if name != "__metadata__"]
        parameters = sum(math.prod(tensor["shape"]) for tensor in tensors)
        size = sum(tensor["data_offsets"][1] - tensor["data_offsets"][0] for tensor in tensors)
    except (ValueError, KeyError, TypeError, IndexError, AttributeError) as error:
        msg = f"{file} is not a safetensors file: its header cannot be read ({error})."
        raise ModelError(msg) from error
    if file.stat().st_size < size:
        msg = f"{file} is cut short: it declares {size} bytes of tensors and has {file.stat().st_size} in all."
        raise ModelError(msg)
    return parameters, size


def revision_of(folder: Path) -> str:
    """Return a digest of the folder: JSON files whole; of weights the header, the size and the last MiB.

    A model of 20 GB is known in milliseconds this way; a change of weights that keeps size, header and the
    last MiB of every file is not noticed.
    """
    facts: list[list[str | int]] = []
    for file in sorted(
        file for kind in ("*.json", "*/*.json", "*.safetensors", "*/*.safetensors") for file in folder.glob(kind)
    ):
        digest = hashlib.sha256()
        with file.open("rb") as stream:
            if file.suffix == ".safetensors":
                digest.update(_safetensors_header(file))
                stream.seek(max(0, file.stat().st_size - 2**20))
            digest.update(stream.read())
        facts.append([file.relative_to(folder).as_posix(), file.stat().st_size, digest.hexdigest()])
    return key_of(facts)


def _native_pixels(folder: Path) -> int | None:
    """Return the side of the images that the model was made for, where its configuration tells."""
    for part in DENOISERS:
        if (folder / part / "config.json").is_file():
            sample = _json(folder / part / "config.json", folder).get("sample_size")
            vae = folder / "vae" / "config.json"
            blocks = _json(vae, folder).get("block_out_channels", []) if vae.is_file() else []
            if isinstance(sample, int) and isinstance(blocks, list) and blocks:
                return int(sample * 2 ** (len(blocks) - 1))
    return None
