"""What else goes on: counters of a machine that a test has written, and of this one."""

from __future__ import annotations

import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest

from autotune.probes.load import TICKS_A_SECOND, Glance, Load, between, glance, together

CORES = frozenset({0, 1})


def write(root: Path, name: str, text: str) -> None:
    file = root / name
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(text)


def process(root: Path, pid: int, parent: int, seconds: int, reaped_s: int = 0) -> None:
    fields = ["S", str(parent), *["0"] * 9, str(seconds * TICKS_A_SECOND), "0", str(reaped_s * TICKS_A_SECOND), "0"]
    write(root, f"proc/{pid}/stat", f"{pid} (a (strange) name) {' '.join(fields)}")


def core(number: int, busy_s: int, stolen_s: int = 0) -> str:
    return f"cpu{number} {busy_s * TICKS_A_SECOND} 0 0 999 0 0 0 {stolen_s * TICKS_A_SECOND} 0 0\n"


def test_only_our_cores_and_only_our_processes_are_ours(tmp_path: Path) -> None:
    write(tmp_path, "proc/stat", "cpu  1 2 3\n" + core(0, 30) + core(1, 20, 4) + core(2, 900, 900) + "intr 7\n")
    process(tmp_path, 10, 1, 5, reaped_s=2)
    process(tmp_path, 5, 10, 3)  # numbers begin anew after the highest
    process(tmp_path, 12, 5, 1)
    process(tmp_path, 11, 1, 400)
    found = glance(tmp_path, pid=10, cores=CORES)
    assert (found.busy_s, found.own_s, found.stolen_s) == (50, 11, 4)


def test_the_rest_is_read_too(tmp_path: Path) -> None:
    write(tmp_path, "proc/pressure/memory", "some avg10=0.00 avg60=0.00 avg300=0.00 total=2500000\nfull total=1\n")
    for place, count in (
        ("cpu0/thermal_throttle/core_throttle_count", 2),
        ("cpu1/thermal_throttle/package_throttle_count", 3),
    ):
        write(tmp_path, f"sys/devices/system/cpu/{place}", f"{count}\n")
    write(tmp_path, "proc/self/cgroup", "0::/box\n")
    write(tmp_path, "proc/self/mountinfo", "30 1 0:26 / /sys/fs/cgroup rw - cgroup2 none rw\n")
    write(tmp_path, "sys/fs/cgroup/box/cpu.stat", "usage_usec 5\nthrottled_usec 1500000\n")
    found = glance(tmp_path, cores=CORES)
    assert (found.stalled_s, found.throttles, found.held_back_s) == (2.5, 5, 1.5)


def test_a_system_that_tells_nothing_is_quiet(tmp_path: Path) -> None:
    found = glance(tmp_path, cores=CORES)
    assert between(found, replace(found, at_s=found.at_s + 1)) == Load(cores=2)
    assert not Load(cores=2).is_shared


def test_what_lies_between_two_readings() -> None:
    before = Glance(at_s=100, cores=2, busy_s=50, own_s=10, stolen_s=1, stalled_s=0, held_back_s=0, throttles=4)
    after = Glance(at_s=104, cores=2, busy_s=57, own_s=14, stolen_s=3, stalled_s=1, held_back_s=2, throttles=5)
    load = between(before, after)
    assert load == Load(cores=2, foreign_cores=0.75, stolen_cores=0.5, stalled=0.25, held_back=0.5, throttled=True)
    assert load.is_shared
    assert together([load, Load(cores=2)]).foreign_cores == pytest.approx(0.375)


def test_counters_that_run_backwards_say_nothing() -> None:
    """A process of ours that nobody reaped takes its seconds with it."""
    before = Glance(at_s=100, cores=2, busy_s=50, own_s=10)
    assert between(before, replace(before, at_s=101, busy_s=50.5, own_s=12)).foreign_cores == 0


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere nothing is read")
def test_a_process_of_ours_is_not_foreign_and_is_when_it_is_anothers() -> None:
    with subprocess.Popen([sys.executable, "-c", "while True: pass"]) as busy:
        try:
            for _ in range(100):  # until it runs
                before_ours, before_its = glance(), glance(pid=2**22 + 1)
                time.sleep(0.3)
                ours, its = between(before_ours, glance()), between(before_its, glance(pid=2**22 + 1))
                if its.foreign_cores > ours.foreign_cores:
                    return
        finally:
            busy.kill()
    pytest.fail("the busy process was never seen")
