"""A torch that has touched a GPU where it was imported, as far as a fork can see; imported by a template.

Its trials can tell by whom they were imported: `{"do": "tell"}`.
"""

from __future__ import annotations

import os
import sys
from types import ModuleType
from typing import Any

from autotune.search.trial.worker import Worker

IMPORTED_BY = os.getpid()


def do_tell(self: Worker) -> dict[str, Any]:
    """Say which process imported this, and which one is asked."""
    del self
    return {"imported_by": IMPORTED_BY, "pid": os.getpid(), "session": os.getsid(0), "cores": os.environ.get("CORES")}


torch, cuda = ModuleType("torch"), ModuleType("torch.cuda")
cuda._is_in_bad_fork = lambda: os.getpid() != IMPORTED_BY  # type: ignore[attr-defined]
torch.cuda = cuda  # type: ignore[attr-defined]
if os.environ.get("TOUCHED"):
    sys.modules["torch"] = torch
Worker.do_tell = do_tell  # type: ignore[attr-defined]  # for the trials of this template alone
