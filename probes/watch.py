"""What goes on at a GPU while somebody measures, told by a process that looks all the time."""

from __future__ import annotations

import json
import select
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Self

from pydantic import Field, ValidationError

from ..value import Value
from .child import end, environment

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
        self._pythonpath = pythonpath
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        """Begin to look."""
        if self._is_wanted:
            self._process = subprocess.Popen(
                [sys.executable, "-P", "-m", "autotune.probes.nvidia_watch"],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                env=environment(self._pythonpath),
                bufsize=0,
                start_new_session=True,
            )
        return self

    def __exit__(self, *_: object) -> None:
        """End it, whatever it does."""
        if self._process:
            end(self._process)
            for pipe in (self._process.stdin, self._process.stdout):
                if pipe:
                    pipe.close()
            self._process = None

    def seen(self) -> AtGpu:
        """Return what there was to see since this was asked last."""
        if self._process is None or self._process.stdin is None or self._process.stdout is None:
            return AtGpu()
        try:
            self._process.stdin.write(b"\n")
            if select.select([self._process.stdout], [], [], PATIENCE_S)[0]:
                return AtGpu.model_validate(json.loads(self._process.stdout.readline()))
        except (OSError, ValueError, ValidationError):
            pass
        self.__exit__()  # its driver hangs or has died, and would again
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
        return load.model_copy(update=facts) if self._process else load
