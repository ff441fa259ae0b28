"""What a model is, read from its folder: classes, parameters and bytes of each component, without its weights.

Only files are read here; nothing is imported, nothing of the model's own code is run, and a folder that
would need a pickle or code of its own is refused.
"""

from __future__ import annotations

import hashlib
import json
import math
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Literal, NamedTuple, TypeGuard

from ..errors import ModelError
from ..value import Value, key_of

INDEX = "model_index.json"
LIBRARIES = ("diffusers", "transformers")
DENOISERS = ("transformer", "unet")
UNSAFE_SUFFIXES = (".bin", ".pt", ".pth", ".ckpt", ".pkl")
HEADER_LIMIT_BYTES = 100_000_000  # as in the safetensors library itself
PIXELS = range(8, 16385, 8)  # sides that an image may have


Weights = Literal["files", "none", "random"]
"""Where a model's weights are: in files beside its configurations, not here, or made up in each process."""


class Component(Value):
    """One part of the pipeline, of a class that `library` has: diffusers, one of its pipelines' modules, transformers.

    `parameters` and `bytes` are those of the files; 0 where there are no weights. `folder` is where it lies and
    `revision` a digest of it, if that is not in the model's own folder; else they are empty.
    """

    name: str
    library: str
    class_name: str
    parameters: int
    bytes: int
    folder: str = ""
    revision: str = ""


class ModelCard(Value):
    """A diffusers folder: what it is made of, and a revision that changes when any of it does.

    Where the weights are not in files, configurations are all that is asked of the folder. `architecture` is a digest
    of what they say of shapes: the same for a model and for a folder of its configurations.
    """

    name: str
    folder: str
    revision: str
    pipeline_class: str
    components: tuple[Component, ...]
    native_pixels: int | None
    weights: Weights = "files"
    architecture: str = ""

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
        return self.component(component) is not None

    def component(self, name: str) -> Component | None:
        """Return the component of that name, None where the pipeline has none."""
        return next((each for each in self.components if each.name == name), None)

    def with_component(self, other: Component) -> ModelCard:
        """Return the card with another component in the place of the one of that name."""
        components = tuple(other if each.name == other.name else each for each in self.components)
        return self.model_copy(update={"components": components})


def read_model(folder: Path, name: str | None = None, weights: Weights = "files") -> ModelCard:
    """Return the card of a local folder in diffusers format.

    weights: `none` or `random` for a folder of configurations, whose weights are not asked for. With random ones it is
    another revision: nothing that is made of them is anything of the model's.

    Raises ModelError where it is not one, or where it holds what autotune does not run: pickled weights
    without a safetensors twin, and pipelines with code of their own (CVE-2026-44513).
    """
    with readable(folder):
        index = _json(folder / INDEX, folder)
        pipeline_class = index.get("_class_name")
        if not _is_name(pipeline_class):
            msg = f"{folder / INDEX} names no pipeline class of diffusers; a pipeline with code of its own is not run."
            raise ModelError(msg)
        components = tuple(_components(folder, index))
        revision = revision_of(folder)
        card = ModelCard(
            name=name or folder.resolve().name,
            folder=str(folder.resolve()),
            revision=key_of([revision, weights]) if weights == "random" else revision,
            pipeline_class=pipeline_class,
            components=components,
            native_pixels=_native_pixels(folder),
            weights=weights,
            architecture=_architecture(folder, pipeline_class, components),
        )
    if weights == "files" and not card.denoiser.parameters:
        msg = f"{folder / card.denoiser.name} has no weights: *.safetensors without a variant in the name are needed."
        raise ModelError(msg)
    return card


@contextmanager
def readable(folder: Path) -> Iterator[None]:
    """Turn what the system says against reading a folder into ModelError."""
    try:
        str(folder.resolve()).encode()
        yield
    except OSError as error:
        msg = f"{folder} cannot be read ({error})."
        raise ModelError(msg) from error
    except UnicodeEncodeError as error:
        msg = f"The path {str(folder.resolve())!r} is no text, so it cannot be kept: give the folder another name."
        raise ModelError(msg) from error


def _is_name(text: Any) -> TypeGuard[str]:
    """Return whether it could be a name in Python: no path leads out of one, and no file name is too long for one."""
    return isinstance(text, str) and text.isascii() and text.isidentifier() and len(text) < 200


def _json(file: Path, folder: Path) -> dict[str, Any]:
    try:
        content = json.loads(file.read_text(encoding="utf-8"))
    except (FileNotFoundError, NotADirectoryError):
        msg = f"{folder} is not a diffusers model folder: it has no {file.name}."
        raise ModelError(msg) from None
    except (OSError, ValueError, RecursionError) as error:
        msg = f"{file} cannot be read as JSON ({error})."
        raise ModelError(msg) from error
    if not isinstance(content, dict):
        msg = f"{file} should hold a JSON object, but holds a {type(content).__name__}."
        raise ModelError(msg)
    return content


