"""The software that decides how fast and how well a pipeline runs, by version; nothing of it is imported."""

from __future__ import annotations

import os
import platform
import re
import shutil
import sys
import sysconfig
from collections.abc import Callable
from functools import cached_property
from importlib import metadata
from pathlib import Path

from ..value import Value, key_of
from .allocators import find_allocators, huge_pages
from .files import ROOT, text_of

DISTRIBUTIONS = {
    "torch": "torch",
    "diffusers": "diffusers",
    "transformers": "transformers",
    "accelerate": "accelerate",
    "torchao": "torchao",
    "bitsandbytes": "bitsandbytes",
    "gguf": "gguf",
    "mslk": "mslk-cuda",
    "optimum_quanto": "optimum-quanto",
    "openvino": "openvino",
    "nncf": "nncf",
    "tomesd": "tomesd",
    "cache_dit": "cache-dit",
    "peft": "peft",
    "flash_attn": "flash-attn",
    "sageattention": "sageattention",
    "xformers": "xformers",
    "optuna": "optuna",
    "autotune": "autotune-diffusers",
}
"""What is asked for, and the name of the distribution that brings it."""

_TO_CHOOSE_FROM = ("cxx_compiler", "allocators", "huge_pages")  # says what may be tried, and changes no pipeline
HEADERS = Path(sysconfig.get_path("include"))


class Software(Value):
    """What is installed."""

    python: str
    os: str
    """Without the kernel's version, which changes every few days and no plan with it: "Debian GNU/Linux 12"."""
    versions: dict[str, str]
    """By the names in `DISTRIBUTIONS`; what is not installed is not in it."""
    cxx_compiler: str = ""
    """The program that torch's inductor compiles with on a CPU; empty where it, or Python's headers, are missing."""
    allocators: dict[str, str] = {}
    """The libraries that may hand out memory instead of the C library, by name: where each lies."""
    huge_pages: str = ""
    """Who gets huge pages from the kernel: `always`, `madvise`, `never`; empty where it does not say."""

    @cached_property
    def key(self) -> str:
        """A short stable key of what runs a pipeline: another version of it, another key.

        autotune and Optuna only look for plans; with another version of theirs, a plan is as fast as before.
        """
        content = self.model_dump(mode="json", exclude={"versions", *_TO_CHOOSE_FROM})
        running = {name: version for name, version in self.versions.items() if name not in {"autotune", "optuna"}}
        return key_of({**content, "versions": running})


def installed_version(distribution: str) -> str:
    """Return what `importlib.metadata.version` does, and raise as it does, without parsing whole descriptions."""
    head, _, _ = (metadata.distribution(distribution).read_text("METADATA") or "").partition("\n\n")
    found = re.search(r"^Version:[ \t]*(\S+)[ \t]*$", head, re.MULTILINE)
    return found[1] if found else metadata.version(distribution)


def probe_software(
    root: Path = ROOT,
    *,
    system: str = sys.platform,
    version_of: Callable[[str], str] = installed_version,
    which: Callable[[str], str | None] = shutil.which,
    headers: Path = HEADERS,
) -> Software:
    """Return the versions of what is installed; nothing is raised.

    version_of: says the version of a distribution, and raises PackageNotFoundError where there is none.
    which: says where a program lies; headers: the folder of Python.h.

    Source: Python, importlib.metadata; man 5 os-release.
    """
    found = {name: _version(distribution, version_of) for name, distribution in DISTRIBUTIONS.items()}
    return Software(
        python=platform.python_version(),
        os=_os_name(root, system),
        versions={name: version for name, version in found.items() if version},
        cxx_compiler=_cxx_compiler(which, headers),
        allocators=find_allocators(root, system),
        huge_pages=huge_pages(root),
    )


def _cxx_compiler(which: Callable[[str], str | None], headers: Path) -> str:
    """Return the compiler that inductor would call. Source: torch 2.13, `_inductor/config.py` (`cpp.cxx`)."""
    found = which(os.environ.get("CXX", "g++"))
    return found if found and (headers / "Python.h").is_file() else ""


def _version(distribution: str, version_of: Callable[[str], str]) -> str | None:
    try:
        return version_of(distribution)
    except (metadata.PackageNotFoundError, KeyError, OSError, ValueError):  # the last three: damaged metadata
        return None


def _os_name(root: Path, system: str) -> str:
    if system == "linux":
        lines = (line.partition("=") for line in text_of(root / "etc/os-release").splitlines())
        told = {key: value.strip("\"'") for key, _, value in lines}
        return f"{told.get('NAME', 'Linux')} {told.get('VERSION_ID', '')}".strip()
    if system == "darwin":
        return f"macOS {platform.mac_ver()[0]}".strip()
    return f"{platform.system()} {platform.release()}".strip()
