from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import pynvml
import pytest

from autotune.probes.accelerators import Accelerator, Sighting, probe_nvidia
from autotune.probes.hints import nvidia_hint
from autotune.probes.memory import Memory
from autotune.probes.nvidia import look
from autotune.probes.nvidia_free import free_bytes
from autotune.probes.nvidia_visible import visible

from .drivers import (
    CHATTY,
    CRASHES,
    GIB,
    HEALTHY,
    LOST_FACTS,
    LOST_HANDLE,
    MIG,
    OLD_BYTES,
    UNIFIED,
    driver,
    folder_with,
)
from .machines import make

RAM = Memory(total_bytes=128 * GIB, free_bytes=100 * GIB)
CODES = sorted(value for name, value in vars(pynvml).items() if name.startswith("NVML_ERROR_"))


def ask(folder: Path, source: str, timeout_s: float = 5.0) -> Sighting:
    folder_with(folder, "pynvml", HEALTHY + source)
    return probe_nvidia(timeout_s, hint=True, pythonpath=[folder], ask_memory=lambda: RAM)


def refusal(code: int) -> Any:
    """Return a function that raises the error of this code as `pynvml` does, whatever it is asked."""

    def refuse(*_: object) -> None:
        raise pynvml.NVMLError(code)

    return refuse


def with_real_errors(code: int, function: str) -> Any:
    nvml = driver("")
    for name in ("NVMLError", "NVMLError_LibraryNotFound", "NVMLError_NotSupported"):
        setattr(nvml, name, getattr(pynvml, name))
    nvml.nvmlDeviceGetMigMode = lambda _: [0, 0]  # type: ignore[attr-defined]
    setattr(nvml, function, refusal(code))
    return nvml


def test_two_gpus_are_seen(tmp_path: Path) -> None:
    seen = ask(tmp_path, "")
    assert seen.notes == ()
    first, second = seen.accelerators
    assert first == Accelerator(
        kind="cuda",
        index=0,
        name="NVIDIA GeForce RTX 4090",
        uuid_hash=first.uuid_hash,
        total_bytes=24 * GIB,
        free_bytes=20 * GIB,
        compute_capability=(8, 9),
        driver="580.173.02",
    )
    assert second.index == 1
    assert first.uuid_hash != second.uuid_hash
    assert first.uuid_hash == ask(tmp_path, "").accelerators[0].uuid_hash
    assert "5ecret" not in seen.model_dump_json()


@pytest.mark.parametrize("crash", CRASHES)
def test_broken_driver_is_an_answer(tmp_path: Path, crash: str) -> None:
    source, problem = CRASHES[crash]
    seen = ask(tmp_path, source)
    assert seen.accelerators == ()
    (note,) = seen.notes
    assert problem in note
    assert note.startswith("NVML ")
    assert note.endswith(", so NVIDIA GPUs are not seen; check `nvidia-smi`.")


def test_hung_driver_is_an_answer_in_time(tmp_path: Path) -> None:
    started = time.monotonic()
    seen = ask(tmp_path, "def nvmlDeviceGetCount(): time.sleep(60)", 0.4)
    assert time.monotonic() - started < 3
    assert seen == Sighting(
        notes=("NVML did not answer within 0.4 s, so NVIDIA GPUs are not seen; check `nvidia-smi`.",)
    )


def test_driver_that_floods_the_output_for_ever_is_an_answer(tmp_path: Path) -> None:
    (note,) = ask(tmp_path, "def nvmlInit():\n    while True: os.write(1, b'x' * 65536)", 0.4).notes
    assert "did not answer within 0.4 s" in note


SHOUT = """
def nvmlInit():
    for channel in range(3, 64):
        try: os.write(channel, b"[]\\n")
        except OSError: pass
    os._exit(0)
"""


def test_driver_that_writes_nonsense_on_every_channel_is_an_answer(tmp_path: Path) -> None:
    (note,) = ask(tmp_path, SHOUT).notes
    assert "NVML answered with nonsense" in note


def test_what_a_driver_prints_does_not_spoil_the_answer(tmp_path: Path) -> None:
    seen = ask(tmp_path, CHATTY)
    assert len(seen.accelerators) == 2
    assert seen.notes == ()


