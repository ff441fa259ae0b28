"""A cluster that is none: machines by name, and jobs that are said line by line, or lost where a test says so."""

from __future__ import annotations

import json
import math
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from autotune.planner.lab.engine import Heard
from autotune.planner.lab.job import Order
from autotune.planner.lab.machines import NAME, Node, Seen
from autotune.search.measured import Latency, Trial
from autotune.search.recipe import UNMODIFIED, Recipe
from autotune.store.run import Run, new_id, now

from ..store.samples import MACHINE, SCOPE, plan

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from autotune.probes.machine import Machine

RECIPES = [UNMODIFIED, *(Recipe(turned={"threads": number}) for number in (1, 2, 3))]


def machine(name: str) -> Machine:
    return MACHINE.model_copy(update={"cpu": MACHINE.cpu.model_copy(update={"model_name": name})})


class DriverKilledError(Exception):
    """Stands for kill -9: nothing after it is run."""


@dataclass
class Ear:
    """What a job has heard."""

    theirs: set[str] = field(default_factory=set)
    answer: str = ""
    over: bool = False


@dataclass
class FakeEngine:
    """Each machine keeps its runs in `homes`, as its own store would; `measured` is every trial that was really run.

    lose: machines that go away for good once they have told so many lines; crash: those whose process does, once.
    killed_after: heard lines after which the driver is no more; slowed: by model, how many times as long plans take.
    """

    makes: dict[str, str]
    homes: dict[str, dict[str, Run]] = field(default_factory=dict)
    measured: list[tuple[str, str]] = field(default_factory=list)
    orders: list[tuple[str, Order]] = field(default_factory=list)
    lose: dict[str, int] = field(default_factory=dict)
    crash: dict[str, int] = field(default_factory=dict)
    refuses: dict[str, str] = field(default_factory=dict)
    killed_after: float = math.inf
    slowed: dict[str, float] = field(default_factory=dict)
    _jobs: dict[str, Iterator[dict[str, Any]]] = field(default_factory=dict)
    _told: dict[str, int] = field(default_factory=dict)
    _models: dict[str, str] = field(default_factory=dict)
    _ears: dict[str, Ear] = field(default_factory=dict)

    def nodes(self) -> tuple[Node, ...]:
        return tuple(
            Node(id=name, names=(name,), labels={NAME: name, "make": make}) for name, make in self.makes.items()
        )

    def look(self, nodes: Sequence[Node]) -> tuple[list[Seen], dict[str, str]]:
        return [
            Seen(
                node=node,
                machine=machine(self.makes[node.id]),
                runs=tuple(self.homes.get(node.id, {}).values()),
            )
            for node in nodes
        ], {}

    def start(self, node: str, module: str, order: str) -> None:
        del module
        read = Order.model_validate_json(order)
        self.orders.append((node, read))
        self._ears[node], self._models[node] = Ear(), str(read.request["model"])
        self._jobs[node] = self._do(node, read)

    def say(self, node: str, line: str) -> None:
        said, ear = json.loads(line), self._ears[node]
        ear.theirs = {*said.get("theirs", ear.theirs)}
        ear.answer = next((word for word in ("yours", "taken") if word in said), ear.answer)
        ear.over = ear.over or "over" in said
        if "trial" in said:
            self._keep(node, self._models[node], Trial.model_validate_json(json.dumps(said["trial"])))

    def stop(self, node: str) -> None:
        del self._jobs[node]

    def hear(self, timeout_s: float) -> list[Heard]:
        del timeout_s
        heard = []
        self.killed_after -= len(self._jobs)
        if self.killed_after < 0:  # before anything is lost that it would tell of
            raise DriverKilledError
        for node in list(self._jobs):
            self._told[node] = self._told.get(node, 0) + 1
            if self._told[node] > self.lose.get(node, 10**9):
                del self.makes[node], self._jobs[node]
                heard.append(Heard(node, lost="machine lost"))
            elif self._told[node] > self.crash.get(node, 10**9):
                del self.crash[node], self._jobs[node]
                heard.append(Heard(node, lost="process lost"))
            else:
                said = next(self._jobs[node])
                if said.keys() & {"ended", "refused"}:
                    del self._jobs[node]
                heard.append(Heard(node, (json.dumps(said),)))
        return heard

    def _do(self, node: str, order: Order) -> Iterator[dict[str, Any]]:
        model = str(order.request["model"])
        if model in self.refuses:
            yield {"refused": {"kind": self.refuses[model], "sentence": "It is not to be had."}}
            return
        here = machine(self.makes[node])
        scope = SCOPE.model_copy(update={"machine": here.fingerprint, "model": model})
        home = self.homes.setdefault(node, {})
        if order.run:
            before = home.get(model, order.run)
            known = {trial.recipe.key: trial for trial in (*before.trials, *order.run.trials)}
            home[model] = order.run.model_copy(update={"trials": tuple(known.values())})
        run = home.setdefault(model, Run(id=new_id(), scope=scope, state="new", started_at=now()))
        yield {"prepared": {"run": run.model_dump(mode="json"), "machine": here.model_dump(mode="json")}}
        ear = self._ears[node]
        while not ear.over and (left := self._untried(node, model)):
            recipe = next((recipe for recipe in left if recipe.key not in ear.theirs), None)
            ear.answer = ""
            yield {"trying": recipe.key} if recipe else {}
            while recipe and not ear.answer:
                yield {}
            if recipe is None or ear.answer == "taken":
                continue
            number = RECIPES.index(recipe)
            trial = Trial(
                number=number,
                recipe=recipe,
                outcome="ok",
                latency=Latency(samples_ms=(100.0 - 10 * number,)),
                peak_memory_bytes=2**20 + number,  # the faster, the larger: each is on the front
                started_at=now(),
                duration_s=1.0 + 1e-9 * number,  # and takes longer to try, by too little for any price
            )
            self.measured.append((f"{model} on {self.makes[node]}", recipe.key))
            self._keep(node, model, trial)  # before it is told
            yield {"trial": trial.model_dump(mode="json")}
        yield {"searched": True}
        best = plan(3, run.id, scope)
        slowed = tuple(ms * self.slowed.get(model, 1.0) for ms in best.latency.samples_ms)
        best = best.model_copy(update={"latency": Latency(samples_ms=slowed)})
        plans = [best.model_dump(mode="json")]
        yield {"ended": {"reason": "nothing better is expected", "plans": plans, "finished": True}}

    def _keep(self, node: str, model: str, trial: Trial) -> None:
        run = self.homes[node][model]
        known = {each.recipe.key: each for each in (*run.trials, trial)}
        self.homes[node][model] = run.model_copy(update={"trials": tuple(known.values())})

    def _untried(self, node: str, model: str) -> list[Recipe]:
        tried = {trial.recipe.key for trial in self.homes[node][model].trials}
        return [recipe for recipe in RECIPES if recipe.key not in tried]
