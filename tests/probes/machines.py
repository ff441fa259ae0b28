"""Named machines, as folders that look like their root: each odd one that was met once is a test for ever."""

from __future__ import annotations

from pathlib import Path

GIB = 2**30
MEMINFO = "MemTotal:       65536000 kB\nMemFree:         1024000 kB\nMemAvailable:   32768000 kB\n"
TOTAL_BYTES = 65536000 * 1024
AVAILABLE_BYTES = 32768000 * 1024


def x86(name: str, flags: str, cores: int = 4, threads_per_core: int = 2) -> str:
    """Return a cpuinfo as Linux writes it on x86."""
    return "\n".join(
        f"processor\t: {core}\nmodel name\t: {name}\nphysical id\t: 0\ncore id\t\t: {core // threads_per_core}\n"
        f"flags\t\t: fpu sse2 {flags}\n"
        for core in range(cores)
    )


def aarch64(part: str, features: str, cores: int = 4) -> str:
    """Return a cpuinfo as Linux writes it on 64-bit Arm: no name, no core ids, and a last block that is no core."""
    blocks = [
        f"processor\t: {core}\nBogoMIPS\t: 2100.00\nFeatures\t: {features}\nCPU implementer\t: 0x41\n"
        f"CPU architecture: 8\nCPU part\t: {part}\n"
        for core in range(cores)
    ]
    return "\n".join([*blocks, "Hardware\t: BCM2835\n"])


EPYC = x86("AMD EPYC 9654 96-Core Processor", "avx2 avx512f avx512_bf16 avx512_vnni")
SYSFS_CORES = {f"sys/devices/system/cpu/cpu{core}/topology/thread_siblings_list": f"{core}\n" for core in range(4)}

V2_MOUNT = "30 24 0:26 / /sys/fs/cgroup rw,nosuid - cgroup2 cgroup2 rw,nsdelegate\n"
V1_MOUNTS = (
    "31 23 0:28 / /sys/fs/cgroup rw - tmpfs tmpfs rw,mode=755\n"
    "33 31 0:30 /docker/c0ffee /sys/fs/cgroup/cpu,cpuacct ro - cgroup cgroup rw,cpu,cpuacct\n"
    "35 31 0:32 /docker/c0ffee /sys/fs/cgroup/memory ro shared:9 - cgroup cgroup rw,memory\n"
    "41 31 0:38 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw\n"
)

