"""What every probe promises: absence is an answer, nothing is raised, and the answer is JSON both ways."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest

import autotune.probes
from autotune.probes import Sighting, probe, probe_cpu, probe_devices, probe_memory, probe_nvidia, probe_software
from autotune.value import Value

from .drivers import HEALTHY, LOST_HANDLE, METAL, TORCH, folder_with
from .machines import MACHINES, make

Probe = Callable[[], Value]

REAL: dict[str, Probe] = {
    "probe": probe,
    "probe_cpu": probe_cpu,
    "probe_devices": probe_devices,
    "probe_memory": probe_memory,
    "probe_nvidia": probe_nvidia,
    "probe_software": probe_software,
}


def fake_devices(folder: Path, source: str) -> Probe:
    version_file = folder_with(folder, "torch", TORCH + source) / "torch.py"
    return partial(probe_devices, hints=["mps"], version_file=version_file, pythonpath=[folder])


def fake_nvidia(folder: Path, source: str) -> Probe:
    return partial(probe_nvidia, hint=True, pythonpath=[folder_with(folder, "pynvml", HEALTHY + source)])


def fake(name: str, folder: Path) -> Probe:
    """Return a probe with a made-up source: "what it is of: which one"."""
    kind, _, which = name.partition(": ")
    if kind == "gpu":
        return fake_nvidia(folder, SOURCES[which])
    if kind == "torch":
        return fake_devices(folder, SOURCES[which])
    root = make(folder, MACHINES[which])
    cpu = partial(probe_cpu, root, system="linux")
    memory = partial(probe_memory, root, system="linux")
    software = partial(probe_software, root, system="linux")
    machine = partial(
        probe, ask_cpu=cpu, ask_memory=memory, ask_software=software, ask_nvidia=Sighting, ask_devices=Sighting
    )
    probes: dict[str, Probe] = {"cpu": cpu, "memory": memory, "software": software, "machine": machine}
    return probes[kind]


FAKE = [
    *(f"{kind}: {machine}" for kind in ("cpu", "memory", "software", "machine") for machine in MACHINES),
    *("gpu: healthy", "gpu: one is lost", "gpu: crash"),
    *("torch: metal", "torch: broken"),
]
SOURCES = {
    "healthy": "",
    "one is lost": LOST_HANDLE,
    "crash": "def nvmlInit(): os.abort()",
    "metal": METAL,
    "broken": "raise ImportError",
}


class Conformance:
    """The promises. A subclass says what is asked."""

    @pytest.fixture
    def ask(self) -> Probe:
        raise NotImplementedError

    def test_it_answers_with_a_value_that_is_json_both_ways(self, ask: Probe) -> None:
        told = ask()
        assert isinstance(told, Value)
        assert type(told).model_validate_json(told.model_dump_json()) == told

    def test_it_leaves_no_child_and_no_library_behind(self, ask: Probe) -> None:
        before = set(sys.modules)
        ask()
        assert not {"torch", "pynvml"} & (set(sys.modules) - before)
        if sys.platform == "linux":
            children = Path("/proc/thread-self/children")
            assert not children.exists() or not children.read_text().split()


class TestReal(Conformance):
    @pytest.fixture(params=sorted(REAL))
    def ask(self, request: pytest.FixtureRequest) -> Probe:
        return REAL[request.param]


class TestFake(Conformance):
    @pytest.fixture(params=FAKE)
    def ask(self, request: pytest.FixtureRequest, tmp_path: Path) -> Probe:
        return fake(request.param, tmp_path)


def test_every_probe_is_in_the_class_above() -> None:
    assert set(REAL) == {name for name in autotune.probes.__all__ if name.partition("_")[0] == "probe"}


def test_door_leads_to_every_name_and_to_no_other() -> None:
    for name in autotune.probes.__all__:
        assert getattr(autotune.probes, name).__name__ == name
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        _ = autotune.probes.nothing


def test_machine_without_signs_of_other_gpus_is_probed_in_well_under_a_second() -> None:
    program = """
import sys, time
from autotune.probes import probe, probe_devices
started = time.monotonic()
probe(ask_devices=lambda: probe_devices(hints=()))
print(time.monotonic() - started)
assert not {"torch", "pynvml"} & set(sys.modules)
"""
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    found = subprocess.run([sys.executable, "-c", program], env=environment, capture_output=True, check=True)
    assert float(found.stdout) < 2  # 0.1 s on two cores; the rest is room for whatever else runs there
