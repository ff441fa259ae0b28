from __future__ import annotations

from pathlib import Path

import pytest

from autotune.probes.accelerators import Sighting, probe_devices
from autotune.probes.hints import built_for, device_hints, torch_version_file
from autotune.probes.memory import Memory

from .drivers import GIB, METAL, ROCM, SICK_ROCM, TORCH, XPU, folder_with
from .machines import make

RAM = Memory(total_bytes=64 * GIB, free_bytes=2 * GIB)
VERSION = "hip: Optional[str] = {hip}\nxpu: Optional[str] = {xpu}\n"


def ask(folder: Path, source: str, *hints: str) -> Sighting:
    version_file = folder / "version"
    version_file.write_text(VERSION.format(hip="'6.4.2'", xpu="'20250101'"))
    folder_with(folder, "torch", TORCH + source)
    return probe_devices(10, hints=hints, version_file=version_file, pythonpath=[folder], ask_memory=lambda: RAM)


@pytest.mark.parametrize(
    ("files", "system", "architecture", "hints"),
    [
        ({}, "linux", "x86_64", ()),
        ({"dev/kfd": ""}, "linux", "x86_64", ("rocm",)),
        ({"sys/class/drm/renderD128/device/vendor": "0x8086\n"}, "linux", "x86_64", ("xpu",)),
        ({"sys/class/drm/renderD128/device/vendor": "0x10de\n"}, "linux", "x86_64", ()),
        ({"dev/kfd": "", "sys/class/drm/renderD129/device/vendor": "0x8086\n"}, "linux", "x86_64", ("rocm", "xpu")),
        ({"dev/kfd": ""}, "win32", "AMD64", ()),
        ({}, "darwin", "arm64", ("mps",)),
        ({}, "darwin", "x86_64", ()),
    ],
)
def test_signs_are_read(
    tmp_path: Path, files: dict[str, str], system: str, architecture: str, hints: tuple[str, ...]
) -> None:
    assert device_hints(make(tmp_path, files), system, architecture) == hints


def test_without_a_sign_torch_is_not_asked(tmp_path: Path) -> None:
    assert ask(tmp_path, "raise SystemExit", *()) == Sighting()


def test_amd_gpus_are_seen(tmp_path: Path) -> None:
    seen = ask(tmp_path, ROCM, "rocm")
    card, chip = seen.accelerators
    assert (card.kind, card.index, card.name) == ("rocm", 0, "AMD Instinct MI210 (gfx90a)")
    assert (card.total_bytes, card.free_bytes, card.unified_memory) == (64 * GIB, 3 * GIB, False)
    assert card.compute_capability is None
    assert (chip.index, chip.unified_memory, chip.free_bytes) == (1, True, RAM.free_bytes)
    assert card.uuid_hash != chip.uuid_hash
    assert seen.notes == ()


def test_intel_gpu_is_seen_though_it_hides_its_free_memory(tmp_path: Path) -> None:
    (gpu,) = ask(tmp_path, XPU, "xpu").accelerators
    assert (gpu.kind, gpu.name, gpu.driver) == ("xpu", "Intel(R) Arc(TM) B580", "1.6")
    assert (gpu.total_bytes, gpu.free_bytes) == (12 * GIB, None)
    assert gpu.uuid_hash is None  # it would be another one each time


def test_apple_gpu_shares_the_ram(tmp_path: Path) -> None:
    (gpu,) = ask(tmp_path, METAL, "mps").accelerators
    assert (gpu.kind, gpu.name, gpu.unified_memory) == ("mps", "Apple M2 Max", True)
    assert (gpu.total_bytes, gpu.free_bytes) == (48 * GIB, RAM.free_bytes)


def test_sick_driver_does_not_lose_the_other_devices(tmp_path: Path) -> None:
    seen = ask(tmp_path, SICK_ROCM, "rocm", "xpu")
    assert [gpu.kind for gpu in seen.accelerators] == ["xpu"]
    assert seen.notes == ("torch could not ask for ROCm devices: HIP error: no ROCm-capable device is detected",)


@pytest.mark.parametrize(
    ("source", "note"),
    [
        (
            "raise ImportError('libamdhip64.so.6: cannot open')",
            "torch cannot be imported: libamdhip64.so.6: cannot open",
        ),
        ("import os; os.abort()", "torch crashed (SIGABRT), so ROCm and XPU devices are not seen."),
    ],
)
def test_torch_that_breaks_is_an_answer(tmp_path: Path, source: str, note: str) -> None:
    assert ask(tmp_path, source, "rocm", "xpu") == Sighting(notes=(note,))


def test_torch_that_was_built_for_something_else_is_not_asked(tmp_path: Path) -> None:
    (version_file := tmp_path / "version.py").write_text(VERSION.format(hip="None", xpu="None"))
    folder_with(tmp_path, "torch", "raise SystemExit('was asked')")
    assert probe_devices(10, hints=["rocm", "xpu"], version_file=version_file, pythonpath=[tmp_path]).notes == (
        "An AMD GPU may be here, but the installed torch was not built for ROCm, so it is not used.",
        "An Intel GPU may be here, but the installed torch was not built for XPU, so it is not used.",
    )


@pytest.mark.parametrize(
    ("text", "kind", "built"),
    [
        ("hip = '6.4'", "rocm", True),
        ("hip: Optional[str] = None", "rocm", False),
        ("hip: Optional[str] = None", "xpu", True),  # older releases do not say, so torch must be asked
        ("xpu: Optional[str] = None", "mps", True),
        ("", "rocm", True),
    ],
)
def test_what_torch_was_built_for_is_read(tmp_path: Path, text: str, kind: str, *, built: bool) -> None:
    (tmp_path / "version.py").write_text(text)
    assert built_for(kind, tmp_path / "version.py") is built


def test_installed_torch_says_what_it_was_built_for() -> None:
    version_file = torch_version_file()
    assert version_file is not None
    text = version_file.read_text()
    assert "\nhip" in text
    assert "\nxpu" in text
