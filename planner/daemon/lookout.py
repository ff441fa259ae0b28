"""The machine, looked at in the background: no answer waits long for a driver that thinks."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass

from ...errors import DaemonError
from ...probes.machine import Machine

WAIT_S = 0.5
REFRESH_S = 60.0
"""After this the machine is looked at again: libraries and drivers are upgraded while the daemon runs."""


@dataclass(frozen=True)
class Sight:
    """A machine as it was seen once; `at_s` by the monotonic clock."""

    machine: Machine
    at_s: float

    @property
    def age_s(self) -> float:
        """How long ago that was."""
        return time.monotonic() - self.at_s


class Lookout:
    """Knows the machine, and looks again now and then, in a thread of its own."""

    def __init__(self, probe: Callable[[], Machine]) -> None:
        self._probe = probe
        self._lock = threading.Lock()
        self._looking = False
        self._looked = threading.Event()
        self._latest: Sight | None = None
        self._problem = ""

    def look(self) -> None:
        """Begin to look at the machine, unless that is going on already."""
        with self._lock:
            if self._looking:
                return
            self._looking = True
            self._looked.clear()
        threading.Thread(target=self._look, name="lookout", daemon=True).start()

    def sight(self, wait_s: float = WAIT_S) -> Sight:
        """Return the machine as it was last seen; only the first look is waited for, `wait_s` at most.

        Raises DaemonError where it was not seen yet.
        """
        if self._latest is None or self._latest.age_s > REFRESH_S:
            self.look()
        if self._latest is None:
            self._looked.wait(wait_s)
        if self._latest is None:
            why = self._problem or "its drivers have not answered yet"
            raise DaemonError(f"This machine is not known yet ({why}): ask again in a second.")
        return self._latest

    def _look(self) -> None:
        try:
            self._latest = Sight(self._probe(), time.monotonic())
        except Exception as error:  # noqa: BLE001 - said to whoever asks; the next question looks again
            self._problem = f"the probe failed with {type(error).__name__}: {error}"
        finally:
            with self._lock:
                self._looking = False
                self._looked.set()
