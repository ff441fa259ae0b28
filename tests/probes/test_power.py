"""The energy of a device: counters that a test has written, and an NVML that it has made up."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import pytest

from autotune.probes.child import Answer
from autotune.probes.nvidia_energy import look
from autotune.probes.power import energy_j, spent_j, why_unreadable


def package(root: Path, number: int, microjoules: int | None) -> None:
    folder = root / f"sys/class/powercap/intel-rapl:{number}"
    folder.mkdir(parents=True)
    (folder / "max_energy_range_uj").write_text("262000000\n")
    if microjoules is not None:
        (folder / "energy_uj").write_text(f"{microjoules}\n")
    (folder / f"intel-rapl:{number}:0").mkdir()


def test_packages_are_summed_and_begin_anew(tmp_path: Path) -> None:
    package(tmp_path, 0, 261_000_000)
    package(tmp_path, 1, 5_000_000)
    before = energy_j("cpu", tmp_path)
    assert before == (261.0, 5.0)
    assert spent_j(before, (3.0, 6.5), tmp_path) == pytest.approx(4 + 1.5)


def test_a_counter_that_only_root_reads_is_none(tmp_path: Path) -> None:
    assert energy_j("cpu", tmp_path) is None
    package(tmp_path, 0, 1)
    package(tmp_path, 1, None)
    assert energy_j("cpu", tmp_path) is None
    assert "only root" in why_unreadable("cpu")
    assert "nvidia-smi" in why_unreadable("cuda:1")
    assert energy_j("mps") is None
    assert why_unreadable("mps").endswith("for mps")


def test_gpus_are_asked_in_a_child() -> None:
    asked = []

    def ask(module: str, timeout_s: float) -> Answer:
        asked.append((module, timeout_s))
        return Answer('{"joules": [12.5]}')

    assert energy_j("cuda", ask=ask) == (12.5,)
    assert asked[0][0] == "autotune.probes.nvidia_energy"
    assert energy_j("cuda", ask=lambda *_: Answer("", "crashed")) is None
    assert energy_j("cuda", ask=lambda *_: Answer('{"joules": []}')) is None


class NvmlError(Exception):
    """As NVML raises it."""


def test_nvml_tells_millijoules() -> None:
    def refuses(handle: int) -> int:
        raise NvmlError(handle)

    nvml = SimpleNamespace(
        NVMLError=NvmlError,
        nvmlInit=lambda: None,
        nvmlDeviceGetCount=lambda: 2,
        nvmlDeviceGetHandleByIndex=lambda index: index,
        nvmlDeviceGetTotalEnergyConsumption=lambda handle: 1500 * (handle + 1),
    )
    assert look(nvml, {}) == {"joules": [1.5]}
    assert look(nvml, {"CUDA_VISIBLE_DEVICES": "1"}) == {"joules": [3.0]}, "what another GPU takes is another's"
    assert look(nvml, {"CUDA_VISIBLE_DEVICES": ""}) == {"joules": []}
    nvml.nvmlDeviceGetTotalEnergyConsumption = refuses
    assert look(nvml, {}) == {"joules": []}
