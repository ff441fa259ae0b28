"""Asking the hub: in a process of its own, which is ended with everything that it does when nobody waits for it."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

from ...errors import ModelError
from ...probes.model import ModelCard, Weights, read_model
from .cache import descriptions, snapshot, with_weights
from .names import MAIN, HubName

OnProgress = Callable[[int, int], None]
"""Hears how many bytes are here, and of how many."""


def describe(repo: str, revision: str = MAIN) -> Path:
    """Return a folder of what a repository has beside weights, at the commit that `revision` leads to now.

    `read_model(folder, name, weights="none")` makes a card of it. Raises ModelError where there is no such model, where
    it may not be had, where the hub cannot be reached, and where autotune would not run it.
    """
    return Path(_ask("describe", repo, revision)["folder"])


def fetch(repo: str, revision: str = MAIN, on_progress: OnProgress = lambda _done, _total: None) -> Path:
    """Return the snapshot of a repository in the Hugging Face cache, fetching what is missing of it.

    It has what a pipeline is made of and nothing else: configurations, files of tokenizers, and safetensors without a
    variant, all of the commit that `revision` leads to now. What was fetched in part goes on from there.
    Raises ModelError as `describe` does, and where the disk has too little space.
    """
    return Path(_ask("fetch", repo, revision, on_progress)["folder"])


def find(name: HubName, weights: Weights = "files") -> ModelCard:
    """Return the card of a model of the hub: with weights if all of them are here, else without.

    weights: `none` and `random` do not ask for any. The hub is asked only about a model that was never asked about
    before. Raises ModelError as `describe` does.
    """
    folder = with_weights(name)
    if folder:
        return read_model(folder, str(name), weights)
    described = snapshot(descriptions(), name) or describe(*name)
    return read_model(described, str(name), "none" if weights == "files" else weights)


def _ask(what: str, repo: str, revision: str, on_progress: OnProgress = lambda _done, _total: None) -> dict[str, Any]:
    """Return the last answer of the process that asks the hub. Raises ModelError with the sentence that it found."""
    process = subprocess.Popen(
        [sys.executable, "-P", "-m", f"{__package__}.download", what, repo, revision],
        stdin=subprocess.PIPE,  # it ends itself when this is closed, as it is when we are killed
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        env=_environment(),
        start_new_session=True,
    )
    answer: dict[str, Any] = {}
    with process:
        try:
            for line in process.stdout or ():
                answer = json.loads(line)
                if "of" in answer:
                    on_progress(answer["bytes"], answer["of"])
        except BaseException:
            _kill(process)
            raise
    if "refused" in answer:
        raise ModelError(answer["refused"])
    if "folder" not in answer:
        msg = f"{repo} could not be had from the hub: the process that asks it ended (status {process.returncode})."
        raise ModelError(msg)
    return answer


def _kill(process: subprocess.Popen[bytes]) -> None:
    """End the process and whatever it has started."""
    with suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def _environment() -> dict[str, str]:
    """Return the environment of the process: the user's own, as token and proxy are the client's business."""
    return os.environ | {
        "PYTHONPATH": os.pathsep.join(path for path in sys.path if path),
        "HF_HUB_DISABLE_TELEMETRY": "1",
        "HF_HUB_DISABLE_PROGRESS_BARS": "1",
    }
