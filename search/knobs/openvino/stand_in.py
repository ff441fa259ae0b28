"""Modules that look like a pipeline's own, but run graphs. Imports torch: to be imported where a pipeline is."""

from __future__ import annotations

import inspect
import logging
from typing import TYPE_CHECKING, Any

import torch

from .run import tensors_in

if TYPE_CHECKING:
    from collections.abc import Callable

    from .run import ByRow, StaticGraph

log = logging.getLogger(__name__)


class StandIn(torch.nn.Module):  # type: ignore[misc]  # torch is not followed by mypy
    """Behaves as a component does in a pipeline, but runs the graph that fits the call.

    A call of a shape that no graph is made for goes to the original, loaded at that moment: slow, but right. So does
    every other method of the component; what it says of itself is answered by the shell.
    """

    def __init__(self, shell: Any, method: str, graphs: list[StaticGraph | ByRow], original: Callable[[], Any]) -> None:
        """Stand in for one method. shell: the component without weights; original: loads it whole."""
        super().__init__()
        self.device = torch.device("cpu")
        self.dtype = torch.float32
        # in a dictionary, so that torch does not take the shell for a part of this module
        self._about: dict[str, Any] = {"shell": shell, "method": method, "graphs": graphs, "load": original}
        setattr(self, method, self._run)
        self.eval()

    def _run(self, *args: Any, **kwargs: Any) -> Any:
        tensors = tensors_in((args, kwargs))
        graph = next((each for each in self._about["graphs"] if each.fits(tensors)), None)
        if graph:
            return graph(tensors)
        log.warning("A call of another shape than the plan was made for: falling back to plain torch.")
        return getattr(self._original(), self._about["method"])(*args, **kwargs)

    def _original(self) -> Any:
        if "original" not in self._about:
            self._about["original"] = self._about["load"]()
        return self._about["original"]

    def __getattr__(self, name: str) -> Any:
        """Return what the shell says of the component; a method of it loads the original when it is called."""
        try:
            return super().__getattr__(name)
        except AttributeError:
            if name == "_about":  # a copy that is being made has nothing yet
                raise
        found = getattr(self._about["shell"], name)
        return self._deferred(name) if inspect.ismethod(found) else found

    def _deferred(self, method: str) -> Callable[..., Any]:
        def call(*args: Any, **kwargs: Any) -> Any:
            return getattr(self._original(), method)(*args, **kwargs)

        return call
