"""Threads: how many of the CPU's cores compute at once."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ...probes.cpu import Cpu, probe_cpu
from .knob import Bench, Choices, Knob, Setting

if TYPE_CHECKING:
    from ..recipe import Choice


def refuses(choice: Choice, setting: Setting) -> str | None:
    """Fewer threads are a choice only where they are fewer, and where the CPU is what computes."""
    if setting.device != "cpu":
        return f"the {setting.device} computes, and one thread of the CPU keeps it busy"
    cpu = setting.machine.cpu
    if choice == "physical" and cpu.physical_cores is None:
        return "the system does not tell which cores are hyperthreads"
    count, same = count_of(choice, cpu), ("all", "physical") if choice == "half" else ("all",)
    twin = next((other for other in same if count_of(other, cpu) == count), None)
    return f"{count} of {cpu.allowed_cores} cores, which is what {twin} stands for here" if twin else None


def count_of(choice: Choice, cpu: Cpu) -> int:
    """Return how many threads a choice stands for on a CPU."""
    counts = {
        "all": cpu.allowed_cores,
        "physical": min(cpu.physical_cores or cpu.allowed_cores, cpu.allowed_cores),
        "half": max(1, cpu.allowed_cores // 2),
    }
    return counts[str(choice)]


def wanted(choices: Choices) -> int:
    """Return the number of threads that are asked for by name; 0 leaves it to the library, as OpenVINO has it."""
    return 0 if choices["threads"] == "all" else count_of(choices["threads"], probe_cpu())


def apply(pipe: Any, choices: Choices, bench: Bench) -> None:
    """Set torch's threads, for the whole process; OpenVINO is told when it compiles.

    Source: https://docs.pytorch.org/docs/stable/notes/cpu_threading_torchscript_inference.html
    """
    del pipe, bench
    import torch

    torch.set_num_threads(wanted(choices))


THREADS = Knob(
    name="threads",
    says="how many threads compute on the CPU: a core each, none for hyperthreads, or half of the cores",
    choices=("all", "physical", "half"),
    default="all",
    source="https://docs.pytorch.org/tutorials/recipes/recipes/tuning_guide.html (CPU specific optimizations)",
    refuses=refuses,
    apply=apply,
)
