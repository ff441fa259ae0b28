"""What is free on each device, by the names that plans have for them."""

from __future__ import annotations

import threading
import time
from contextlib import closing
from typing import TYPE_CHECKING, Any

import pytest

from autotune.planner.daemon import gauge
from autotune.planner.daemon.gauge import Gauge
from autotune.probes.accelerators import Accelerator
from autotune.probes.machine import Machine

from ..probes.drivers import HEALTHY, LOST_FACTS, LOST_HANDLE, folder_with
from .family import GIB, MACHINE

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


def machine_with(*gpus: dict[str, Any]) -> Machine:
    usual = {"kind": "cuda", "index": 0, "name": "A GPU", "total_bytes": 80 * GIB, "free_bytes": 70 * GIB}
    return MACHINE.model_copy(update={"accelerators": tuple(Accelerator(**{**usual, **gpu}) for gpu in gpus)})


ONE = machine_with({})


@pytest.fixture(autouse=True)
def _world(monkeypatch: pytest.MonkeyPatch) -> None:
    """16 GiB of RAM are free, and a driver may be asked at any time."""
    monkeypatch.setattr(gauge, "free_memory", lambda: 16 * GIB)
    monkeypatch.setattr(gauge, "FRESH_S", 0.0)


@pytest.fixture
def ask(tmp_path: Path) -> Iterator[Gauge]:
    """A gauge whose driver tells of the first GPU only: 20 GiB."""
    folder_with(tmp_path, "pynvml", HEALTHY + LOST_FACTS)
    with closing(Gauge([tmp_path])) as asked:
        yield asked


def drive(folder: Path, source: str) -> None:
    """Let the next process find another driver."""
    for cached in (folder / "__pycache__").glob("*"):
        cached.unlink()  # it knows a file by its second and its length
    folder_with(folder, "pynvml", HEALTHY + source)


@pytest.mark.parametrize(
    ("gpus", "free_bytes"),
    [
        ((), {}),
        (({},), {"cuda:0": 20 * GIB}),
        (({}, {"index": 1}), {"cuda:0": 20 * GIB, "cuda:1": 70 * GIB}),
        (({"index": 1, "free_bytes": None},), {"cuda:1": 0}),
        (({"kind": "rocm"},), {"cuda:0": 70 * GIB}),
        (({"kind": "xpu"},), {"xpu:0": 70 * GIB}),
        (({"kind": "mps", "unified_memory": True, "total_bytes": 12 * GIB},), {"mps:0": 12 * GIB}),
        (({"unified_memory": True},), {"cuda:0": 16 * GIB}),
    ],
)
def test_each_device_tells_what_it_can(
    ask: Gauge, gpus: tuple[dict[str, Any], ...], free_bytes: dict[str, int]
) -> None:
    assert ask(machine_with(*gpus)) == {"cpu": 16 * GIB, **free_bytes}


def test_gpus_are_counted_as_cuda_counts_them(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "1")
    folder_with(
        tmp_path, "pynvml", HEALTHY + "def nvmlDeviceGetMemoryInfo(handle): Memory.free = handle * 2**30; return Memory"
    )
    with closing(Gauge([tmp_path])) as ask:
        assert ask(ONE)["cuda:0"] == 1 * GIB


def test_one_process_is_asked_again_and_again_and_ends_with_its_gauge(tmp_path: Path) -> None:
    folder_with(tmp_path, "pynvml", HEALTHY + "def nvmlDeviceGetMemoryInfo(handle): Memory.free -= 1; return Memory")
    with closing(Gauge([tmp_path])) as ask:
        first = ask(ONE)["cuda:0"]
        process = ask._teller._process
        assert process is not None
        assert ask(ONE)["cuda:0"] == first - 2, "it is the same one, and asks the driver each time"
        assert ask._teller._process is process
    assert process.poll() is not None


def test_without_such_a_gpu_no_process_is_started(ask: Gauge) -> None:
    ask(machine_with({"kind": "rocm"}))
    assert not ask._teller.lives


def test_one_that_has_ended_meanwhile_is_started_again(ask: Gauge, tmp_path: Path) -> None:
    assert ask(ONE)["cuda:0"] == 20 * GIB
    assert ask._teller._process
    drive(tmp_path, "Memory.free = 5 * 2**30")
    ask._teller._process.kill()
    assert ask(ONE)["cuda:0"] == 5 * GIB


def test_who_is_not_asked_for_a_while_lets_the_driver_go(tmp_path: Path) -> None:
    folder_with(tmp_path, "pynvml", HEALTHY + "import __main__; __main__.QUIET_S = 0.3")
    with closing(Gauge([tmp_path])) as ask:
        assert ask(ONE)["cuda:0"] == 20 * GIB
        process = ask._teller._process
        assert process is not None
        assert process.wait(10) == 0
        assert ask(ONE)["cuda:0"] == 20 * GIB
        assert ask._teller._process is not process


@pytest.mark.parametrize(
    "source",
    [
        "raise ImportError",
        "def nvmlInit(): os.abort()",
        "def nvmlInit(): raise NVMLError('no driver')",
        "def nvmlDeviceGetCount(): os.kill(os.getpid(), signal.SIGSEGV)",
        "def nvmlDeviceGetCount(): time.sleep(60)",
        "Memory.free = -1",
        "Memory.free = 'much'",
        LOST_HANDLE + "def nvmlDeviceGetMemoryInfo(handle): raise NVMLError_GpuIsLost('lost')",
    ],
)
def test_where_the_driver_does_not_tell_it_is_what_the_probe_said(
    ask: Gauge, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, source: str
) -> None:
    monkeypatch.setattr(gauge, "PATIENCE_S", 1.0)
    drive(tmp_path, source)
    assert ask(ONE) == {"cpu": 16 * GIB, "cuda:0": 70 * GIB}


def test_a_driver_that_hangs_holds_up_one_question(ask: Gauge, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gauge, "PATIENCE_S", 0.5)
    drive(tmp_path, "def nvmlInit(): time.sleep(60)")
    ask(ONE)
    monkeypatch.setattr(ask._teller, "start", lambda: pytest.fail("it was asked again"))
    assert ask(ONE)["cuda:0"] == 70 * GIB


def test_where_no_process_can_be_started_it_is_what_the_probe_said(ask: Gauge, monkeypatch: pytest.MonkeyPatch) -> None:
    def full() -> None:
        raise BlockingIOError

    monkeypatch.setattr(ask._teller, "start", full)
    assert ask(ONE)["cuda:0"] == 70 * GIB


def test_questions_that_come_together_are_answered_together(
    ask: Gauge, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(gauge, "FRESH_S", 60.0)
    drive(tmp_path, "def nvmlDeviceGetMemoryInfo(handle): Memory.free -= 1; time.sleep(0.2); return Memory")
    told: list[int] = []
    threads = [threading.Thread(target=lambda: told.append(ask(ONE)["cuda:0"])) for _ in range(8)]
    began = time.monotonic()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(told) == 8
    assert len(set(told)) == 1
    assert time.monotonic() - began < 30
