"""What has changed since a plan was measured: the machine, the model's files, the software."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ..probes.machine import Machine
    from ..search.plan import Plan


def changed(plan: Plan, machine: Machine, revision: str | None) -> tuple[bool, bool, bool]:
    """Return whether machine, revision and software are others; what matters more stands first."""
    scope = plan.scope
    return (
        scope.machine != machine.fingerprint,
        revision is not None and scope.revision != revision,
        scope.software != machine.software.key,
    )


def reasons(plan: Plan, machine: Machine, revision: str | None, before: Machine | None) -> Iterator[str]:
    """Yield what has changed since the plan was measured, as far as anybody remembers how it was."""
    scope = plan.scope
    other_machine, other_revision, other_software = changed(plan, machine, revision)
    if other_machine:
        if before is None or not same_hardware(before, machine):
            yield f"machine {_called(before) or scope.machine} -> {_called(machine)}"
        else:
            yield from _differences(before.lasting(), machine.lasting())
    if other_revision:
        yield f"model revision {scope.revision} -> {revision}"
    if other_software:
        if before is not None and before.software.key == scope.software:
            yield from _software_differences(before, machine)
        else:
            yield f"software {scope.software} -> {machine.software.key}"


def between(before: Machine, now: Machine) -> Iterator[str]:
    """Yield what differs between two machines, or between a machine and itself at another time."""
    yield from _differences(before.lasting(), now.lasting())
    yield from _software_differences(before, now)


def same_hardware(before: Machine, now: Machine) -> bool:
    """Return whether two machines have the same processors and accelerators, whatever runs on them."""

    def parts(machine: Machine) -> list[Any]:
        return [machine.cpu.model_name, *((gpu.kind, gpu.name, gpu.uuid_hash) for gpu in machine.accelerators)]

    return parts(before) == parts(now)


def _called(machine: Machine | None) -> str:
    return " with ".join([machine.cpu.model_name, *(gpu.name for gpu in machine.accelerators)]) if machine else ""


def _software_differences(before: Machine, now: Machine) -> Iterator[str]:
    old, new = before.software, now.software
    yield from _differences(
        {"python": old.python, "os": old.os, **old.versions}, {"python": new.python, "os": new.os, **new.versions}
    )


def _differences(old: Any, new: Any, name: str = "") -> Iterator[str]:
    """Yield `name old -> new` for every leaf that differs between two JSON documents."""
    if isinstance(old, list) and isinstance(new, list) and len(old) == len(new) and old and isinstance(old[0], dict):
        old, new = dict(enumerate(old)), dict(enumerate(new))
    if isinstance(old, dict) and isinstance(new, dict):
        for key in [*old, *(key for key in new if key not in old)]:
            yield from _differences(old.get(key), new.get(key), f"{name} {key}".strip())
    elif old != new:
        yield f"{name} {_leaf(old)} -> {_leaf(new)}"


def _leaf(value: Any) -> str:
    text = " ".join(map(str, value)) if isinstance(value, list) else str(value)
    return text if text and value is not None else "nothing"
