"""The job that would have measured what was asked: the body to post to `/v1/jobs`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from .permitted import may_be_named

if TYPE_CHECKING:
    from ..choose import Answer, Wish

Offer = dict[str, str | int | float]


def tuning(model: str, wish: Wish, weights: str = "") -> Offer:
    """Return the job that tunes a model for what is asked; nothing where a job may not name it."""
    if not may_be_named(model):
        return {}
    made_up: Offer = {"weights": weights} if weights else {}
    return {"kind": "tune", "model": model, **made_up, **wish.model_dump(exclude_none=True)}


def with_offer(answer: Answer, wish: Wish) -> Answer:
    """Return an answer with a job where its plan is stale, or for another workload; a job cannot name adapters."""
    scope = answer.plan.scope
    if scope.adapters or scope.distilled or not (answer.asked or answer.stale):
        return answer
    offer: Offer = {"kind": "recheck", "plan": answer.plan.id}
    if answer.asked:
        offer = tuning(scope.model, wish, scope.weights)
    return answer.model_copy(update={"job": offer})
