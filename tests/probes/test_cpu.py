from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from autotune.probes.cpu import FEATURES, UNKNOWN, Cpu, probe_cpu, quota_cores

from .machines import MACHINES, make

M2 = """hw.physicalcpu: 12
hw.logicalcpu: 12
hw.optional.AdvSIMD: 1
hw.optional.neon: 1
hw.optional.arm.FEAT_BF16: 1
hw.optional.arm.FEAT_I8MM: 1
hw.optional.arm.FEAT_SME: 0
machdep.cpu.brand_string: Apple M2 Max
"""


@pytest.mark.parametrize(
    ("machine", "name", "physical_cores", "logical_cores", "features"),
    [
        (
            "amd epyc, no cgroups",
            "AMD EPYC 9654 96-Core Processor",
            2,
            4,
            ("avx2", "avx512_bf16", "avx512_vnni", "avx512f"),
        ),
        (
            "intel with amx",
            "Intel(R) Xeon(R) Platinum 8480+",
            2,
            4,
            ("amx_bf16", "amx_int8", "amx_tile", "avx2", "avx512_bf16", "avx512f"),
        ),
        ("old pc", "Intel(R) Core(TM)2 Duo", 2, 2, ()),
        ("big and little", "One", 1, 2, ("avx2", "avx_vnni")),
        ("graviton", "Arm Neoverse-V1", 4, 4, ("asimd", "bf16", "i8mm", "sve")),
        ("unheard-of arm", "Arm implementer 0x41 part 0xfff", None, 4, ("asimd",)),
        ("nothing to read", UNKNOWN, None, os.cpu_count(), ()),
    ],
)
def test_machine_is_read(
    tmp_path: Path,
    machine: str,
    name: str,
    physical_cores: int | None,
    logical_cores: int,
    features: tuple[str, ...],
) -> None:
    root = make(tmp_path, MACHINES[machine])
    assert probe_cpu(root, system="linux", architecture="any", affinity_cores=3) == Cpu(
        model_name=name,
        architecture="any",
        allowed_cores=3,
        physical_cores=physical_cores,
        logical_cores=logical_cores,
        features=features,
    )


@pytest.mark.parametrize(
    ("machine", "cores"),
    [
        ("container of version 2", 2),  # 1.5 cores, rounded up
        ("service under a limited slice", 1),  # half a core, set two groups above
        ("container of version 1", 3),  # 2.5 cores
        ("version 1 without limits", None),
        ("group out of sight", None),
        ("group inside a container of version 1", 1),
        ("groups mounted elsewhere", 2),
        ("amd epyc, no cgroups", None),
        ("nonsense", None),
    ],
)
def test_quota_is_read(tmp_path: Path, machine: str, cores: int | None) -> None:
    assert quota_cores(make(tmp_path, MACHINES[machine])) == cores


@pytest.mark.parametrize(("affinity_cores", "allowed_cores"), [(1, 1), (2, 2), (96, 2)])
def test_lesser_of_quota_and_affinity_holds(tmp_path: Path, affinity_cores: int, allowed_cores: int) -> None:
    root = make(tmp_path, MACHINES["container of version 2"])
    assert probe_cpu(root, affinity_cores=affinity_cores).allowed_cores == allowed_cores


def test_mac_is_read(tmp_path: Path) -> None:
    told = probe_cpu(tmp_path, system="darwin", architecture="arm64", affinity_cores=12, ask_sysctl=lambda: M2)
    assert told.model_name == "Apple M2 Max"
    assert (told.physical_cores, told.logical_cores, told.allowed_cores) == (12, 12, 12)
    assert told.features == ("asimd", "bf16", "i8mm", "neon")


def test_mac_without_sysctl_is_unknown(tmp_path: Path) -> None:
    told = probe_cpu(tmp_path, system="darwin", affinity_cores=1)
    if sys.platform != "darwin":
        assert told.model_name == UNKNOWN
    assert set(told.features) <= FEATURES


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux places processes on cores")
def test_affinity_of_this_process_counts() -> None:
    program = """
import os
from autotune.probes import probe_cpu
os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
print(probe_cpu().allowed_cores)
"""
    found = subprocess.run(
        [sys.executable, "-c", program],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
        capture_output=True,
        check=True,
    )
    assert found.stdout.split() == [b"1"]


lines = st.lists(
    st.one_of(
        st.text(),
        st.sampled_from(["processor : 0", "", "flags : avx2", "core id : 1", "CPU part : 1", "CPU implementer : 2"]),
        st.sampled_from(["0::/a", "1:cpu:/a", "1 2 3 / / - cgroup2 c c", "1 2 3 / / - cgroup c cpu", "7 0", "9 -1"]),
    )
).map("\n".join)


@settings(max_examples=25, deadline=None)  # each writes a folder of files
@given(cpuinfo=lines, cgroup=lines, mountinfo=lines, limit=lines)
def test_no_text_is_too_odd(cpuinfo: str, cgroup: str, mountinfo: str, limit: str) -> None:
    with TemporaryDirectory() as folder:
        files = {"proc/cpuinfo": cpuinfo, "proc/self/cgroup": cgroup, "proc/self/mountinfo": mountinfo}
        root = make(Path(folder), {**files, "cpu.max": limit, "a/cpu.max": limit, "a/cpu.cfs_quota_us": limit})
        told = probe_cpu(root, system="linux")
        assert set(told.features) <= FEATURES
        assert Cpu.model_validate_json(told.model_dump_json()) == told
