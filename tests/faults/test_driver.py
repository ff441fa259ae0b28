"""NVML breaks in every way while a daemon serves: it lives, says what is wrong, and plans are read as before."""

from __future__ import annotations

import shutil
import statistics
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import psutil
import pynvml
import pytest
from starlette.testclient import TestClient

from autotune.planner.daemon import lookout
from autotune.planner.daemon.app import create_app
from autotune.planner.daemon.gauge import Gauge
from autotune.probes import accelerators
from autotune.probes.accelerators import Sighting, probe_nvidia
from autotune.probes.child import ask_child
from autotune.probes.machine import Machine, probe

from ..daemon.conftest import BASE_URL
from ..daemon.family import MACHINE, keep
from ..probes.drivers import CRASHES, HEALTHY, LOST_FACTS, LOST_HANDLE, folder_with

ERRORS = sorted(
    value for name, value in vars(pynvml).items() if name.startswith("NVML_ERROR_") and isinstance(value, int)
)
HANGS = {"hangs at the start": "def nvmlInit(): time.sleep(60)", "hangs later": LOST_HANDLE + "time.sleep(60)"}

RAISES = """
import importlib.util, sys
folder = [each for each in sys.path if not each.startswith({folder!r})]
spec = importlib.machinery.PathFinder.find_spec("pynvml", folder)
ours, sys.modules["pynvml"] = sys.modules["pynvml"], (real := importlib.util.module_from_spec(spec))
spec.loader.exec_module(real)
sys.modules["pynvml"] = ours
NVMLError, NVMLError_LibraryNotFound = real.NVMLError, real.NVMLError_LibraryNotFound
NVMLError_NotSupported = real.NVMLError_NotSupported
def {function}(*_): raise real.NVMLError({code})
"""


def sees(monkeypatch: pytest.MonkeyPatch, folder: Path, source: str, timeout_s: float = 5.0) -> None:
    """Let every question to NVML from here on be answered by `source`."""
    shutil.rmtree(folder / "__pycache__", ignore_errors=True)  # which knows a file by its second and its length
    folder_with(folder, "pynvml", HEALTHY + source)
    monkeypatch.setattr(accelerators, "nvidia_hint", lambda *_: True)
    monkeypatch.setattr(accelerators, "ask_child", lambda module, *_: ask_child(module, timeout_s, [folder]))


def probed() -> Machine:
    return probe(ask_devices=Sighting)


@contextmanager
def serving(folder: Path) -> Iterator[TestClient]:
    keep()
    with closing(Gauge([folder])) as gauge:
        app = create_app(probe=probed, free_memory=gauge)
        with TestClient(app, base_url=BASE_URL, raise_server_exceptions=False) as ask:
            yield ask


def check_serves(ask: TestClient) -> list[str]:
    """Check that a plan is served, and return what the daemon says of the machine."""
    for _ in range(100):
        machine = ask.get("/v1/machine")
        if machine.status_code == 200:
            break
        time.sleep(0.05)
    assert machine.status_code == 200, machine.text
    assert ask.get("/v1/plan", params={"model": "shapes"}).status_code == 200
    assert ask.get("/v1/health").status_code == 200
    notes: list[str] = machine.json()["machine"]["notes"]
    return notes


def end_who_tells_what_is_free() -> None:
    """Kill the process that was started with the driver of before."""
    for child in psutil.Process().children():
        if "autotune.probes.nvidia_free" in child.cmdline():
            child.kill()


@pytest.mark.parametrize("way", [*CRASHES, *HANGS])
def test_a_driver_that_breaks_is_said(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, way: str) -> None:
    source = CRASHES[way][0] if way in CRASHES else HANGS[way]
    sees(monkeypatch, tmp_path, source, timeout_s=0.5 if way in HANGS else 5.0)
    with serving(tmp_path) as daemon:
        notes = check_serves(daemon)
    assert [note for note in notes if note.startswith("NVML ")]


@pytest.mark.parametrize("function", ["nvmlInit", "nvmlDeviceGetMemoryInfo"])
def test_each_error_in_a_process_of_its_own(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, function: str) -> None:
    assert len(ERRORS) >= 31
    for code in ERRORS[:: 1 if function == "nvmlInit" else 4]:
        sees(monkeypatch, tmp_path, RAISES.format(folder=str(tmp_path), function=function, code=code))
        seen = probe_nvidia()
        if function == "nvmlInit":
            assert seen.accelerators == ()
            assert bool(seen.notes) is (code != pynvml.NVML_ERROR_LIBRARY_NOT_FOUND), code
        else:
            assert len(seen.accelerators) == 2
        assert all("failed" not in note and "nonsense" not in note for note in seen.notes), (code, seen.notes)


def test_a_gpu_is_lost_while_the_daemon_serves(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for source in (LOST_FACTS, LOST_HANDLE, "def nvmlInit(): os.abort()"):
        sees(monkeypatch, tmp_path, "")
        with serving(tmp_path) as daemon:
            assert check_serves(daemon) == []
            sees(monkeypatch, tmp_path, source)
            end_who_tells_what_is_free()
            check_serves(daemon)


def test_plans_are_read_as_fast_while_the_driver_hangs(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    keep()
    sees(monkeypatch, tmp_path, "def nvmlInit(): time.sleep(60)", timeout_s=3.0)
    monkeypatch.setattr(lookout, "REFRESH_S", 0.0)  # so that it is looked at anew all the time, and hangs
    first = [MACHINE.model_copy(update={"accelerators": ()})]
    gauge = Gauge([tmp_path])
    app = create_app(probe=lambda: first.pop() if first else probed(), free_memory=gauge)
    with closing(gauge), TestClient(app, base_url=BASE_URL) as ask:
        check_serves(ask)
        took_ms = []
        for _ in range(100):
            started = time.perf_counter()
            assert ask.get("/v1/plan", params={"model": "shapes"}).status_code == 200
            took_ms.append((time.perf_counter() - started) * 1000)
    assert statistics.quantiles(took_ms, n=20)[-1] < 100  # alone on a machine, it is below 20
