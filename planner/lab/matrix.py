"""The matrix of a lab as jobs, and what each of them asks of its machine."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ...value import Value
from ..cli.amounts import parse_budget, parse_share, parse_size
from .wanted import Lab, Objective, WantedModel, WantedWorkload

if TYPE_CHECKING:
    from collections.abc import Iterable

TRIAL_S = 30.0
"""What a trial is expected to take where a budget counts trials and nothing is known."""

SEARCHED = 0.75
"""Of a budget, the part in which recipes are tried at most."""

RESUMED = 0.35
"""Of its budget, what a job that goes on has at least: its last round takes a quarter or more."""


class Cell(Value):
    """A place in the matrix: a model, a workload and an objective on a kind of machine."""

    kind: str
    model: WantedModel
    workload: WantedWorkload
    objective: Objective

    @property
    def key(self) -> str:
        """What the journal calls it: `shapes, 4 steps, latency on 0123456789abcdef`."""
        return f"{self.title} on {self.kind}"

    @property
    def title(self) -> str:
        """The same without the machine."""
        return f"{self.model.name}, {self.workload}, {self.objective}"

    def request(self, lab: Lab, spent_s: float = 0.0) -> dict[str, Any]:
        """Return what is asked, as `planner.request.Request` takes it. spent_s: what trials of an earlier try took."""
        budget_s, most_trials = parse_budget(self.model.budget or lab.budget)
        if budget_s is not None:
            budget_s = max(budget_s - spent_s, RESUMED * budget_s if spent_s else budget_s)
        width, height = parse_size(self.workload.size) if self.workload.size else (None, None)
        asked = {
            "model": self.model.name,
            "budget_s": budget_s,
            "most_trials": most_trials,
            "tolerance": parse_share(self.model.tolerance or lab.tolerance),
            "objective": self.objective,
            "width": width,
            "height": height,
            "weights": self.model.weights,
            **{name: getattr(self.workload, name) for name in ("steps", "batch", "frames", "guidance")},
            "scorer": self.model.scorer or None,
            "also": self.model.also or None,
        }
        return {name: said for name, said in asked.items() if said is not None}

    def expected_s(self, lab: Lab) -> float:
        """Return how long it will probably take where nothing like it was done before."""
        budget_s, most_trials = parse_budget(self.model.budget or lab.budget)
        return budget_s or TRIAL_S * (most_trials or 0)


def cells(lab: Lab, kinds: Iterable[str]) -> list[Cell]:
    """Return the matrix."""
    return [
        Cell(kind=kind, model=model, workload=workload, objective=objective)
        for kind in dict.fromkeys(kinds)
        for model in lab.model
        for workload in lab.workload
        for objective in lab.objectives
        if not workload.models or model.name in workload.models
    ]
