"""What goes on at a GPU: a made-up NVML, in this process and in the one that watches."""

# ruff: noqa: N802 - the functions are NVML's
from __future__ import annotations

import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pynvml
import pytest

from autotune.probes.load import Load
from autotune.probes.nvidia_watch import SLOWED, Watcher
from autotune.probes.watch import AtGpu, Watch

from .drivers import HEALTHY, folder_with

OURS, THEIRS = 100, 200
REASONS = {
    name.removeprefix("nvmlClocksEventReason"): getattr(pynvml, name)
    for name in vars(pynvml)
    if name.startswith("nvmlClocksEventReason")
    and name not in {"nvmlClocksEventReasonAll", "nvmlClocksEventReasonNone"}
}
BAD = {"HwSlowdown", "SwThermalSlowdown", "HwThermalSlowdown", "HwPowerBrakeSlowdown"}


class NvmlError(Exception):
    """As NVML raises it."""


def sample(pid: int, share: int, at: int) -> SimpleNamespace:
    return SimpleNamespace(pid=pid, smUtil=share, timeStamp=at)


class Gpus:
    """An NVML of two GPUs: we are on the first one, others on both."""

    NVMLError = NvmlError
    NVML_CLOCK_SM = 1

    def __init__(self) -> None:
        self.reasons = [0, 0]
        self.clock = [1500, 300]
        self.samples: list[list[SimpleNamespace]] = [[], []]
        self.processes = [{OURS, THEIRS}, {THEIRS}]
        self.asked_since: list[int] = []

    def nvmlInit(self) -> None: ...
    def nvmlDeviceGetCount(self) -> int:
        return 2

    def nvmlDeviceGetHandleByIndex(self, index: int) -> int:
        return index

    def nvmlDeviceGetComputeRunningProcesses(self, gpu: int) -> list[SimpleNamespace]:
        return [SimpleNamespace(pid=pid) for pid in self.processes[gpu]]

    def nvmlDeviceGetCurrentClocksEventReasons(self, gpu: int) -> int:
        return self.reasons[gpu]

    def nvmlDeviceGetClockInfo(self, gpu: int, _: int) -> int:
        return self.clock[gpu]

    def nvmlDeviceGetMaxClockInfo(self, _: int, __: int) -> int:
        return 2000

    def nvmlDeviceGetProcessUtilization(self, gpu: int, since: int) -> list[SimpleNamespace]:
        self.asked_since.append(since)
        found = [each for each in self.samples[gpu] if each.timeStamp > since]
        if not found:
            raise NvmlError
        return found


@pytest.fixture
def gpus() -> Gpus:
    return Gpus()


@pytest.fixture
def watcher(gpus: Gpus) -> Watcher:
    return Watcher(gpus, lambda pid: pid == OURS)


def told(watcher: Watcher) -> AtGpu:
    watcher.look()
    return AtGpu.model_validate(watcher.told())


@pytest.mark.parametrize("reason", sorted(REASONS))
def test_heat_and_brakes_count_and_nothing_else(reason: str, gpus: Gpus, watcher: Watcher) -> None:
    gpus.reasons = [REASONS[reason], 0]
    assert told(watcher).slowed is (reason in BAD)
    gpus.reasons = [0, REASONS[reason]]
    assert not told(watcher).slowed, "that GPU is not ours"


def test_all_that_is_said_of_a_lower_clock_is_known() -> None:
    assert sum(REASONS[name] for name in BAD) == SLOWED


def test_the_clock_is_a_mean_and_begins_anew(gpus: Gpus, watcher: Watcher) -> None:
    watcher.look()
    gpus.clock = [500, 2000]
    assert told(watcher).clock == 0.5
    assert told(watcher).clock == 0.25


def test_others_count_once_and_we_do_not(gpus: Gpus, watcher: Watcher) -> None:
    gpus.samples[0] = [sample(OURS, 60, 1), sample(THEIRS, 30, 1), sample(OURS, 60, 2), sample(THEIRS, 10, 2)]
    gpus.samples[1] = [sample(THEIRS, 100, 1)]
    assert told(watcher).foreign == 0.2
    assert told(watcher).foreign == 0, "what was seen is not seen again"
    assert gpus.asked_since == [0, 2]


def test_in_a_container_where_we_are_numbered_otherwise_nothing_is_said(gpus: Gpus, watcher: Watcher) -> None:
    gpus.processes = [{THEIRS}, set()]
    gpus.samples[0] = [sample(THEIRS, 90, 1)]
    gpus.reasons = [SLOWED, SLOWED]
    assert told(watcher) == AtGpu()


@pytest.mark.parametrize("name", ["ComputeRunningProcesses", "CurrentClocksEventReasons", "ClockInfo", "MaxClockInfo"])
def test_a_gpu_that_does_not_tell_is_quiet(
    name: str, gpus: Gpus, watcher: Watcher, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuses(*_: Any) -> None:
        raise NvmlError

    monkeypatch.setattr(gpus, f"nvmlDeviceGet{name}", refuses)
    assert told(watcher) in (AtGpu(), AtGpu(clock=0.75))


BUSY = """
NVML_CLOCK_SM = 1
class One:
    def __init__(self, **facts): vars(self).update(facts)
class NVMLError_NotFound(NVMLError): pass
print("NVML: hello", flush=True)
def nvmlDeviceGetComputeRunningProcesses(gpu): return [One(pid=os.getppid()), One(pid=1)]
def nvmlDeviceGetCurrentClocksEventReasons(gpu): return 0x40
def nvmlDeviceGetClockInfo(gpu, kind): return 900
def nvmlDeviceGetMaxClockInfo(gpu, kind): return 1800
def nvmlDeviceGetProcessUtilization(gpu, since):
    return [One(pid=1, smUtil=40, timeStamp=since + 1), One(pid=os.getppid(), smUtil=60, timeStamp=since + 1)]
"""


def test_a_process_watches_until_it_is_told_to_end(tmp_path: Path) -> None:
    with Watch("cuda:0", [folder_with(tmp_path, "pynvml", HEALTHY + BUSY)]) as watch:
        assert watch.seen() == AtGpu(slowed=True, clock=0.5, foreign=0.4)
        load = watch.added(Load(cores=2))
        assert (load.gpu_slowed, load.gpu_clock, load.foreign_gpu) == (True, 0.5, 0.4)
        process = watch._teller._process
        began = time.monotonic()
        watch.rest(0.3)
        assert time.monotonic() - began >= 0.3, "it is as hot as before"
    assert process is not None
    assert process.poll() is not None


@pytest.mark.parametrize(
    "source",
    [
        "raise ImportError",
        "def nvmlInit(): raise NVMLError('no driver')",
        "def nvmlDeviceGetComputeRunningProcesses(gpu): os.kill(os.getpid(), signal.SIGSEGV)",
        "def nvmlDeviceGetComputeRunningProcesses(gpu): return [1]",
        "def nvmlDeviceGetComputeRunningProcesses(gpu): time.sleep(60)",
    ],
)
def test_a_driver_that_breaks_is_asked_no_more(source: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("autotune.probes.watch.PATIENCE_S", 1.0)
    with Watch("cuda", [folder_with(tmp_path, "pynvml", HEALTHY + BUSY + source)]) as watch:
        assert watch.seen() == AtGpu()
        assert not watch._teller.lives
        assert watch.added(Load(cores=2)) == Load(cores=2)


def test_nobody_watches_a_cpu() -> None:
    with Watch("cpu") as watch:
        assert not watch._teller.lives
        assert watch.added(Load(cores=2)) == Load(cores=2)