def _components(folder: Path, index: dict[str, Any]) -> Iterator[Component]:
    """Yield the parts of the pipeline: the entries that diffusers would import a library for."""
    for part, classes in sorted(index.items()):
        if isinstance(classes, list) and classes and isinstance(classes[0], str):
            yield _component(folder, part, classes)


def _component(folder: Path, part: str, classes: list[Any]) -> Component:
    library = _library(classes[0])
    if library is None:
        msg = f"{folder.name} takes its {part} from {classes[0]!r}; only code of diffusers and transformers is run."
        raise ModelError(msg)
    if len(classes) != 2 or not _is_name(classes[1]):
        msg = f"{folder / INDEX} names no class for its {part}: {str(classes)[:100]}."
        raise ModelError(msg)
    if not _is_name(part) or (folder / part).is_symlink() or not (folder / part).is_dir():
        msg = f"{folder} names a {part[:100]} in {INDEX} but has no folder of that name."
        raise ModelError(msg)
    parameters, size = _sizes(folder / part)
    return Component(name=part, library=library, class_name=classes[1], parameters=parameters, bytes=size)


def _sizes(folder: Path) -> tuple[int, int]:
    """Return the parameters and the bytes of a component's files, all of them safetensors and without code."""
    weights = weight_files(folder)
    unsafe = sorted(file.name for file in folder.iterdir() if file.suffix in UNSAFE_SUFFIXES)
    if unsafe and not weights:
        msg = f"{folder} has pickled weights ({unsafe[0]}), which can run code: convert them to safetensors."
        raise ModelError(msg)
    if list(folder.glob("*.py")):
        msg = f"{folder} brings code of its own, which autotune does not run."
        raise ModelError(msg)
    sizes = [_safetensors_size(file) for file in weights]
    return sum(parameters for parameters, _ in sizes), sum(size for _, size in sizes)


def read_component(folder: Path, name: str) -> tuple[Component, dict[str, Any]]:
    """Return a component of diffusers that lies in a folder of its own, to be called `name`, and its configuration.

    Raises ModelError where it is none, or holds what autotune does not run.
    """
    with readable(folder):
        config = _json(folder / "config.json", folder)
        class_name = config.get("_class_name")
        parameters, size = _sizes(folder)
        if not _is_name(class_name) or not parameters:
            msg = f"{folder} is no component of diffusers: a config.json with _class_name, and safetensors are needed."
            raise ModelError(msg)
        place, revision = str(folder.resolve()), revision_of(folder)
    return (
        Component(
            name=name,
            library="diffusers",
            class_name=class_name,
            parameters=parameters,
            bytes=size,
            folder=place,
            revision=revision,
        ),
        config,
    )


def config_of(card: ModelCard, component: str) -> dict[str, Any]:
    """Return the configuration of a component that lies in the model's own folder. Raises ModelError."""
    with readable(Path(card.folder)):
        return _json(Path(card.folder) / component / "config.json", Path(card.folder))


class Tensor(NamedTuple):
    """What a file says of one of its tensors: its format, as safetensors names it (`BF16`), and its shape."""

    dtype: str
    shape: tuple[int, ...]


def tensors_of(card: ModelCard, component: str) -> dict[str, Tensor]:
    """Return the tensors of a component by name, from the headers of its files. Raises ModelError."""
    return _tensors(Path(card.folder), component, card.revision)


@cache
def _tensors(folder: Path, component: str, _revision: str) -> dict[str, Tensor]:
    with readable(folder):
        headers = [json.loads(safetensors_header(file)) for file in weight_files(folder / component)]
    return {
        name: Tensor(tensor["dtype"], tuple(tensor["shape"]))
        for header in headers
        for name, tensor in header.items()
        if name != "__metadata__"
    }


def weight_files(folder: Path) -> list[Path]:
    """Return the files of weights in a component's folder, without variants."""
    return [file for file in sorted(folder.glob("*.safetensors")) if "." not in file.stem]


def _library(name: str) -> str | None:
    """Return the module that a component's class is imported from; None where that is in neither library.

    Modules of pipelines are named by their last part: `["stable_diffusion", "StableDiffusionSafetyChecker"]`.
    Source: diffusers 0.42, `pipelines/pipeline_loading_utils.py`, `get_class_obj_and_candidates`.
    """
    if name in LIBRARIES:
        return name
    return f"diffusers.pipelines.{name}" if name in _pipeline_modules() else None


