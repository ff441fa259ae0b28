"""What a trial may answer, checked: a process in which a technique has run wild says anything."""

from __future__ import annotations

import json
from typing import Annotated, Any, NoReturn, TypeVar

from pydantic import Field, ValidationError

from ...value import Value
from ..measured import FAILURES
from .failure import TrialFailure

Bytes = Annotated[int, Field(ge=0, lt=2**63)]
Seconds = Annotated[float, Field(ge=0)]
Milliseconds = Annotated[float, Field(gt=0)]

A = TypeVar("A", bound=Value)


class Loaded(Value):
    """The answer to `load`."""

    load_s: Seconds
    cold_s: Seconds
    peak_memory_bytes: Bytes
    load_peak_bytes: Bytes
    weights_bytes: Bytes


class Ran(Value):
    """The answer to `run`: for each call its latency, and what its median step took."""

    latency_ms: tuple[Milliseconds, ...]
    steps_ms: tuple[Annotated[float, Field(ge=0)], ...]
    peak_memory_bytes: Bytes


class GivenUp(Value):
    """The answer to `run` where a call was given up after `done` of its steps: it would have taken so long at least."""

    at_least_ms: Milliseconds
    done: int
    steps: int
    peak_memory_bytes: Bytes


class Scored(Value):
    """The answer to `score`: a CLIP score for each image."""

    scores: tuple[float, ...]


class Witnessed(Value):
    """The answer to `witness`: a figure for each image."""

    figures: tuple[float, ...]


class Compared(Value):
    """The answer to `compare`: how like its reference each image is, as SSIM and as PSNR."""

    likeness: tuple[float, ...]
    psnr: tuple[float, ...]


def parsed(text: bytes) -> dict[str, Any]:
    """Return what a line says under `ok`. Raises TrialFailure where it says what has failed, or makes no sense."""
    try:
        answer = json.loads(text, parse_constant=_refuse)
        match answer:
            case {"ok": dict() as content} if len(answer) == 1:
                return content
            case {"failure": {"outcome": outcome, "detail": str(detail)}} if len(answer) == 1 and outcome in FAILURES:
                raise TrialFailure(outcome, detail)
    except (ValueError, RecursionError, TypeError):
        pass
    raise TrialFailure("crashed", f"The trial answered with something that is no answer: {text[:200]!r}")


def understood(kind: type[A], content: dict[str, Any], count: int = 0) -> A:
    """Return an answer as a value, with `count` entries in its list. Raises TrialFailure where it is none."""
    try:
        answer = kind.model_validate_json(json.dumps(content))
    except ValidationError as error:
        wrong = error.errors()[0]
        where = ".".join(map(str, wrong["loc"]))
        raise TrialFailure("crashed", f"The trial's answer makes no sense ({where}: {wrong['msg']}).") from error
    lengths = {len(value) for value in dict(answer).values() if isinstance(value, tuple)}
    if lengths - {count}:
        raise TrialFailure("crashed", f"The trial answered for {min(lengths)} images, and was asked for {count}.")
    return answer


def _refuse(constant: str) -> NoReturn:
    raise ValueError(constant)