MACHINES: dict[str, dict[str, str]] = {
    "amd epyc, no cgroups": {"proc/cpuinfo": EPYC, "proc/meminfo": MEMINFO},
    "intel with amx": {
        "proc/cpuinfo": x86("Intel(R) Xeon(R) Platinum 8480+", "avx2 avx512f avx512_bf16 amx_bf16 amx_tile amx_int8"),
        "proc/meminfo": MEMINFO,
    },
    "old pc": {"proc/cpuinfo": x86("Intel(R) Core(TM)2 Duo", "ssse3", 2, 1), "proc/meminfo": MEMINFO},
    "big and little": {
        "proc/cpuinfo": x86("One", "avx2 avx_vnni avx512f", 1) + "\n" + x86("Two", "avx2 avx_vnni", 1),
        "proc/meminfo": MEMINFO,
    },
    "graviton": {
        "proc/cpuinfo": aarch64("0xd40", "fp asimd crc32 sve bf16 i8mm"),
        "proc/meminfo": MEMINFO,
        **SYSFS_CORES,
    },
    "unheard-of arm": {"proc/cpuinfo": aarch64("0xfff", "fp asimd"), "proc/meminfo": MEMINFO},
    "container of version 2": {  # in a cgroup namespace of its own: the container's group looks like the root
        "proc/cpuinfo": EPYC,
        "proc/meminfo": MEMINFO,
        "proc/self/cgroup": "0::/\n",
        "proc/self/mountinfo": V2_MOUNT,
        "sys/fs/cgroup/cpu.max": "150000 100000\n",
        "sys/fs/cgroup/memory.max": f"{8 * GIB}\n",
        "sys/fs/cgroup/memory.high": "max\n",
        "sys/fs/cgroup/memory.current": f"{5 * GIB}\n",
        "sys/fs/cgroup/memory.stat": f"anon {2 * GIB}\ninactive_file {3 * GIB}\nactive_file 0\n",
    },
    "service under a limited slice": {  # the stricter limits are those of the groups above
        "proc/cpuinfo": EPYC,
        "proc/meminfo": MEMINFO,
        "proc/self/cgroup": "0::/user.slice/my app.service\n",
        "proc/self/mountinfo": V2_MOUNT,
        "sys/fs/cgroup/user.slice/cpu.max": "50000 100000\n",
        "sys/fs/cgroup/user.slice/memory.max": "max\n",
        "sys/fs/cgroup/user.slice/memory.high": f"{4 * GIB}\n",
        "sys/fs/cgroup/user.slice/memory.current": f"{1 * GIB}\n",
        "sys/fs/cgroup/user.slice/my app.service/cpu.max": "max 100000\n",
        "sys/fs/cgroup/user.slice/my app.service/memory.max": f"{16 * GIB}\n",
        "sys/fs/cgroup/user.slice/my app.service/memory.current": "0\n",
    },
    "container of version 1": {  # paths as the host sees them; the mount begins at the container's own group
        "proc/cpuinfo": EPYC,
        "proc/meminfo": MEMINFO,
        "proc/self/cgroup": "9:memory:/docker/c0ffee\n4:cpu,cpuacct:/docker/c0ffee\n0::/docker/c0ffee\n",
        "proc/self/mountinfo": V1_MOUNTS,
        "sys/fs/cgroup/cpu,cpuacct/cpu.cfs_quota_us": "250000\n",
        "sys/fs/cgroup/cpu,cpuacct/cpu.cfs_period_us": "100000\n",
        "sys/fs/cgroup/memory/memory.limit_in_bytes": f"{6 * GIB}\n",
        "sys/fs/cgroup/memory/memory.usage_in_bytes": f"{2 * GIB}\n",
        "sys/fs/cgroup/memory/memory.stat": f"inactive_file 0\ntotal_inactive_file {1 * GIB}\n",
    },
    "version 1 without limits": {
        "proc/cpuinfo": EPYC,
        "proc/meminfo": MEMINFO,
        "proc/self/cgroup": "9:memory:/docker/c0ffee\n4:cpu,cpuacct:/docker/c0ffee\n",
        "proc/self/mountinfo": V1_MOUNTS,
        "sys/fs/cgroup/cpu,cpuacct/cpu.cfs_quota_us": "-1\n",
        "sys/fs/cgroup/cpu,cpuacct/cpu.cfs_period_us": "100000\n",
        "sys/fs/cgroup/memory/memory.limit_in_bytes": "9223372036854771712\n",
        "sys/fs/cgroup/memory/memory.usage_in_bytes": f"{2 * GIB}\n",
    },
    "group out of sight": {  # a process that was moved out of the namespace it sees
        "proc/cpuinfo": EPYC,
        "proc/meminfo": MEMINFO,
        "proc/self/cgroup": "0::/../../other\n",
        "proc/self/mountinfo": V2_MOUNT,
        "sys/fs/cgroup/memory.max": f"{8 * GIB}\n",
        "sys/fs/cgroup/memory.current": f"{9 * GIB}\n",
        "sys/other/cpu.max": "100000 100000\n",
        "sys/other/memory.max": f"{GIB}\n",
    },
    "group inside a container of version 1": {
        "proc/cpuinfo": EPYC,
        "proc/meminfo": MEMINFO,
        "proc/self/cgroup": "9:memory:/docker/c0ffee/job\n4:cpu,cpuacct:/docker/c0ffee/job\n",
        "proc/self/mountinfo": V1_MOUNTS,
        "sys/fs/cgroup/cpu,cpuacct/cpu.cfs_quota_us": "-1\n",
        "sys/fs/cgroup/cpu,cpuacct/cpu.cfs_period_us": "100000\n",
        "sys/fs/cgroup/cpu,cpuacct/job/cpu.cfs_quota_us": "100000\n",
        "sys/fs/cgroup/cpu,cpuacct/job/cpu.cfs_period_us": "100000\n",
        "sys/fs/cgroup/memory/memory.limit_in_bytes": f"{6 * GIB}\n",
        "sys/fs/cgroup/memory/job/memory.limit_in_bytes": f"{1 * GIB}\n",
    },
    "groups mounted elsewhere": {
        "proc/cpuinfo": EPYC,
        "proc/meminfo": MEMINFO,
        "proc/self/cgroup": "0::/\n",
        "proc/self/mountinfo": "30 24 0:26 / /mnt/control\\040groups rw - cgroup2 none rw\n",
        "mnt/control groups/cpu.max": "200000 100000\n",
        "mnt/control groups/memory.max": f"{2 * GIB}\n",
    },
    "old kernel": {"proc/cpuinfo": EPYC, "proc/meminfo": "MemTotal: 2097152 kB\nMemFree: 1048576 kB\n"},
    "nothing to read": {},
    "nonsense": {
        "proc/cpuinfo": "processor\nflags: \x00\nprocessor : \n",
        "proc/meminfo": "MemTotal: lots\nMemAvailable: -5 kB\n",
        "proc/self/cgroup": "0::/\x00\n::\nx\n",
        "proc/self/mountinfo": "- - - -\n1 2 3 / /\x00 - cgroup2 x y\n",
    },
}


def make(folder: Path, files: dict[str, str]) -> Path:
    """Write a machine into `folder` and return it."""
    for name, text in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    return folder
