"""The models that are known by name: those of `models.toml`, and the user's own in a file of the same form."""

from __future__ import annotations

import re
import tomllib
from functools import cache
from importlib import resources
from pathlib import Path
from typing import Any, Literal, Self

from pydantic import ValidationError, field_validator, model_validator

from ... import shapes
from ...errors import ModelError
from ...search.footprint import ITEM_BYTES
from ...search.workload import Workload
from ...store.places import config_dir
from ...value import Value

Dtype = Literal["fp32", "bf16", "fp16"]

FILE_NAME = "models.toml"
NAME = re.compile(r"[a-z0-9][a-z0-9._-]*")


class Published(Value):
    """How many parameters a component has by somebody else's count: `11.90B`, `859.5M`, as exact as it is written."""

    parameters: str
    source: str

    @field_validator("parameters")
    @classmethod
    def _counts(cls, text: str) -> str:
        if not re.fullmatch(r"\d+(\.\d+)?[BM]", text):
            msg = f"{text!r} is no count such as 2.5B or 860M"
            raise ValueError(msg)
        return text

    @property
    def range(self) -> tuple[float, float]:
        """The least and the most that is rounded to what is written."""
        number, unit = self.parameters[:-1], {"B": 1e9, "M": 1e6}[self.parameters[-1]]
        half = 0.5 * 10 ** -len(number.partition(".")[2])
        return (float(number) - half) * unit, (float(number) + half) * unit


class Entry(Value):
    """A model by its name: a repository on the hub or a folder, and what is asked of it unless the user says otherwise.

    dtype: the format of the files that are downloaded, those without a variant in their names; dtypes: of components
    that have another. published: what is known of the number of parameters, by component.
    """

    hub: str = ""
    folder: str = ""
    gated: bool = False
    licence: str = ""
    dtype: Dtype = "bf16"
    dtypes: dict[str, Dtype] = {}
    workload: Workload | None = None
    published: dict[str, Published] = {}

    @model_validator(mode="after")
    def _is_somewhere(self) -> Self:
        if bool(self.hub) == bool(self.folder):
            msg = "either hub or folder is needed"
            raise ValueError(msg)
        if self.hub and not re.fullmatch(r"[\w.-]+/[\w.-]+", self.hub):
            msg = f"hub is written OWNER/NAME, and {self.hub!r} is not"
            raise ValueError(msg)
        return self

    def bytes_a_parameter(self, component: str) -> int:
        """Return the size of a number in the files of a component."""
        return ITEM_BYTES[self.dtypes.get(component, self.dtype)]


def entries() -> dict[str, Entry]:
    """Return all models by name: those that ship with autotune, and the user's own, which win.

    Raises ModelError where the user's file cannot be read.
    """
    return {**shipped(), **_own(config_dir(make=False) / FILE_NAME)}


@cache
def shipped() -> dict[str, Entry]:
    """Return the models that ship with autotune: `shapes` with its weights, the others without."""
    return {"shapes": SHAPES, **_parsed((resources.files(__package__) / FILE_NAME).read_text(encoding="utf-8"))}


SHAPES = Entry(
    folder=str(shapes.WEIGHTS),
    licence="Apache-2.0",
    dtype="fp16",
    workload=Workload(width=128, height=128, steps=20, guidance=3.0),
)


def _own(file: Path) -> dict[str, Entry]:
    try:
        found = _parsed(file.read_text(encoding="utf-8"))
    except (FileNotFoundError, NotADirectoryError):
        return {}
    except (OSError, ValueError) as error:
        msg = f"{file} cannot be read as a list of models: {_said(error)}."
        raise ModelError(msg) from error
    if "shapes" in found:
        msg = f"{file} has a model called shapes, which is autotune's own: give it another name."
        raise ModelError(msg)
    return found


def _parsed(text: str) -> dict[str, Entry]:
    """Return the entries of a file. Raises ValueError, of which ValidationError is one."""
    found = {}
    for name, content in tomllib.loads(text).items():
        if not NAME.fullmatch(name):
            msg = f"{name!r} is no name: small letters, digits, dots and dashes"
            raise ValueError(msg)
        found[name] = _entry(name, content)
    return found


def _entry(name: str, content: Any) -> Entry:
    try:
        return Entry.model_validate(content)
    except ValidationError as error:
        msg = f"[{name}] {_said(error)}"
        raise ValueError(msg) from error


def _said(error: Exception) -> str:
    """Return what is wrong in a few words."""
    if isinstance(error, ValidationError):
        first = error.errors()[0]
        place = ".".join(map(str, first["loc"]))
        said = first["msg"].removeprefix("Value error, ")
        return f"{place}: {said}" if place else said
    return str(error).rstrip(".")
