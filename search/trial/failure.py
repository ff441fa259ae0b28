"""How a trial that did not answer as it should is told."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ..measured import Outcome


@dataclass
class TrialFailure(Exception):  # noqa: N818 - a failed trial is a result, and no error of autotune's
    """A trial did not answer as it should; `outcome` says what became of it, `detail` how that was seen.

    blameless: its recipe had no part in that, and may be tried once more.
    """

    outcome: Outcome
    detail: str
    blameless: bool = False