@cache
def _pipeline_modules() -> frozenset[str]:
    """Return the names of the folders in diffusers that hold pipelines, without importing it."""
    spec = find_spec("diffusers")
    folders = Path(spec.origin).parent.glob("pipelines/*/__init__.py") if spec and spec.origin else ()
    return frozenset(file.parent.name for file in folders)


def safetensors_header(file: Path) -> bytes:
    """Return the JSON header: 8 bytes of length, little-endian, then the header itself."""
    with file.open("rb") as stream:
        first = stream.read(8)
        length = struct.unpack("<Q", first)[0] if len(first) == 8 else HEADER_LIMIT_BYTES + 1
        if length > HEADER_LIMIT_BYTES:
            msg = f"{file} is not a safetensors file: its header is not there or absurdly long."
            raise ModelError(msg)
        return stream.read(length)


def safetensors_shapes(file: Path) -> dict[str, list[int]]:
    """Return the shape of each tensor in a safetensors file. Raises ModelError where it is none, or cut short."""
    _safetensors_size(file)
    header = json.loads(safetensors_header(file))
    return {name: tensor["shape"] for name, tensor in header.items() if name != "__metadata__"}


def _safetensors_size(file: Path) -> tuple[int, int]:
    """Return the number of parameters and of bytes that the header of a safetensors file declares."""
    header = safetensors_header(file)
    try:
        parameters, size = _declared(json.loads(header))
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        msg = f"{file} is not a safetensors file: its header cannot be read ({error})."
        raise ModelError(msg) from error
    declared_bytes, found_bytes = 8 + len(header) + size, file.stat().st_size
    if found_bytes < declared_bytes:
        msg = f"{file} is cut short: it declares {declared_bytes} bytes and has {found_bytes}."
        raise ModelError(msg)
    return parameters, size


def _declared(header: dict[str, Any]) -> tuple[int, int]:
    """Return the number of parameters, and where the last tensor ends: they lie side by side from 0 on."""
    parameters, size = 0, 0
    for name, tensor in header.items():
        if name != "__metadata__":
            begin, end = map(_count, tensor["data_offsets"])
            parameters += math.prod(map(_count, tensor["shape"]))
            size = max(size, begin, end)
    if parameters > 8 * size:
        msg = f"more numbers than {size} bytes can hold"
        raise ValueError(msg)
    return parameters, size


def _count(number: Any) -> int:
    if type(number) is not int or not 0 <= number < 2**63:
        msg = f"{number!r:.40} counts nothing"
        raise ValueError(msg)
    return number


def revision_of(folder: Path) -> str:
    """Return a digest of the folder: JSON files whole; of weights the header, the size and the last MiB.

    A model of 20 GB is known in milliseconds this way; a change of weights that keeps size, header and the
    last MiB of every file is not noticed. Raises ModelError where a file cannot be read.
    """
    facts: list[list[str | int]] = []
    with readable(folder):
        for file in sorted(
            file for kind in ("*.json", "*/*.json", "*.safetensors", "*/*.safetensors") for file in folder.glob(kind)
        ):
            digest = hashlib.sha256()
            with file.open("rb") as stream:
                if file.suffix == ".safetensors":
                    digest.update(safetensors_header(file))
                    stream.seek(max(0, file.stat().st_size - 2**20))
                digest.update(stream.read())
            facts.append([file.relative_to(folder).as_posix(), file.stat().st_size, digest.hexdigest()])
    return key_of(facts)


_NO_SHAPE = frozenset({"_name_or_path", "_diffusers_version", "transformers_version", "torch_dtype", "dtype"})
"""What configurations say beside how a model is built: where it came from, and in what format it was saved."""


def _architecture(folder: Path, pipeline_class: str, components: tuple[Component, ...]) -> str:
    """Return a digest of the classes and the configurations of all that has one."""
    configs = []
    for each in components:
        file = folder / each.name / "config.json"
        if file.is_file():
            said = {name: value for name, value in _json(file, folder).items() if name not in _NO_SHAPE}
            configs.append([each.name, each.class_name, said])
    return key_of([pipeline_class, configs])


def _native_pixels(folder: Path) -> int | None:
    """Return the side of the images that the model was made for, where its configuration tells."""
    for part in DENOISERS:
        if (folder / part / "config.json").is_file():
            sample = _json(folder / part / "config.json", folder).get("sample_size")
            vae = folder / "vae" / "config.json"
            blocks = _json(vae, folder).get("block_out_channels", []) if vae.is_file() else []
            if isinstance(sample, int) and isinstance(blocks, list) and blocks:
                pixels = int(sample * 2 ** (len(blocks) - 1))
                return pixels if pixels in PIXELS else None
    return None
