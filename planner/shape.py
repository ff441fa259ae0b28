"""What is known of a model that has not run: from what ships, from what is kept, or from a rehearsal."""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING

from ..errors import ModelError
from ..search.demand import Demand, demands_of, kept_demands
from ..store.places import cache_dir
from .catalogue.configurations import compositions, shipped_demands
from .predict import Shape

if TYPE_CHECKING:
    from pathlib import Path

    from ..probes.model import ModelCard
    from ..search.workload import Workload


def shape_of(card: ModelCard, workload: Workload) -> Shape:
    """Return what a model is made of and what it takes while it computes.

    At once for what ships or is kept; else it is built and rehearsed without memory, which takes up to a minute. Where
    a pipeline cannot be rehearsed the demands are empty. Raises ModelError where the libraries cannot build its parts.
    """
    demands = shipped_demands(card)
    if not demands:
        with suppress(ModelError):
            demands = demands_of(card, workload, _cache())
    return _shape(card, demands)


def known_shape(card: ModelCard, workload: Workload) -> Shape | None:
    """Return the same as far as that takes no time, None where it would."""
    known = shipped_demands(card) or kept_demands(card, workload, _cache())
    try:
        return None if known is None else _shape(card, known)
    except ModelError:
        return None


def _shape(card: ModelCard, demands: tuple[Demand, ...]) -> Shape:
    return Shape(card, {name: made_of.layers for name, made_of in compositions(card).items()}, demands)


def _cache() -> Path:
    return cache_dir(make=False) / "demands"
