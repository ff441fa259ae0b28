"""How long a trial has done nothing: threads that wait for each other use no processor, however long they are left."""

from __future__ import annotations

import time

SILENCE_S = 60.0
"""A trial on the CPU that has done nothing for so long is hung. One on a GPU may wait for that, and is left."""
LEAST_S = 0.05
"""Of processor time: less is no work, but a thread that looks up now and then."""
LOOK_S = 1.0
"""At most so much counts between two looks: after a pause of the whole machine nobody has worked."""


class Silence:
    """Is told how much processor time a trial has used, again and again."""

    def __init__(self, used_s: float) -> None:
        """Begin to listen. used_s: what it has used by now."""
        self._heard_s = used_s
        self._looked_s = time.monotonic()
        self._lasted_s = 0.0

    def listen(self, used_s: float) -> float:
        """Return for how many seconds it has been silent."""
        now_s = time.monotonic()
        self._lasted_s += min(now_s - self._looked_s, LOOK_S)
        self._looked_s = now_s
        if abs(used_s - self._heard_s) >= LEAST_S:  # less than before where a child has gone unseen
            self._heard_s, self._lasted_s = used_s, 0.0
        return self._lasted_s
