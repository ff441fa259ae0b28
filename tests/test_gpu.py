"""benchmarks/gpu.py, from end to end with small pipelines; what only a GPU has, with a scripted torch.

Here is no GPU: that each part runs, that it goes on where it stopped, and that the page says what was not measured.
"""

from __future__ import annotations

import importlib
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from autotune.probes.accelerators import Accelerator
from autotune.search.recipe import Recipe
from autotune.search.verify.architectures import ARCHITECTURES
from autotune.search.verify.check import Row

from .store.samples import MACHINE

ROOT = Path(__file__).parents[1]
SCRIPT = ROOT / "benchmarks" / "gpu.py"
FEW = ("machine", "flux-dev-ladder", "flux-dev", "isolation")
"""What runs for real here. The other parts tune, climb, compile and verify by what has tests of its own."""


GPU = Accelerator(kind="cuda", index=0, name="GPU", total_bytes=80 * 2**30, free_bytes=70 * 2**30)
WITH_GPU = MACHINE.model_copy(update={"accelerators": (GPU,)})

if TYPE_CHECKING:
    from collections.abc import Iterator

    from autotune.probes.machine import Machine


@pytest.fixture(scope="module")
def modules() -> Iterator[dict[str, Any]]:
    """The benchmark's modules, which find each other in their own folder."""
    sys.path.insert(0, str(SCRIPT.parent))
    try:
        yield {name: importlib.import_module(name) for name in ("gpu", "gpu_page", "gpu_parts", "gpu_inside")}
    finally:
        sys.path.remove(str(SCRIPT.parent))


@pytest.fixture
def gpu(modules: dict[str, Any]) -> Any:
    return modules["gpu"]


def call(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "PYTHONPATH": str(ROOT / ".dev")}
    command = [sys.executable, str(SCRIPT), "-o", str(folder), *arguments]
    return subprocess.run(command, env=environment, capture_output=True, text=True, check=False)


@pytest.fixture(scope="module")
def rehearsed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("gpu")
    only = [word for name in FEW for word in ("--only", name)]
    done = call(folder, "--tiny", "--minutes", "12", *only)
    assert done.returncode == 0, done.stderr[-3000:]
    return folder


def parts_of(folder: Path) -> dict[str, Any]:
    parts: dict[str, Any] = json.loads((folder / "result.json").read_text())["parts"]
    return parts


@pytest.mark.slow
def test_every_part_runs_from_end_to_end(rehearsed: Path) -> None:
    parts = parts_of(rehearsed)
    assert {name: part["done"] for name, part in parts.items()} == dict.fromkeys(FEW, True)
    first = parts["machine"]["first_trial"]
    assert (first["outcome"], first["say_origin"]) == ("ok", {"forked": True})
    assert [row["outcome"] for row in parts["flux-dev-ladder"]["rows"]] == ["ok"]
    assert parts["isolation"]["out_of_memory"]["outcome"] == "out_of_memory"
    assert parts["isolation"]["before"]["outcome"] == parts["isolation"]["after"]["outcome"] == "ok"


