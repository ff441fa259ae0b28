"""Which control groups this process is in, so that a container's limits are found and not its host's."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path, PurePosixPath

from .files import text_of, under


@dataclass(frozen=True)
class Groups:
    """The groups whose limits hold for this process; none where the system has no such thing."""

    version: int
    folders: tuple[Path, ...]
    """The process's own group first, then each group above it: every one of them may set a limit."""


@dataclass(frozen=True)
class _Mount:
    shown: PurePosixPath  # the group that lies at the mount point: not the topmost one in an older container
    point: str


def own_groups(controller: str, root: Path) -> Groups:
    """Return the groups that limit this process's `controller` ("cpu" or "memory").

    A controller hangs in version 1 or in version 2, never in both, also on a machine that has mounted both.

    Source: man 7 cgroups, "/proc/pid/cgroup"; man 5 proc_pid_mountinfo.
    """
    return _groups(controller, root, text_of(root / "proc/self/cgroup"), text_of(root / "proc/self/mountinfo"))


@lru_cache(maxsize=4)
def _groups(controller: str, root: Path, own: str, mounted: str) -> Groups:
    """Return the groups by what the kernel says, which is the same at nearly each question, and long."""
    paths = _paths(own)
    version = 1 if controller in paths else 2
    path = paths.get(controller if version == 1 else "")
    mounts = _mounts(mounted, controller if version == 1 else "")
    if path is None or not mounts:
        return Groups(version, ())
    mount = next((mount for mount in mounts if path.is_relative_to(mount.shown)), mounts[0])
    return Groups(version, _upwards(under(root, mount.point), path, mount.shown))


def _paths(text: str) -> dict[str, PurePosixPath]:
    """Return the path of each controller of version 1, and under "" that of version 2."""
    paths = {}
    for line in text.splitlines():
        number, _, rest = line.partition(":")
        controllers, _, path = rest.partition(":")
        if controllers or number == "0":
            paths.update(dict.fromkeys(controllers.split(","), PurePosixPath("/" + path.lstrip("/"))))
    return paths


def _mounts(text: str, controller: str) -> list[_Mount]:
    """Return where the hierarchy of `controller` is mounted, or that of version 2 for ""."""
    mounts = []
    for line in text.splitlines():
        left, _, right = line.partition(" - ")
        place, kind = left.split(" "), right.split(" ")
        if len(place) < 5 or len(kind) < 3:
            continue
        of_version_1 = kind[0] == "cgroup" and controller in kind[2].split(",")
        if of_version_1 if controller else kind[0] == "cgroup2":
            mounts.append(_Mount(PurePosixPath(_unescaped(place[3])), _unescaped(place[4])))
    return mounts


def _unescaped(path: str) -> str:
    """Return a path as it is: in mountinfo a space, for one, is a backslash and its octal code."""
    return re.sub(r"\\([0-7]{3})", lambda match: chr(int(match[1], 8)), path)


def _upwards(point: Path, path: PurePosixPath, shown: PurePosixPath) -> tuple[Path, ...]:
    """Return the folder of `path` and those above it, or only the mount point where `path` cannot be seen."""
    steps = path.relative_to(shown).parts if path.is_relative_to(shown) else ()
    if ".." in steps or not os.path.isdir(point.joinpath(*steps)):  # noqa: PTH112 - Path.is_dir raises for long names
        steps = ()
    return tuple(point.joinpath(*steps[:depth]) for depth in range(len(steps), -1, -1))
