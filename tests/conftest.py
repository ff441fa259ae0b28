"""What every test gets: a home of its own for autotune's files, no network, and a skip where a GPU is wanted."""

from __future__ import annotations

import os
import signal
from collections import Counter
from functools import cache
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

LINK = Path(__file__).parents[1] / ".dev"

# These are read when the libraries are imported, which a fixture would come too late for.
os.environ |= {"HF_HUB_OFFLINE": "1", "HF_HUB_DISABLE_TELEMETRY": "1", "NNCF_CI": "1"}  # NNCF_CI: sends nothing

# A run in the background ignores Ctrl-C, and would hand that on to the children that tests interrupt.
signal.signal(signal.SIGINT, signal.default_int_handler)

# a busy machine is slow, not wrong
settings.register_profile("ci", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("ci")


@pytest.fixture(autouse=True)
def _own_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Keep the test, and the processes that it starts, away from the user's files and settings."""
    for name in [*os.environ]:
        if name.startswith("AUTOTUNE_"):
            monkeypatch.delenv(name)
    monkeypatch.delenv("HF_TOKEN", raising=False)
    monkeypatch.setenv("AUTOTUNE_HOME", str(tmp_path))
    monkeypatch.setenv("PYTHONPATH", str(LINK))  # child processes import this checkout, installed or not


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Put files with many slow tests first: processes that share the files then end together."""
    slow = Counter(item.path for item in items if item.get_closest_marker("slow"))
    items.sort(key=lambda item: -slow[item.path])


@cache
def _has_gpu() -> bool:
    import torch

    return bool(torch.accelerator.is_available())


def pytest_runtest_setup(item: pytest.Item) -> None:
    """Skip what is marked `gpu` where torch finds none."""
    if item.get_closest_marker("gpu") and not _has_gpu():
        pytest.skip("needs a GPU that torch can use, and there is none here")
