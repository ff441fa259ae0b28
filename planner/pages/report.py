"""The report of a tuning: one file that opens anywhere, or Markdown to be pasted into an issue."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from ...store.store import Store
from ..export import newest_run
from ..spot.play import seen_of
from .account import Account, account_of
from .front import chart
from .render import STATIC, render
from .sight import AMPLIFIED, Pair, pairs_of

if TYPE_CHECKING:
    from .front import Chart

Form = Literal["html", "md"]


def account(model: str) -> Account:
    """Return what is to be told of the newest tuning of a model.

    model: as `find_model` takes it. Raises ModelError, StoreError, and NoPlanError where nothing was tried.
    """
    run = newest_run(model)
    with Store.read() as store:
        plans = store.plans_of(run.id)
        return account_of(run, plans, store.machine(run.scope.machine), seen_of(plans))


def report(told: Account, form: Form) -> str:
    """Return the report. HTML holds its images and asks for nothing else; Markdown has no images."""
    charts = charts_of(told)
    if form == "md":
        return render("report.md", told=told)
    style = (STATIC / "style.css").read_text(encoding="utf-8")
    return render(
        "report.html", told=told, charts=charts, pairs=_pairs(told), amplified=AMPLIFIED, style=style, link=_nowhere
    )


def charts_of(told: Account) -> list[Chart]:
    """Return the pictures of a tuning: by quality where it was measured, and by memory."""
    both = (chart(told.dots, measure, told.scope.tolerance) for measure in ("quality", "memory"))
    return [each for each in both if each]


def _pairs(told: Account) -> list[Pair]:
    if told.plan is None:
        return []
    return pairs_of(told.album, told.plan.baseline.key, told.plan.recipe.key)


def _nowhere(dot: object) -> str:
    """Return where a mark leads: in a file, to its row in the table."""
    return f"#trial-{getattr(dot, 'number', '')}"
