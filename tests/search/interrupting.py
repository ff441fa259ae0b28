"""A program that is interrupted at a dozen moments of its talk with a template, and goes on each time.

It is run in a process of its own: an interruption that lands inside of what libraries like torch have loaded into a
test's process could end that.
"""

from __future__ import annotations

import signal
from contextlib import contextmanager
from typing import TYPE_CHECKING

from autotune.search.trial.failure import TrialFailure
from autotune.search.trial.process import Template, TrialProcess

if TYPE_CHECKING:
    from collections.abc import Iterator


def main() -> None:
    """Print how many of the interruptions came in time."""
    interruptions = 0
    with Template(modules=()) as template:
        for delay_ms in range(1, 25, 2):
            try:
                with interrupted_after(delay_ms / 1000), template.fork() as trial:
                    not_understood(trial)
            except KeyboardInterrupt:
                interruptions += 1
            with template.fork() as trial:
                not_understood(trial)
    print(interruptions)


def not_understood(trial: TrialProcess) -> None:
    """Ask for what no trial can do, and expect to be told that."""
    try:
        trial.ask({"do": "nothing"}, 30)
    except TrialFailure as failure:
        if "do_nothing" not in failure.detail:
            raise


@contextmanager
def interrupted_after(seconds: float) -> Iterator[None]:
    """Raise KeyboardInterrupt in the block, wherever it then is."""

    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGALRM, interrupt)
    try:
        signal.setitimer(signal.ITIMER_REAL, seconds)
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


if __name__ == "__main__":
    main()
