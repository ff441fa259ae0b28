"""What goes on at a GPU while somebody measures, told by a process that looks all the time."""

from __future__ import annotations

import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Self

from pydantic import Field, ValidationError

from ..value import Value
from .teller import Teller

if TYPE_CHECKING:
    from .load import Load

PATIENCE_S = 2.0
LOOK_S = 0.5


class AtGpu(Value):
    """What was seen: whether heat or a brake lowered the clock, its share of the highest, and how busy others were."""

    slowed: bool = False
    clock: float = Field(default=0.0, ge=0)
    foreign: float = Field(default=0.0, ge=0, le=1)


class Watch:
    """Looks while it is entered, if the device is an NVIDIA GPU; where nothing can be seen, it says nothing."""

    def __init__(self, device: str, pythonpath: Sequence[Path] = ()) -> None:
        """Prepare. device: as torch calls it. pythonpath: folders where its process looks for modules first."""
        self._is_wanted = device.startswith("cuda") and sys.platform == "linux"
        self._teller = Teller("autotune.probes.nvidia_watch", pythonpath)

    def __enter__(self) -> Self:
        """Begin to look."""
        if self._is_wanted:
            self._teller.start()
        return self

    def __exit__(self, *_: object) -> None:
        """End it, whatever it does."""
        self._teller.close()

    def seen(self) -> AtGpu:
        """Return what there was to see since this was asked last."""
        told = self._teller.ask(PATIENCE_S)
        try:
            return AtGpu() if told is None else AtGpu.model_validate(told)
        except ValidationError:
            self._teller.close()
            return AtGpu()

    def rest(self, most_s: float) -> None:
        """Wait until nothing lowers the clock any more, but no longer than that."""
        until = time.monotonic() + most_s
        while self.seen().slowed and time.monotonic() < until:
            time.sleep(LOOK_S)

    def added(self, load: Load) -> Load:
        """Return a load with what there was to see at the GPU since this was asked last."""
        seen = self.seen()
        facts = {"gpu_slowed": seen.slowed, "gpu_clock": seen.clock, "foreign_gpu": seen.foreign}
        return load.model_copy(update=facts) if self._teller.lives else load
