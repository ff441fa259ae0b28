"""The cluster, behind one door: which machines there are, a desk on each, and what is heard from there.

All that autotune knows of Ray is here. Ray waits for ever for a machine that is not there, and tries again what killed
a process: so machines are looked up first, nothing is tried again here, and every wait has an end.
"""

from __future__ import annotations

import os
import secrets
import socket
import sys
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol, Self

from ...errors import TechniqueMissingError, UnfitError
from .desk import BESIDE, ENDED, Desk
from .job import Looked
from .machines import NAME, Node, Seen

if TYPE_CHECKING:
    from collections.abc import Sequence

REACH_S = 10.0  # for whoever listens at an address to take a connection
START_S = 60.0  # for a desk to stand, and the machine's probes to answer
SILENCE_S = 60.0  # and a machine is given up: a desk answers every second, whatever its job does
POLL_S = 1.0
OBJECT_STORE_BYTES = 100 * 2**20  # what goes through it is text


@dataclass(frozen=True)
class Heard:
    """From one machine: lines of its job; and what it was lost by, empty where it was not."""

    node: str
    lines: tuple[str, ...] = ()
    ended: bool = False
    lost: str = ""


class Engine(Protocol):
    """What a sweep needs of a cluster."""

    def nodes(self) -> tuple[Node, ...]:
        """Return the machines that are there now."""
        ...

    def look(self, nodes: Sequence[Node]) -> tuple[list[Seen], dict[str, str]]:
        """Return what machines are, and in sentences what those are not usable for that are left out."""
        ...

    def start(self, node: str, module: str, order: str) -> None:
        """Start a job on a machine that was looked at."""
        ...

    def hear(self, timeout_s: float) -> list[Heard]:
        """Return what came in, waiting a while for the first."""
        ...

    def say(self, node: str, line: str) -> None:
        """Tell the job on a machine something, if it still runs."""
        ...

    def stop(self, node: str) -> None:
        """Have the job on a machine conclude what it has found."""
        ...


