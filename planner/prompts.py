"""Sets of prompts: those that ship with autotune, and those that a user has in a file."""

from __future__ import annotations

from importlib import resources
from pathlib import Path
from types import ModuleType

from ..errors import UsageError
from ..search.task import FEWEST_PROMPTS


def shipped_prompts(where: ModuleType) -> tuple[str, ...]:
    """Return the prompts that a package ships with."""
    return _parsed((resources.files(where) / "prompts.txt").read_text(encoding="utf-8"))


def prompts_in(file: Path) -> tuple[str, ...]:
    """Return the prompts of a file: one a line, without blank lines and those that start with `#`.

    Raises UsageError where it cannot be read, is no text in UTF-8, or has too few.
    """
    try:
        prompts = _parsed(file.expanduser().read_text(encoding="utf-8-sig"))
    except UnicodeDecodeError as error:
        msg = f"{file} holds no prompts: it is no text in UTF-8."
        raise UsageError(msg) from error
    except (OSError, RuntimeError) as error:  # RuntimeError: ~ of nobody
        msg = f"The prompts in {file} cannot be read ({error})."
        raise UsageError(msg) from error
    if len(prompts) < FEWEST_PROMPTS:
        msg = f"{file} has {len(prompts)} prompts, one a line, and at least {FEWEST_PROMPTS} are needed."
        raise UsageError(msg)
    return prompts


def _parsed(text: str) -> tuple[str, ...]:
    lines = (line.strip() for line in text.splitlines())
    return tuple(line for line in lines if line and not line.startswith("#"))
