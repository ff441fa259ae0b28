"""One job on its machine: the tuning of a desk, told as JSON lines: `python -m autotune.planner.lab.job FILE`.

FILE has the order. The lines are `prepared` (the run with its trials so far, and the machine), `trying` and `searched`
(see crew.py), `trial`, `racing`, and at the end `ended` or `refused`. SIGINT ends the search as Ctrl-C does; a closed
input ends the process.
"""

from __future__ import annotations

import os
import signal
import sys
from dataclasses import replace
from pathlib import Path
from typing import IO, Any

from pydantic import TypeAdapter

from ...errors import AutotuneError
from ...probes.machine import Machine, probe, read_machine
from ...probes.memory import probe_memory
from ...search.measured import Trial
from ...search.recipe import Recipe
from ...store.run import Run
from ...store.store import Store
from ...value import Value
from ..apart import channel, say
from ..request import Request
from ..tune import Event, Prepared, Racing, tune
from .crew import Shared

REHEARSED = "AUTOTUNE_LAB_MACHINE"
"""Names a file of `autotune probe --json`: what a machine is taken for where a lab is rehearsed on another."""

REQUEST: TypeAdapter[Request] = TypeAdapter(Request)


class Order(Value):
    """What is to be done. run: what an earlier try has left, to go on from; first: recipes to begin with.

    helps: another of this kind has begun the run, `machine`, and concludes it; this one is taken for it.
    """

    request: dict[str, Any]
    run: Run | None = None
    machine: Machine | None = None
    first: tuple[Recipe, ...] = ()
    helps: bool = False


def machine_here() -> Machine:
    """Return this machine, or the one that it is taken for, with the memory that is free here."""
    file = os.environ.get(REHEARSED)
    if not file:
        return probe()
    return read_machine(Path(file)).model_copy(update={"memory": probe_memory()})


class Looked(Value):
    """A machine, and the runs in its own store that have not ended."""

    machine: Machine
    runs: tuple[Run, ...] = ()


def looked() -> Looked:
    """Return what is here: a driver that was killed has not heard all of it."""
    with Store.open() as store:
        runs = tuple(run for run in store.runs() if run.state != "finished")
    return Looked(machine=machine_here(), runs=runs)


def do(order: Order, output: IO[str], crew: Shared) -> None:
    """Do what was ordered, and say how it goes."""
    machine = machine_here()
    if order.run and order.machine:
        with Store.open() as store:
            store.adopt_run(order.run, order.machine)
        if order.helps:
            machine = order.machine.model_copy(update={"memory": machine.memory})

    def tell(event: Event) -> None:
        if isinstance(event, Prepared):
            crew.known |= {trial.recipe.key for trial in event.run.trials}
            said = {"run": event.run.model_dump(mode="json"), "machine": machine.model_dump(mode="json")}
            say(output, {"prepared": said})
        elif isinstance(event, Trial) and event.recipe.key not in crew.heard:
            say(output, {"trial": event.model_dump(mode="json")})
        elif isinstance(event, Racing):
            say(output, {"racing": [recipe.key for recipe in event.recipes]})

    request = replace(REQUEST.validate_python(order.request), first=order.first)
    result = tune(request, tell, machine=machine, crew=crew)
    with Store.read() as store:
        finished = any(
            run.id == result.run.id and run.state == "finished" for run in store.runs(result.run.scope.model)
        )
    plans = [plan.model_dump(mode="json") for plan in result.plans]
    say(output, {"ended": {"reason": result.reason, "plans": plans, "finished": finished}})


def main() -> None:
    """Read the order and do it; what autotune refuses is a line, and no traceback."""
    signal.signal(signal.SIGINT, signal.default_int_handler)
    order = Order.model_validate_json(Path(sys.argv[1]).read_text(encoding="utf-8"))
    crew = Shared(lambda said: say(output, said), helps=order.helps)
    output = channel(crew.hear)
    try:
        do(order, output, crew)
    except AutotuneError as error:
        say(output, {"refused": {"kind": type(error).__name__, "sentence": str(error)}})


if __name__ == "__main__":
    main()
