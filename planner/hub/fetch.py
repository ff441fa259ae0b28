"""Asking the hub: in a process of its own, which is ended with everything that it does when nobody waits for it."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Any

from ...probes.model import ModelCard, Weights, read_model
from ..apart import OnProgress, ignore_progress, work_apart
from .cache import descriptions, snapshot, with_weights
from .names import MAIN, HubName


def describe(repo: str, revision: str = MAIN) -> Path:
    """Return a folder of what a repository has beside weights, at the commit that `revision` leads to now.

    `read_model(folder, name, weights="none")` makes a card of it. Raises ModelError where there is no such model, where
    it may not be had, where the hub cannot be reached, and where autotune would not run it.
    """
    return Path(_ask("describe", repo, revision)["folder"])


def fetch(
    repo: str, revision: str = MAIN, on_progress: OnProgress = ignore_progress, without: Collection[str] = ()
) -> Path:
    """Return the snapshot of a repository in the Hugging Face cache, fetching what is missing of it.

    It has what a pipeline is made of and nothing else: configurations, files of tokenizers, and safetensors without a
    variant, all of the commit that `revision` leads to now. What was fetched in part goes on from there.
    without: components whose weights are left out.
    Raises ModelError as `describe` does, and where the disk has too little space.
    """
    return Path(_ask("fetch", repo, revision, on_progress, sorted(without))["folder"])


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


def _ask(
    what: str, repo: str, revision: str, on_progress: OnProgress = ignore_progress, without: Sequence[str] = ()
) -> dict[str, Any]:
    """Return the last answer of the process that asks the hub. Raises ModelError with the sentence that it found."""
    failed = f"{repo} could not be had from the hub: the process that asks it ended"
    return work_apart(f"{__package__}.download", [what, repo, revision, *without], on_progress, failed)