def test_lost_gpu_does_not_lose_the_other(tmp_path: Path) -> None:
    seen = ask(tmp_path, LOST_HANDLE)
    assert [gpu.index for gpu in seen.accelerators] == [0]
    assert seen.notes == ('NVIDIA GPU 1 is left out: NVML says "GPU is lost"; check `nvidia-smi`.',)


def test_refused_facts_do_not_lose_the_others(tmp_path: Path) -> None:
    seen = ask(tmp_path, LOST_FACTS)
    well, lost = seen.accelerators
    assert well.free_bytes == 20 * GIB
    assert (lost.name, lost.total_bytes, lost.free_bytes) == ("NVIDIA GPU", 0, None)
    assert lost.compute_capability == (8, 9)
    assert not lost.unified_memory
    assert seen.notes == ('NVIDIA GPU 1 does not tell its name, memory: NVML says "GPU is lost".',)


def test_gpu_without_memory_of_its_own_has_the_ram(tmp_path: Path) -> None:
    seen = ask(tmp_path, UNIFIED)
    (gpu,) = seen.accelerators
    assert gpu.unified_memory
    assert (gpu.total_bytes, gpu.free_bytes) == (RAM.total_bytes, RAM.free_bytes)
    assert seen.notes == ()


MIXED = """
def nvmlDeviceGetCount(): return 3
def nvmlDeviceGetName(handle): return ["NVIDIA T400", "NVIDIA L40S", "NVIDIA L40S"][handle]
def nvmlDeviceGetUUID(handle): return ["GPU-aa11", "GPU-bb22", b"GPU-bb33"][handle]
def nvmlDeviceGetMemoryInfo(handle): Memory.free = (handle + 1) * 2**30; return Memory
"""
BY_SLOT = {"CUDA_DEVICE_ORDER": "PCI_BUS_ID"}


@pytest.mark.parametrize(
    ("listed", "shown"),
    [
        (None, [0, 1, 2]),
        ("2", [2]),
        ("2,0", [2, 0]),
        (" 1 , 2 ", [1, 2]),
        ("GPU-bb33,0", [2, 0]),
        ("GPU-aa", [0]),
        ("GPU-bb", []),  # which of the two?
        ("0,-1,1", [0]),
        ("0,7,1", [0]),
        ("1,1", [1]),
        ("0,all", [0]),
        ("", []),
        ("-1", []),
        ("NoDevFiles", []),
        ("MIG-1234", [0, 1, 2]),
    ],
)
def test_gpus_are_those_that_cuda_shows(listed: str | None, shown: list[int]) -> None:
    nvml, environment = driver(MIXED), BY_SLOT | ({} if listed is None else {"CUDA_VISIBLE_DEVICES": listed})
    seen = look(nvml, environment)
    assert [gpu["free_bytes"] for gpu in seen["accelerators"]] == [(number + 1) * GIB for number in shown]
    assert [gpu["index"] for gpu in seen["accelerators"]] == list(range(len(shown)))
    hidden = [] if shown else [f'CUDA_VISIBLE_DEVICES="{listed}" shows no NVIDIA GPU, so none is used.']
    assert seen["notes"] == hidden
    assert free_bytes(nvml, visible(nvml, environment)) == {
        place: (number + 1) * GIB for place, number in enumerate(shown)
    }


def test_gpus_of_several_kinds_are_noted_where_cuda_may_count_otherwise() -> None:
    (note,) = look(driver(MIXED), {"CUDA_VISIBLE_DEVICES": "1"})["notes"]
    assert note.startswith("There are NVIDIA L40S and NVIDIA T400: ")
    assert "CUDA_DEVICE_ORDER=PCI_BUS_ID" in note
    assert look(driver(MIXED), {"CUDA_VISIBLE_DEVICES": "GPU-aa11"})["notes"] == []
    assert look(driver(""), {})["notes"] == []


def test_what_cuda_shows_reaches_the_child(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "2")
    monkeypatch.setenv("CUDA_DEVICE_ORDER", "PCI_BUS_ID")
    (gpu,) = ask(tmp_path, MIXED).accelerators
    assert (gpu.index, gpu.name, gpu.free_bytes) == (0, "NVIDIA L40S", 3 * GIB)


