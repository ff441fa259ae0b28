"""Ending the daemon of this user, from another process."""

from __future__ import annotations

import os
import signal
import time
from contextlib import suppress

from ...errors import DaemonError
from ..client import Client
from .state import Listening, read_state

PATIENCE_S = 10.0
"""Answers that are under way are finished first, which takes five seconds at most."""


def stop(patience_s: float = PATIENCE_S) -> Listening:
    """End the daemon that lives, wait until it has, and return what it was.

    Raises DaemonError if there is none, if something else answers where it should, or if it has not ended in time.
    """
    listening = read_state()
    if listening is None:
        raise DaemonError("No daemon lives on this machine, so there is none to stop.")
    found = Client(listening.address).health()
    if found.pid != listening.pid:
        raise DaemonError(
            f"What answers at {listening.address} is process {found.pid}, and the daemon was {listening.pid}: "
            f"nothing was stopped."
        )
    with suppress(ProcessLookupError):
        os.kill(listening.pid, signal.SIGTERM)
    deadline = time.monotonic() + patience_s
    while time.monotonic() < deadline:
        if read_state() != listening:
            return listening
        time.sleep(0.05)
    raise DaemonError(f"The daemon (process {listening.pid}) has not ended within {patience_s:g} s.")
