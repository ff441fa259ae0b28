"""One job on its machine: the tuning of a desk, told as JSON lines: `python -m autotune.planner.lab.job FILE`.

FILE has the order. The lines are `prepared` (the run with its trials so far, and the machine), `trying`, `trial`,
`racing`, and at the end `ended` or `refused`. SIGINT ends the search as Ctrl-C does; a closed input ends the process.
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
from ..tune import Event, Prepared, Racing, Request, tune

REHEARSED = "AUTOTUNE_LAB_MACHINE"
"""Names a file of `autotune probe --json`: what a machine is taken for where a lab is rehearsed on another."""

REQUEST: TypeAdapter[Request] = TypeAdapter(Request)


class Order(Value):
    """What is to be done. run: what an earlier try has left, to go on from; first: recipes to begin with."""

    request: dict[str, Any]
    run: Run | None = None
    machine: Machine | None = None
    first: tuple[Recipe, ...] = ()


def machine_here() -> Machine:
    """Return this machine, or the one that it is taken for, with the memory that is free here."""
    file = os.environ.get(REHEARSED)
    if not file:
        return probe()
    return read_machine(Path(file)).model_copy(update={"memory": probe_memory()})


def do(order: Order, output: IO[str]) -> None:
    """Do what was ordered, and say how it goes."""
    if order.run and order.machine:
        with Store.open() as store:
            store.adopt_run(order.run, order.machine)
    machine = machine_here()

    def tell(event: Event) -> None:
        if isinstance(event, Prepared):
            said = {"run": event.run.model_dump(mode="json"), "machine": machine.model_dump(mode="json")}
            say(output, {"prepared": said})
        elif isinstance(event, Trial):
            say(output, {"trial": event.model_dump(mode="json")})
        elif isinstance(event, Recipe):
            say(output, {"trying": event.key})
        elif isinstance(event, Racing):
            say(output, {"racing": [recipe.key for recipe in event.recipes]})

    request = replace(REQUEST.validate_python(order.request), first=order.first)
    result = tune(request, tell, machine=machine)
    with Store.read() as store:
        finished = any(
            run.id == result.run.id and run.state == "finished" for run in store.runs(result.run.scope.model)
        )
    plans = [plan.model_dump(mode="json") for plan in result.plans]
    say(output, {"ended": {"reason": result.reason, "plans": plans, "finished": finished}})


def main() -> None:
    """Read the order and do it; what autotune refuses is a line, and no traceback."""
    signal.signal(signal.SIGINT, signal.default_int_handler)
    output = channel()
    try:
        do(Order.model_validate_json(Path(sys.argv[1]).read_text(encoding="utf-8")), output)
    except AutotuneError as error:
        say(output, {"refused": {"kind": type(error).__name__, "sentence": str(error)}})


if __name__ == "__main__":
    main()
