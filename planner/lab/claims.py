"""The machines of one study, as the driver knows them: which tries what, and what a machine that helps is to do."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from ...search.measured import Trial
from .job import Order
from .matrix import RESUMED, SEARCHED

if TYPE_CHECKING:
    from ...probes.machine import Machine
    from ...store.run import Run


ANY = 10**9
"""As many trials as there is time for."""


@dataclass
class Claims:
    """On the driver: what is known of a job's run, and which machine tries which recipe of it.

    most: trials in all; machines: all that take part; searched: one of them has nothing left to search for, so that
    none need join; over: the run has its verdict.
    """

    most: int = ANY
    trials: dict[str, Trial] = field(default_factory=dict)
    machines: list[str] = field(default_factory=list)
    searched: bool = False
    over: bool = False
    trying: dict[str, str] = field(default_factory=dict)
    _told: dict[str, list[str]] = field(default_factory=dict)

    def claim(self, machine: str, recipe: str) -> bool:
        """Return whether a machine is to try a recipe: no other does or has, and it is not one too many."""
        others = len({*self.trying} - {recipe})
        free = recipe not in self.trials and self.trying.get(recipe, machine) == machine
        free = free and len(self.trials) + others < self.most
        if free:
            self.trying[recipe] = machine
        return free

    def ended(self, trial: Trial) -> bool:
        """Hear of a trial, and return whether it is news: the run is open, and has none of that recipe."""
        self.trying.pop(trial.recipe.key, None)
        if self.over or trial.recipe.key in self.trials:
            return False
        self.trials[trial.recipe.key] = trial
        return True

    def left(self, machine: str) -> None:
        """Hear that a machine takes part no longer: what it tried is free again."""
        self.machines = [other for other in self.machines if other != machine]
        self.trying = {recipe: other for recipe, other in self.trying.items() if other != machine}

    def theirs(self) -> Iterator[tuple[str, list[str]]]:
        """Yield each machine for which it has changed which recipes the others try, and these."""
        for machine in self.machines:
            recipes = [recipe for recipe, other in self.trying.items() if other != machine]
            if recipes != self._told.get(machine, []):
                self._told[machine] = recipes
                yield machine, recipes


def helping(order: Order, run: Run, machine: Machine, took_s: float) -> Order | None:
    """Return what a machine is to do that helps with an order; None where too little of its budget is left for that.

    run: what the order has led to so far; machine: who does it; took_s: for how long.
    """
    request = order.request | {"fresh": False}
    if "budget_s" in request:
        request["budget_s"] -= took_s / SEARCHED
        if request["budget_s"] < RESUMED * order.request["budget_s"]:
            return None
    return Order(request=request, run=run, machine=machine, first=order.first, helps=True)
