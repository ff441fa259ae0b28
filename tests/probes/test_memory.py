from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from tempfile import TemporaryDirectory

import psutil
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from autotune.probes.memory import Memory, free_memory, probe_memory

from .machines import AVAILABLE_BYTES, GIB, MACHINES, MEMINFO, TOTAL_BYTES, V2_MOUNT, make


@pytest.mark.parametrize(
    ("machine", "total_bytes", "free_bytes"),
    [
        ("amd epyc, no cgroups", TOTAL_BYTES, AVAILABLE_BYTES),
        ("container of version 2", 8 * GIB, 6 * GIB),  # of the 5 GiB used, 3 are cache that is given back
        ("service under a limited slice", 4 * GIB, 3 * GIB),  # memory.high of the group above
        ("container of version 1", 6 * GIB, 5 * GIB),
        ("version 1 without limits", TOTAL_BYTES, AVAILABLE_BYTES),
        ("group out of sight", 8 * GIB, 0),  # more used than allowed: the limit was lowered
        ("group inside a container of version 1", 1 * GIB, 1 * GIB),
        ("groups mounted elsewhere", 2 * GIB, 2 * GIB),
        ("old kernel", 2 * GIB, 1 * GIB),
        ("nothing to read", 0, 0),
        ("nonsense", 0, 0),
    ],
)
def test_machine_is_read(tmp_path: Path, machine: str, total_bytes: int, free_bytes: int) -> None:
    root = make(tmp_path, MACHINES[machine])
    assert probe_memory(root, system="linux") == Memory(total_bytes=total_bytes, free_bytes=free_bytes)


def test_roomy_group_on_a_full_machine_leaves_what_the_machine_has(tmp_path: Path) -> None:
    files = MACHINES["container of version 2"] | {"proc/meminfo": MEMINFO.replace("32768000", "1048576")}
    assert probe_memory(make(tmp_path, files), system="linux") == Memory(total_bytes=8 * GIB, free_bytes=1 * GIB)


def test_this_machine_is_believable() -> None:
    memory = probe_memory()
    assert 0 < memory.free_bytes < memory.total_bytes <= psutil.virtual_memory().total


def test_elsewhere_psutil_is_asked(tmp_path: Path) -> None:
    memory = probe_memory(tmp_path, system="darwin")
    assert memory.total_bytes == psutil.virtual_memory().total


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere psutil says how it finds out")
def test_free_memory_starts_no_process_and_imports_no_library() -> None:
    program = """
import sys
from autotune.probes import free_memory
before = set(sys.modules)
free_memory()
def watch(event, args):
    if event in {"subprocess.Popen", "os.fork", "os.posix_spawn", "os.exec", "os.system"}:
        raise SystemExit("started a process")
sys.addaudithook(watch)
assert free_memory() > 0
assert not {"torch", "psutil", "pynvml"} & set(sys.modules), "imported a library"
"""
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    subprocess.run([sys.executable, "-c", program], env=environment, check=True)


def test_free_memory_is_that_of_the_probe(tmp_path: Path) -> None:
    assert free_memory(make(tmp_path, MACHINES["container of version 2"])) == 6 * GIB


@settings(max_examples=25, deadline=None)  # each writes a folder of files
@given(total=st.integers(0, 2**50), available=st.integers(0, 2**50), limit=st.integers(), used=st.integers())
def test_free_is_never_more_than_any_bound(total: int, available: int, limit: int, used: int) -> None:
    with TemporaryDirectory() as folder:
        files = {"proc/meminfo": f"MemTotal: {total} kB\nMemAvailable: {available} kB\n"}
        files |= {"proc/self/cgroup": "0::/\n", "proc/self/mountinfo": V2_MOUNT}
        files |= {"sys/fs/cgroup/memory.max": str(limit), "sys/fs/cgroup/memory.current": str(used)}
        memory = probe_memory(make(Path(folder), files), system="linux")
    assert memory.free_bytes <= memory.total_bytes <= total * 1024
    assert memory.free_bytes <= max(0, min(available * 1024, limit - max(0, used)))
    assert Memory.model_validate_json(memory.model_dump_json()) == memory


@settings(max_examples=25, deadline=None)  # each writes a folder of files
@given(meminfo=st.text(), limit=st.text())
def test_no_text_is_too_odd(meminfo: str, limit: str) -> None:
    with TemporaryDirectory() as folder:
        files = {"proc/meminfo": meminfo, "proc/self/cgroup": "0::/\n", "proc/self/mountinfo": V2_MOUNT}
        root = make(Path(folder), files | {"sys/fs/cgroup/memory.max": limit, "sys/fs/cgroup/memory.stat": meminfo})
        assert probe_memory(root, system="linux").free_bytes >= 0
