"""The other machines of one study, as the study on a machine knows them: lines to the driver, and from it.

A machine says `trying` and waits for `yours` or `taken`; it hears each `trial` of the others, and with `theirs` what
they try now. `searched` is its last word in the search, and `over` that of the machine which concludes it. Nothing of
that is waited for where the driver is gone: then the desk is gone too, and ends its job.
"""

from __future__ import annotations

import json
import queue
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from ...search.measured import Trial

if TYPE_CHECKING:
    from ...search.crew import Leave
    from ...search.recipe import Recipe

LAST_S = 30.0
"""For what others were trying when the search ended to come in; their own deadline is the same."""


@dataclass
class Shared:
    """On a machine: the `Crew` that its study knows. say: tells the driver; `hear` is told each of its lines."""

    say: Callable[[dict[str, Any]], None]
    helps: bool = False
    known: set[str] = field(default_factory=set)
    heard: set[str] = field(default_factory=set)
    _inbox: queue.SimpleQueue[dict[str, Any]] = field(default_factory=queue.SimpleQueue)
    _news: list[Trial] = field(default_factory=list)
    _theirs: set[str] = field(default_factory=set)
    over: bool = False
    _leave: Leave = lambda _: None

    def hear(self, line: str) -> None:
        """Take a line of the driver's; any thread may."""
        self._inbox.put(json.loads(line))

    @property
    def trying(self) -> int:
        """How many recipes others try now."""
        return len(self._theirs)

    def join(self, leave: Leave) -> None:
        """Begin."""
        self._leave = leave

    def news(self) -> list[Trial]:
        """Return the trials that others have ended since."""
        while not self._inbox.empty():
            self._take(self._inbox.get())
        news, self._news = self._news, []
        return news

    def claim(self, recipe: Recipe) -> bool:
        """Ask the driver, and return what it says; False too once the search is over."""
        self.say({"trying": recipe.key})
        while not self.over:
            said = self._inbox.get()
            self._take(said)
            if recipe.key in {said.get("yours"), said.get("taken")}:
                self.known |= {recipe.key} if "yours" in said else set()
                return "yours" in said
        return False

    def wait(self, deadline: float) -> bool:
        """Wait for what the driver says next, and return True; False where no other machine tries anything."""
        if not self._news and self._theirs:
            with suppress(queue.Empty):
                self._take(self._inbox.get(timeout=max(0.0, deadline - time.monotonic())))
                return True
        return bool(self._news)

    def part(self) -> list[Trial]:
        """End the search, for all of them if this one concludes it, and return what they ended last."""
        self.say({"searched": True})
        news = self.news()
        deadline = time.monotonic() + LAST_S
        while not self.helps and self.wait(deadline):
            news += self.news()
        return news

    def _take(self, said: dict[str, Any]) -> None:
        if "trial" in said:
            trial = Trial.model_validate_json(json.dumps(said["trial"]))
            if trial.recipe.key not in self.known:
                self.known.add(trial.recipe.key)
                self.heard.add(trial.recipe.key)
                self._news.append(trial)
        self.over = self.over or "over" in said
        if "theirs" in said:
            self._theirs = {*said["theirs"]}
            self._leave(self._theirs)
