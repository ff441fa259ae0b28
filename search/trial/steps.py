"""When each denoising step of a call began: how steady steps are, and what a call will take before it has ended."""

from __future__ import annotations

import functools
import statistics
import time
from itertools import pairwise
from typing import Any

FIRST_SHARE = 0.2  # of the steps, after which it is asked whether the call can still be fast enough
FEWEST_STEPS = 3


class TooSlowError(Exception):
    """A call that was given up; `at_least_ms` is what it would have taken, as its first steps say."""

    def __init__(self, at_least_ms: float, done: int, steps: int) -> None:
        """Say it, and after how many of how many steps that was seen."""
        super().__init__(f"at least {at_least_ms:.0f} ms, by {done} of {steps} steps")
        self.at_least_ms, self.done, self.steps = at_least_ms, done, steps


class StepClock:
    """Watches the scheduler's `step`, which every pipeline calls once a step. A pipeline without one has no steps."""

    def __init__(self, pipe: Any, device: str) -> None:
        """Begin to watch. Nothing is waited for on an accelerator: there the device notes the times itself."""
        self._cuda = device.startswith("cuda")
        self._ends: list[Any] = []
        self._steps = 0
        self._started = 0.0
        self._limit_ms: float | None = None
        scheduler = getattr(pipe, "scheduler", None)
        if scheduler is not None and hasattr(scheduler, "step"):
            scheduler.step = self._watched(scheduler.step)

    def begin(self, limit_ms: float | None = None) -> None:
        """Begin a call. limit_ms: what it may take; TooSlowError comes out of it where it will take longer."""
        self._steps = self._steps or len(self._ends)  # of the first call
        self._ends, self._limit_ms, self._started = [], limit_ms, time.perf_counter()

    def median_ms(self) -> float:
        """Return the median step of the call that has ended; 0 where there were no two."""
        between = [self._between_ms(one, other) for one, other in pairwise(self._ends)]
        return statistics.median(between) if between else 0.0

    def _watched(self, step: Any) -> Any:
        @functools.wraps(step)  # pipelines look at what it takes
        def watched(*args: Any, **kwargs: Any) -> Any:
            result = step(*args, **kwargs)
            self._ends.append(self._mark())
            if self._limit_ms is not None and len(self._ends) == max(FEWEST_STEPS, round(FIRST_SHARE * self._steps)):
                self._check(self._limit_ms)
            return result

        return watched

    def _check(self, limit_ms: float) -> None:
        """Give up if even the fastest step so far, again and again, would be too slow."""
        if self._cuda:
            import torch

            torch.cuda.synchronize()
        elapsed_ms = (time.perf_counter() - self._started) * 1000
        fastest_ms = min(self._between_ms(one, other) for one, other in pairwise(self._ends))
        at_least_ms = elapsed_ms + (self._steps - len(self._ends)) * fastest_ms
        if self._steps > len(self._ends) and at_least_ms > limit_ms:
            raise TooSlowError(at_least_ms, len(self._ends), self._steps)

    def _mark(self) -> Any:
        if not self._cuda:
            return time.perf_counter()
        import torch

        event = torch.cuda.Event(enable_timing=True)
        event.record()
        return event

    def _between_ms(self, one: Any, other: Any) -> float:
        return float(one.elapsed_time(other)) if self._cuda else (other - one) * 1000