def test_mig_mode_is_noted(tmp_path: Path) -> None:
    seen = ask(tmp_path, MIG)
    assert seen.accelerators[0].mig
    assert seen.notes == ("NVIDIA GPU 0 is in MIG mode: a process gets one of its parts, and less than is shown.",)


def test_mig_gpu_that_hides_its_memory_is_not_taken_for_one_without() -> None:
    nvml = driver(MIG + "def nvmlDeviceGetMemoryInfo(handle): raise NVMLError_NotSupported('Not Supported')")
    (gpu,) = look(nvml)["accelerators"]
    assert not gpu["unified_memory"]
    assert gpu["total_bytes"] == 0


def test_old_release_that_gives_bytes_is_read(tmp_path: Path) -> None:
    gpu = ask(tmp_path, OLD_BYTES).accelerators[0]
    assert (gpu.name, gpu.driver, gpu.mig) == ("Quadro", "390.157", False)
    assert gpu.uuid_hash == ask(tmp_path, "").accelerators[0].uuid_hash


def test_missing_library_is_no_reason_for_a_note() -> None:
    nvml = with_real_errors(pynvml.NVML_ERROR_LIBRARY_NOT_FOUND, "nvmlInit")
    assert look(nvml) == {"accelerators": [], "notes": []}


def test_there_are_all_the_errors() -> None:
    assert len(CODES) >= 31


@pytest.mark.parametrize(
    ("files", "system", "hint"),
    [
        ({}, "linux", False),
        ({"dev/kfd": "", "sys/bus/pci/devices/0000:00:02.0/vendor": "0x8086\n"}, "linux", False),
        ({"sys/bus/pci/devices/0000:01:00.0/vendor": "0x10de\n"}, "linux", True),  # without a driver, which is noted
        ({"dev/nvidiactl": ""}, "linux", True),
        ({"proc/driver/nvidia/version": "580"}, "linux", True),
        ({"dev/nvhost-gpu": ""}, "linux", True),
        ({"dev/dxg": ""}, "linux", True),
        ({}, "win32", True),
        ({}, "darwin", False),
    ],
)
def test_signs_of_a_gpu_are_read(tmp_path: Path, files: dict[str, str], system: str, *, hint: bool) -> None:
    assert nvidia_hint(make(tmp_path, files), system) is hint


def test_without_a_sign_no_driver_is_asked(tmp_path: Path) -> None:
    folder = folder_with(tmp_path, "pynvml", "raise SystemExit(1)")
    assert probe_nvidia(hint=False, pythonpath=[folder]) == Sighting()
    assert probe_nvidia(hint=True, pythonpath=[folder]).notes


@pytest.mark.parametrize("function", ["nvmlInit", "nvmlDeviceGetCount"])
@pytest.mark.parametrize("code", set(CODES) - {0, pynvml.NVML_ERROR_LIBRARY_NOT_FOUND})
def test_every_error_at_the_start_is_a_note(code: int, function: str) -> None:
    seen = look(with_real_errors(code, function))
    assert seen["accelerators"] == []
    (note,) = seen["notes"]
    assert note.endswith("check `nvidia-smi`.")


FACTS = {
    "nvmlDeviceGetName": "name",
    "nvmlDeviceGetUUID": "uuid_hash",
    "nvmlDeviceGetMemoryInfo": "free_bytes",
    "nvmlDeviceGetCudaComputeCapability": "compute_capability",
    "nvmlDeviceGetMigMode": "mig",
    "nvmlSystemGetDriverVersion": "driver",
}


@pytest.mark.parametrize("function", FACTS)
@pytest.mark.parametrize("code", CODES[1:])
def test_every_error_of_a_fact_leaves_the_others(code: int, function: str) -> None:
    whole = look(with_real_errors(code, "unused"))["accelerators"]
    seen = look(with_real_errors(code, function))
    assert len(seen["accelerators"]) == 2
    for before, after in zip(whole, seen["accelerators"], strict=True):
        differs = {field for field in before if before[field] != after[field]}
        assert differs <= {FACTS[function], "total_bytes", "unified_memory"}
    sightings = Sighting.model_validate_json(Sighting.model_validate(_tuples(seen)).model_dump_json())
    assert all(note.endswith(".") for note in sightings.notes)


def _tuples(seen: dict[str, Any]) -> dict[str, Any]:
    return {name: tuple(content) for name, content in seen.items()}
