"""What became of a plan in an app, as the app has said it."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from ..value import Value

Ending = Literal["ok", "out_of_memory", "error"]


class Outcome(Value):
    """One call with a plan, or one that failed. What the app did not say is None, or empty.

    `latency_ms` is of the call, `peak_bytes` the most memory that was taken on the plan's device, as far as it came,
    `free_bytes` what was free there when it began, and `detail` the library's own words.
    """

    id: str
    plan_id: str
    outcome: Ending
    latency_ms: float | None = Field(default=None, gt=0)
    peak_bytes: int | None = Field(default=None, ge=0)
    free_bytes: int | None = Field(default=None, ge=0)
    detail: str = ""
    reported_at: str
