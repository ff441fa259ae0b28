"""The machines of a lab: which there are, which are meant, and which are of one kind."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ...errors import UnfitError
from ...probes.machine import Machine
from ...store.run import Run
from ...value import Value, key_of
from ..choose import said_bytes

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from .wanted import WantedMachines

NAME = "autotune/machine"
"""The label by which a lab gives a machine a name of its own."""


class Node(Value):
    """A machine as the cluster knows it. names: all by which it can be chosen; accelerator: as the cluster calls it."""

    id: str
    names: tuple[str, ...]
    labels: dict[str, str] = {}
    accelerator: str = ""

    @property
    def name(self) -> str:
        """What people call it."""
        return self.labels.get(NAME) or self.names[0]


class Seen(Value):
    """A node, what its probes say, and what it has of runs that have not ended."""

    node: Node
    machine: Machine
    runs: tuple[Run, ...] = ()

    @property
    def kind(self) -> str:
        """Machines with one key do the same work: one make, and the same software."""
        return key_of([self.machine.kind, self.machine.software.key])

    @property
    def says(self) -> str:
        """The machine in a few words: `2 x NVIDIA H100`, or `AMD EPYC, 2 cores, 23.4 GiB`."""
        gpus = [gpu.name for gpu in self.machine.accelerators]
        if gpus:
            return f"{len(gpus)} x {gpus[0]}" if len(gpus) > 1 else gpus[0]
        cpu = self.machine.cpu
        return f"{cpu.model_name}, {cpu.allowed_cores} cores, {said_bytes(self.machine.memory.total_bytes)}"


def refuse_missing(nodes: Sequence[Node], wanted: Iterable[WantedMachines]) -> None:
    """Raise UnfitError where a label or a name is of no machine that is there; it says which are. Asks no machine."""
    if not nodes:
        msg = "The cluster has no machine that takes work: start one with `ray start`, with at least one CPU."
        raise UnfitError(msg)
    for machines in wanted:
        if not any(_has_labels(node, machines) for node in nodes):
            there = sorted({f"{name}={said}" for node in nodes for name, said in node.labels.items()})
            msg = (
                f"No machine has {machines}. The labels that there are: {', '.join(there) or 'none'}; "
                f"the names: {', '.join(sorted(name for node in nodes for name in node.names))}."
            )
            raise UnfitError(msg)


def chosen(seen: Sequence[Seen], wanted: Sequence[WantedMachines]) -> dict[str, tuple[Seen, WantedMachines]]:
    """Return the machines that are meant, by their node, each with the first entry that means it.

    Raises UnfitError where an entry means none of those that are here.
    """
    found: dict[str, tuple[Seen, WantedMachines]] = {}
    for machines in wanted:
        meant = [each for each in seen if _has_labels(each.node, machines) and _has_accelerator(each, machines)]
        if not meant:
            there = sorted({gpu.name for each in seen for gpu in each.machine.accelerators})
            msg = f"No machine has {machines}. The accelerators that there are: {', '.join(there) or 'none'}."
            raise UnfitError(msg)
        if machines.every_kind_once:
            meant = list({each.kind: each for each in reversed(meant)}.values())
        for each in meant:
            found.setdefault(each.node.id, (each, machines))
    return found


def likeness(one: Machine, other: Machine) -> int:
    """Return how much two machines share of what decides about speed: the more, the likelier they have one best."""
    pairs = (
        (
            [gpu.kind for gpu in machine.accelerators],
            [gpu.compute_capability for gpu in machine.accelerators],
            [gpu.name for gpu in machine.accelerators],
            machine.cpu.architecture,
            machine.cpu.features,
            machine.cpu.model_name,
        )
        for machine in (one, other)
    )
    return sum(mine == theirs for mine, theirs in zip(*pairs, strict=True))


def _has_labels(node: Node, machines: WantedMachines) -> bool:
    labelled = all(node.labels.get(name) == said for name, said in machines.label.items())
    return labelled and (not machines.name or machines.name in node.names)


def _has_accelerator(seen: Seen, machines: WantedMachines) -> bool:
    names = (seen.node.accelerator, *(gpu.name for gpu in seen.machine.accelerators))
    return not machines.accelerator or any(machines.accelerator.lower() in name.lower() for name in names)
