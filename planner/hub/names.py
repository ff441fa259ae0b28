"""What names a repository of the hub: `org/name`, and `org/name@revision`."""

from __future__ import annotations

import re
from typing import NamedTuple

MAIN = "main"
_PATTERN = re.compile(r"([A-Za-z0-9][\w.-]{0,95}/[A-Za-z0-9_][\w.-]{0,95})(?:@([A-Za-z0-9][\w./-]{0,199}))?", re.ASCII)


class HubName(NamedTuple):
    """A repository, and a branch, tag or commit of it."""

    repo: str
    revision: str = MAIN

    def __str__(self) -> str:
        return self.repo if self.revision == MAIN else f"{self.repo}@{self.revision}"


def parse_name(text: str) -> HubName | None:
    """Return the repository that a text names; None where it cannot be one's name."""
    found = _PATTERN.fullmatch(text)
    if not found or ".." in text or "--" in found[1] or found[1].endswith((".git", ".", "-")):
        return None
    return HubName(found[1], found[2] or MAIN)
