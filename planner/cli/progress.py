"""How a tuning goes, while it goes: a live line for people, plain lines without a terminal, JSON Lines for programs."""

from __future__ import annotations

import json
import sys
import time
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from ...search.baseline import baseline_of
from ...search.measured import Trial
from ..choose import said_bytes
from ..said import said_ms, said_s
from ..told import told, told_result
from ..tune import Fetching, Prepared, Racing, Unpacking

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from ..tune import Event, Result

SCHEMA_VERSION = 1


@contextmanager
def reporter(*, as_json: bool) -> Iterator[Callable[[Event], None]]:
    """Give what is to be told of events, until the tuning is over."""
    if as_json:
        yield _say_json
        return
    from rich.console import Console
    from rich.text import Text

    console = Console(stderr=True, markup=False, emoji=False, highlight=False)
    tale = Tale()
    if not console.is_terminal:
        yield lambda event: _say_lines(tale.tell(event))
        return
    with console.status("Looking at the machine") as status:

        def show(event: Event) -> None:
            for line in tale.tell(event):
                console.print(line)
            status.update(Text(tale.now()))

        yield show


@contextmanager
def fetch_reporter(model: str) -> Iterator[Callable[[int, int], None]]:
    """Give what is to be told of bytes that are here, and of how many; without a terminal nothing is shown of them."""
    from rich.console import Console
    from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn, TransferSpeedColumn

    console = Console(stderr=True, markup=False, emoji=False, highlight=False)
    if not console.is_terminal:
        yield lambda _done_bytes, _total_bytes: None
        return
    title = TextColumn("{task.description}", markup=False)
    amounts = (DownloadColumn(binary_units=True), TransferSpeedColumn(), TimeRemainingColumn())
    with Progress(title, BarColumn(), *amounts, console=console, transient=True) as bar:
        line = bar.add_task(f"Fetching {model}", total=None)
        yield lambda done_bytes, total_bytes: bar.update(line, completed=done_bytes, total=total_bytes)


@dataclass
class Tale:
    """What is told of the events so far."""

    started: float = field(default_factory=time.monotonic)
    budget_s: float = 0.0
    tolerance: float = 0.0
    trials: list[Trial] = field(default_factory=list)
    trying: str = "Looking at the machine"
    fetching: bool = False

    def tell(self, event: Event) -> list[str]:
        """Take an event in, and return the lines that say it."""
        if isinstance(event, Fetching | Unpacking):
            return self._waiting(event, "Fetching" if isinstance(event, Fetching) else "Unpacking")
        if isinstance(event, Prepared):
            return self._prepared(event)
        if isinstance(event, Trial):
            self.trials.append(event)
            return [self._trial(event)]
        if isinstance(event, Racing):
            names = " and ".join(recipe.key for recipe in event.recipes)
            self.trying = f"Last round: the baseline against {names}"
            return [self.trying]
        self.trying = f"Trial {len(self.trials) + 1}: {event.key}"
        return []

    def now(self) -> str:
        """Return the one line that says where the tuning is: trial, best against baseline, time left."""
        if self.fetching:
            return self.trying
        left_s = max(0.0, self.budget_s - (time.monotonic() - self.started))
        return f"{self.trying}{self._best()}, at most {said_s(left_s)} left"

    def _waiting(self, event: Fetching | Unpacking, doing: str) -> list[str]:
        first = not self.trying.startswith(f"{doing} ")
        self.fetching, self.started = True, time.monotonic()
        self.trying = f"{doing} {event.model}: {said_bytes(event.done_bytes)} of {said_bytes(event.total_bytes)}"
        return [f"{doing} {event.model}: {said_bytes(event.total_bytes)}"] if first else []

    def _prepared(self, event: Prepared) -> list[str]:
        self.fetching, self.trying = False, "Looking at the machine" if self.fetching else self.trying
        self.budget_s, self.tolerance = event.budget_s, event.task.tolerance
        self.trials = list(event.run.trials)
        cpu, card = event.task.machine.cpu, event.task.card
        open_recipes = event.space.size
        lines = [
            f"{card.name}: {card.pipeline_class}, {card.denoiser.parameters / 1e6:.1f} M parameters in its denoiser",
            f"{event.task.device}: {_device_name(event)}, {cpu.allowed_cores} cores; {event.task.workload}",
            f"{open_recipes} recipes are open; at most {said_s(event.budget_s)}",
        ]
        if event.run.state == "resumed" and event.run.trials:
            count = len(event.run.trials)
            known = "1 trial is known" if count == 1 else f"{count} trials are known"
            lines.append(f"Resuming the run of {event.run.started_at}: {known} (--fresh starts over)")
        return [*lines, *event.task.machine.notes] if event.run.state != "finished" else []

    def _best(self) -> str:
        able = [trial for trial in self.trials if trial.feasible(self.tolerance)]
        baseline = baseline_of(self.trials)
        if baseline is None or not able:
            return ""
        best = min(able, key=lambda trial: trial.cost)
        times = baseline.cost / best.cost
        return f"; best {said_ms(best.median_ms)} against {said_ms(baseline.median_ms)} ({times:.2f}x)"

    def _trial(self, trial: Trial) -> str:
        latency = said_ms(trial.median_ms) if trial.latency else "-"
        load = trial.load
        beside = f", beside others on {load.foreign_cores:.1f} cores" if load and load.is_shared else ""
        return f"{trial.number + 1:3d}  {latency:>8}  {verdict(trial, self.tolerance):<14}  {trial.recipe}{beside}"


def verdict(trial: Trial, tolerance: float) -> str:
    """Return in a word or two what became of a trial."""
    if trial.outcome != "ok":
        return trial.outcome.replace("_", " ")
    return "ok" if trial.feasible(tolerance) else "quality missed"


def say_done(result: Result) -> None:
    """Print the last line of the JSON stream."""
    _print_json(told_result(result))


def _say_json(event: Event) -> None:
    _print_json(told(event))


def _say_lines(lines: list[str]) -> None:
    for line in lines:
        sys.stderr.write(line + "\n")
    sys.stderr.flush()


def _print_json(facts: dict[str, Any]) -> None:
    text = json.dumps({"schema_version": SCHEMA_VERSION, **facts}, allow_nan=False)
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


def _device_name(event: Prepared) -> str:
    accelerators = event.task.machine.accelerators
    return accelerators[0].name if accelerators and event.task.device != "cpu" else event.task.machine.cpu.model_name
