"""The process that does one job: the same code as the commands, told when to stop, and heard line by line.

Its first line of input is a `Sitting`; after it, `stop` ends the job when the trial that runs has ended. Where the
input is closed, nobody waits for it any more, and it ends with whatever it does. Each line of output is an event; the
last is `done`, `busy` where another tuner works on this machine, or `refused` with the sentence why.
"""

from __future__ import annotations

import os
import sys
import threading
from typing import TYPE_CHECKING, Any

from ...errors import AutotuneError, BusyError, NoPlanError, UsageError
from ...search.measured import Trial
from ...store.places import cache_dir
from ...store.store import Store
from ..apart import channel, say
from ..request import Request
from ..spot.draw import PAIRS
from ..spot.make import Asked, make_set
from ..told import told, told_result
from ..tune import LAST_ROUND, Prepared, tune
from ..verify import Wanted, verify
from .idle import busy_because, tree_of
from .sitting import Sitting

if TYPE_CHECKING:
    from collections.abc import Callable

    from ...search.plan import Plan
    from ...search.verify.check import Row
    from ..tune import Event

_WORKLOAD = ("width", "height", "steps", "guidance", "batch", "frames")


class Helm:
    """Who decides whether the job goes on: asked after each event, and never in the middle of a trial."""

    def __init__(self, *, idle_only: bool) -> None:
        """Take whether it has to make room for other programs."""
        self._idle_only = idle_only
        self._told = threading.Event()
        self.because = ""

    def hear(self, line: str) -> None:
        """Take a line in that the process was told."""
        if line == "stop":
            self._told.set()

    def ask(self, *, trial_ended: bool) -> None:
        """Raise KeyboardInterrupt, as Ctrl-C does, where the job is to end here; `because` says why."""
        if self._idle_only and trial_ended:
            self.because = busy_because(tree_of(os.getpid()))
        if self.because or self._told.is_set():
            raise KeyboardInterrupt


def work(sitting: Sitting, helm: Helm, say: Callable[[dict[str, Any]], None]) -> None:
    """Do a job, and say how it goes. Raises AutotuneError."""
    try:
        last = _DOING.get(sitting.order.kind, _tuned)(sitting, helm, say)
    except KeyboardInterrupt:
        last = {"event": "done", "reason": "interrupted", "interrupted": True}
    say(last | {"because": helm.because})


def _tuned(sitting: Sitting, helm: Helm, say: Callable[[dict[str, Any]], None]) -> dict[str, Any]:
    def on_event(event: Event) -> None:
        say(told(event))
        if not isinstance(event, Prepared):  # from the next one on, what was found so far is concluded
            helm.ask(trial_ended=isinstance(event, Trial))

    return told_result(tune(request_of(sitting), on_event))


def request_of(sitting: Sitting) -> Request:
    """Return what the tuner is asked. Raises NoPlanError where a plan is to be measured again that is not there."""
    order = sitting.order
    if order.kind == "recheck":
        return _request_again(sitting)
    return Request(
        model=order.model,
        budget_s=_left_s(sitting),
        most_trials=order.most_trials,
        tolerance=order.tolerance,
        weights=order.weights,
        fresh=order.fresh and not sitting.run,
        force=order.force,
        **{name: getattr(order, name) for name in _WORKLOAD},
    )


def _left_s(sitting: Sitting) -> float | None:
    """Return what is left of the budget: the last round's part in any case, as one that was cut off is raced anew."""
    budget_s = sitting.budget_s or sitting.order.budget_s
    return max(budget_s - sitting.spent_s, LAST_ROUND * budget_s) if budget_s else None


def _request_again(sitting: Sitting) -> Request:
    with Store.read() as store:
        plan = _plan(store, sitting.order.plan)
        family = store.plans_of(plan.run) if plan else ()
    if plan is None:
        msg = f"There is no plan {sitting.order.plan} here to be measured again: ask for the plan again."
        raise NoPlanError(msg)
    scope = plan.scope
    if scope.adapters or scope.distilled:
        msg = f"{scope.model} was tuned with files that a job may not name: run `autotune --model {scope.model}` again."
        raise UsageError(msg)
    recipes = tuple(dict.fromkeys([plan.recipe, *(each.recipe for each in family)]))
    return Request(
        model=scope.model,
        budget_s=_left_s(sitting),
        most_trials=len(recipes) + 1,  # and the baseline
        tolerance=scope.tolerance,
        weights="random" if scope.weights else "",
        fresh=not sitting.run,
        first=recipes,
        **{name: getattr(scope.workload, name) for name in _WORKLOAD},
    )


def _plan(store: Store, plan_id: str) -> Plan | None:
    return next((plan for run in store.runs() for plan in store.plans_of(run.id) if plan.id == plan_id), None)


def _verified(sitting: Sitting, helm: Helm, say: Callable[[dict[str, Any]], None]) -> dict[str, Any]:
    def on_row(row: Row) -> None:
        say({"event": "row", "row": row.model_dump(mode="json")})
        helm.ask(trial_ended=True)

    order = sitting.order
    minutes = left_s / 60 if (left_s := _left_s(sitting)) else None
    wanted = Wanted(order.architectures, minutes=minutes, fresh=order.fresh and not sitting.spent_s)
    rows = verify(wanted, cache_dir() / "verification.jsonl", on_row)
    return {"event": "done", "reason": f"{len(rows)} rows are known", "interrupted": False}


def _paired(sitting: Sitting, helm: Helm, say: Callable[[dict[str, Any]], None]) -> dict[str, Any]:
    def on_image(made: int, of: int) -> None:
        say({"event": "image", "made": made, "of": of})
        helm.ask(trial_ended=False)

    order = sitting.order
    say({"event": "prepared", "run": "", "trials": 0, "budget_s": 0.0})  # a set that was left is made anew
    asked = Asked(order.model, order.plan, order.turns, order.prompts, order.pairs or PAIRS)
    blind = make_set(asked, on_image)
    reason = f"{len(blind.screens)} pairs of images wait to be judged"
    return {"event": "done", "reason": reason, "interrupted": False, "blind": blind.id}


_DOING = {"verify": _verified, "spot": _paired}


def main() -> None:
    """Do the job that the first line of input names."""
    sitting = Sitting.model_validate_json(sys.stdin.readline())
    helm = Helm(idle_only=sitting.order.idle_only)
    output = channel(helm.hear)
    try:
        work(sitting, helm, lambda event: say(output, event))
    except BusyError as error:
        say(output, {"event": "busy", "message": str(error)})
    except AutotuneError as error:
        say(output, {"event": "refused", "error": type(error).__name__, "message": str(error)})
    output.flush()
    os._exit(0)  # the thread that listens would hold it up


if __name__ == "__main__":
    main()