@pytest.mark.slow
def test_the_trials_of_a_tuning_are_a_table_to_search(rehearsed: Path) -> None:
    tuned = parts_of(rehearsed)["flux-dev"]
    assert tuned["trials"] == 4
    lines = (rehearsed / tuned["table"]).read_text().splitlines()
    assert len(lines) == 1 + 4
    knobs = lines[0][: lines[0].index(",latency_ms")]
    command = [
        sys.executable,
        "-c",
        "from autotune.planner.cli import main; main()",
        "replay",
        str(rehearsed / tuned["table"]),
        "--knobs",
        knobs,
    ]
    environment = {**os.environ, "PYTHONPATH": str(ROOT / ".dev")}
    done = subprocess.run(
        [*command, "--objective", "latency_ms", "--cost", "cost_s", "--repeats", "3"],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr


@pytest.mark.slow
def test_what_is_done_is_not_done_again_and_no_rehearsal_becomes_a_result(rehearsed: Path) -> None:
    before = (rehearsed / "result.json").read_text()
    only = [word for name in FEW for word in ("--only", name)]
    assert call(rehearsed, "--tiny", *only).returncode == 0
    assert (rehearsed / "result.json").read_text() == before
    assert "**A rehearsal**" in (rehearsed / "README.md").read_text()


def test_without_a_gpu_it_says_what_it_needs(tmp_path: Path) -> None:
    done = call(tmp_path / "results")
    assert done.returncode == 1
    assert "measures an NVIDIA GPU, and none is seen here" in done.stderr
    assert "--tiny" in done.stderr
    assert not (tmp_path / "results").exists()


def test_a_part_that_fails_takes_no_other_along_and_is_tried_again(gpu: Any, tmp_path: Path) -> None:
    asked: list[dict[str, Any]] = []

    def fails(_: Any, __: float, before: dict[str, Any]) -> Iterator[dict[str, Any]]:
        asked.append(before)
        yield {"done": False, "rows": [*before.get("rows", ()), 1]}
        raise RuntimeError("CUDA error: an illegal memory access was encountered")

    def works(_: Any, __: float, before: dict[str, Any]) -> Iterator[dict[str, Any]]:
        yield {"done": len(asked) > 1, "count": before.get("count", 0) + 1}

    parts = [gpu.Part("fails", "?", 1, fails), gpu.Part("works", "?", 1, works)]
    results: dict[str, Any] = {"schema_version": 1, "tiny": False, "parts": {}}
    place = gpu.Place(tmp_path, None)
    for count in (1, 2):
        assert gpu.run(parts, place, results, gpu.time.monotonic() + 60) == 1
        assert "illegal memory access" in results["parts"]["fails"]["error"]
        assert results["parts"]["fails"]["rows"] == [1] * count, "what it found before it failed is kept"
        assert results["parts"]["works"]["count"] == count
    assert parts_of(tmp_path) == results["parts"]
    assert "error" not in asked[1]


def test_what_there_is_no_time_for_is_not_begun(gpu: Any, tmp_path: Path) -> None:
    results: dict[str, Any] = {"schema_version": 1, "tiny": False, "parts": {}}
    assert gpu.run([gpu.Part("late", "?", 1, None)], gpu.Place(tmp_path, None), results, gpu.time.monotonic()) == 0
    assert results["parts"] == {}


def test_the_time_is_shared_by_weight(gpu: Any, tmp_path: Path) -> None:
    given: list[float] = []

    def takes(_: Any, deadline: float, __: dict[str, Any]) -> Iterator[dict[str, Any]]:
        given.append(deadline - gpu.time.monotonic())
        yield {"done": True}

    parts = [gpu.Part(str(weight), "?", weight, takes) for weight in (3, 1)]
    results: dict[str, Any] = {"schema_version": 1, "tiny": False, "parts": {}}
    gpu.run(parts, gpu.Place(tmp_path, None), results, gpu.time.monotonic() + 100)
    assert given == pytest.approx([75, 100], abs=1), "what a part leaves is the others'"


def test_the_page_says_what_was_not_measured(gpu: Any) -> None:
    text = gpu.page({"tiny": False, "parts": {}})
    assert text.count("Not measured yet.") == len(gpu.PARTS)
    assert "rehearsal" not in text


def test_the_page_tells_how_well_memory_was_predicted(modules: dict[str, Any]) -> None:
    pairs = [{"predicted_bytes": 100 + number, "peak_bytes": 100} for number in range(-10, 11)]
    errors = modules["gpu_page"].memory_errors(pairs)
    assert min(errors) == pytest.approx(-0.10)
    tuned = {"done": True, "trials": 21, "seconds": 60.0, "table": "t.csv", "reason": "over", "plans": [], "search": {}}
    text = modules["gpu_page"].page({"tiny": False, "parts": {"sdxl": {**tuned, "memory": pairs}}})
    assert "21 predictions, half within 5.0%, 95 % within 10.0%; the lowest was 10.0% too low." in text


def test_a_card_with_less_memory_is_another_machine(modules: dict[str, Any]) -> None:
    gib, capped = 2**30, modules["gpu_parts"].capped
    card = capped(WITH_GPU, 8 * gib)
    assert card.accelerators[0].total_bytes == 8 * gib
    assert card.accelerators[0].free_bytes <= 8 * gib
    assert card.fingerprint != WITH_GPU.fingerprint
    alone = capped(MACHINE, 2 * gib)
    assert alone.memory.free_bytes <= 2 * gib


def found_by(part: str, gpu: Any, place: Any, before: dict[str, Any] | None = None) -> list[dict[str, Any]]:
    [run] = [each.run for each in gpu.PARTS if each.name == part]
    return list(run(place, gpu.time.monotonic() + 60, before or {}))


def test_a_family_is_tuned_card_by_card_and_goes_on(
    modules: dict[str, Any], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    tuned: list[tuple[int, str]] = []

    def tune(_: Any, __: Any, ___: float, machine: Machine, table: str, most: int) -> dict[str, Any]:
        assert most == 12
        tuned.append((machine.accelerators[0].total_bytes // 2**30, table))
        return {"done": len(tuned) != 2}

    monkeypatch.setattr(modules["gpu_parts"], "_tuned", tune)
    gpu = modules["gpu"]
    place = gpu.Place(tmp_path, WITH_GPU)
    *_, last = found_by("flux-dev-family", gpu, place)
    assert [gib for gib, _ in tuned] == [8, 12, 16, 24]
    assert not last["done"]
    *_, last = found_by("flux-dev-family", gpu, place, last)
    assert tuned[4:] == [(12, "flux-dev-12gib.csv")], "what is done is not done again"
    assert last["done"]
    assert "### 16 GiB" in gpu.page({"tiny": False, "parts": {"flux-dev-family": last}})


def test_differences_from_the_table_are_told(
    modules: dict[str, Any], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    wrong = Row(architecture="sd", recipe=Recipe(turned={"fuse_qkv": True}), outcome="fails", detail="no kernel")

    def verify(wanted: Any, file: Path, on_row: Any) -> list[Row]:
        assert wanted.names == [each.name for each in ARCHITECTURES]
        assert wanted.minutes == pytest.approx(1, rel=0.01)
        assert file.name == "compatibility.jsonl"
        on_row(wrong)
        return [wrong]

    monkeypatch.setattr(modules["gpu_parts"], "verify", verify)
    [found] = found_by("verify", modules["gpu"], modules["gpu"].Place(tmp_path, WITH_GPU))
    assert found["done"]
    assert "- sd, fuse_qkv=True: it is allowed, and fails: no kernel" in modules["gpu"].page(
        {"tiny": False, "parts": {"verify": found}}
    )


def test_what_a_trial_is_asked_of_its_gpu(modules: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    """With a torch whose device fails an assertion."""
    import torch

    gpu_inside = modules["gpu_inside"]

    def broken() -> None:
        raise RuntimeError("CUDA error: device-side assert triggered\nmore")

    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda: (3, 10))
    monkeypatch.setattr(torch.cuda, "max_memory_allocated", lambda: 5)
    monkeypatch.setattr(torch.cuda, "max_memory_reserved", lambda: 6)
    assert gpu_inside.do_count_memory(None) == {"allocated_bytes": 5, "reserved_bytes": 6, "taken_bytes": 7}
    monkeypatch.setattr(torch.cuda, "synchronize", broken)
    assert gpu_inside._raised(lambda: None) == "RuntimeError: CUDA error: device-side assert triggered"
    monkeypatch.setattr(torch.cuda, "synchronize", lambda: None)
    assert gpu_inside._raised(lambda: None) == ""