@dataclass
class RayEngine:
    """A Ray cluster; use it as a context. address: `auto`, `local`, HOST:PORT or ray://HOST:PORT.

    Raises TechniqueMissingError without Ray, UnfitError where the cluster cannot be reached or is of other versions.
    """

    address: str = "local"
    _ray: Any = None
    _desks: dict[str, Any] = field(default_factory=dict)
    _polls: dict[Any, str] = field(default_factory=dict)
    _answered_s: dict[str, float] = field(default_factory=dict)

    def __enter__(self) -> Self:
        """Connect, or start a Ray of this machine alone."""
        os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # nothing leaves the lab
        os.environ.setdefault("RAY_AUTH_MODE", "token")
        local: dict[str, Any] = {}
        if self.address == "local":
            os.environ.setdefault("RAY_AUTH_TOKEN", secrets.token_hex(32))
            local = {
                "include_dashboard": False,
                "object_store_memory": OBJECT_STORE_BYTES,
                "labels": {NAME: "local"},
                "_node_ip_address": "127.0.0.1",
            }
        try:
            import ray
        except ImportError as error:
            msg = "Sweeps need Ray: pip install 'autotune-diffusers[lab]'."
            raise TechniqueMissingError(msg) from error
        try:
            _reach(self.address)
            ray.init(address=self.address, log_to_driver=False, configure_logging=False, **local)
        except Exception as error:
            said = " ".join(str(error).split())[:300]
            msg = (
                f"The Ray cluster at {self.address} cannot be used ({type(error).__name__}: {said}). It must run, with "
                f"Ray {ray.__version__} and Python {'.'.join(map(str, sys.version_info[:2]))} as here, and know the "
                f"token (RAY_AUTH_TOKEN or RAY_AUTH_TOKEN_PATH)."
            )
            raise UnfitError(msg) from error
        self._ray = ray
        return self

    def __exit__(self, *error: object) -> None:
        """Leave the cluster; what still runs there for this sweep ends."""
        self._ray.shutdown()

    def nodes(self) -> tuple[Node, ...]:
        """Return the machines that are there now. One without CPUs in Ray's books takes no work."""
        return tuple(_node(said) for said in self._ray.nodes() if said["Alive"] and said["Resources"].get("CPU"))

    def look(self, nodes: Sequence[Node]) -> tuple[list[Seen], dict[str, str]]:
        """Put a desk on each machine, which then has it alone among all who use Ray, and ask what it is."""
        asked = {self._desk(node).look.remote(): node for node in nodes}
        waiting, deadline = list(asked), time.monotonic() + START_S
        seen, left_out = [], {}
        while waiting and time.monotonic() < deadline:
            ready, waiting = self._ray.wait(waiting, timeout=POLL_S)
            for ref in ready:
                node = asked[ref]
                try:
                    found = Looked.model_validate_json(self._ray.get(ref))
                    seen.append(Seen(node=node, machine=found.machine, runs=found.runs))
                except Exception as error:  # noqa: BLE001 - whatever it is, the other machines go on
                    left_out[node.id] = f"{node.name} cannot be used: {' '.join(str(error).split())[-300:]}"
        for ref in waiting:
            node = asked[ref]
            left_out[node.id] = f"{node.name} gave no answer within {START_S:.0f} s: others may be using it."
        for gone in left_out:
            self._forget(gone)
        return seen, left_out

    def start(self, node: str, module: str, order: str) -> None:
        """Start a job, and begin to listen."""
        desk = self._desks[node]
        self._polls = {ref: owner for ref, owner in self._polls.items() if owner != node}  # of the job before
        desk.start.remote(module, order)
        self._polls[desk.hear.remote(POLL_S)] = node
        self._answered_s[node] = time.monotonic()

    def hear(self, timeout_s: float) -> list[Heard]:
        """Return what came in; a machine that died or is silent is told as lost."""
        refs = list(self._polls)
        if not refs:
            time.sleep(min(timeout_s, POLL_S))
        ready, _ = self._ray.wait(refs, num_returns=len(refs), timeout=timeout_s) if refs else ([], None)
        heard = [self._heard(ref) for ref in ready]
        now_s = time.monotonic()
        silent = [node for node in self._polls.values() if now_s - self._answered_s[node] > SILENCE_S]
        for node in silent:
            self._forget(node)
            heard.append(Heard(node, lost="no answer"))
        return heard

    def say(self, node: str, line: str) -> None:
        """Tell the job on a machine something; it is not behind what the desk is listening to."""
        if node in self._desks:
            self._desks[node].say.remote(line)

    def stop(self, node: str) -> None:
        """Have the job on a machine conclude what it has found."""
        self._desks[node].stop.remote()

    def _heard(self, ref: Any) -> Heard:
        node = self._polls.pop(ref)
        try:
            lines = self._ray.get(ref)
        except Exception:  # noqa: BLE001 - Ray has a dozen errors for a process that is gone
            self._forget(node)
            there = any(each.id == node for each in self.nodes())
            return Heard(node, lost="process lost" if there else "machine lost")
        self._answered_s[node] = time.monotonic()
        ended = ENDED in lines
        if not ended:
            self._polls[self._desks[node].hear.remote(POLL_S)] = node
        return Heard(node, tuple(line for line in lines if line != ENDED), ended)

    def _desk(self, node: Node) -> Any:
        from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

        if node.id not in self._desks:
            said = next(each for each in self._ray.nodes() if each["NodeID"] == node.id)["Resources"]
            kept = {"max_restarts": 0, "max_task_retries": 0, "concurrency_groups": {BESIDE: 1}}
            made = self._ray.remote(**kept)(Desk).options(
                num_cpus=said.get("CPU", 0),
                num_gpus=said.get("GPU", 0),
                scheduling_strategy=NodeAffinitySchedulingStrategy(node.id, soft=False),
            )
            self._desks[node.id] = made.remote([folder for folder in sys.path if folder])
        return self._desks[node.id]

    def _forget(self, node: str) -> None:
        desk = self._desks.pop(node, None)
        self._polls = {ref: owner for ref, owner in self._polls.items() if owner != node}
        if desk is not None:
            self._ray.kill(desk)


def _reach(address: str) -> None:
    """Raise OSError where nobody listens at HOST:PORT, which Ray would go on asking for minutes."""
    host, _, port = address.removeprefix("ray://").rpartition(":")
    if port.isdecimal():
        socket.create_connection((host.strip("[]"), int(port)), REACH_S).close()


def _node(said: dict[str, Any]) -> Node:
    labels = {str(name): str(value) for name, value in (said.get("Labels") or {}).items()}
    names = (labels.get(NAME, ""), said.get("NodeName", ""), said["NodeManagerHostname"], said["NodeManagerAddress"])
    shown = {name: value for name, value in labels.items() if not name.startswith("ray.io/node-id")}
    return Node(
        id=said["NodeID"],
        names=tuple(dict.fromkeys(filter(None, names))),
        labels=shown,
        accelerator=labels.get("ray.io/accelerator-type", ""),
    )
