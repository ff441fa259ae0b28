"""A pipeline with a plan applied, which takes the next safer one where its memory runs out."""

from __future__ import annotations

import gc
import sys
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Self

if TYPE_CHECKING:
    from .choose import Answer

OWN = ("pipe", "answer", "_call", "_safer", "_set")


@dataclass(frozen=True)
class Made:
    """A pipeline as it was put together: the answer whose plan it has (None: unmodified), and what each call has."""

    pipe: Any
    answer: Answer | None
    call: dict[str, Any]


Remake = Callable[[], Made]
Safer = Callable[["Answer", str], Remake | None]
"""Takes the answer whose plan ran out of memory, and the library's words; returns what makes another pipeline."""


def _nothing_safer(answer: Answer, detail: str) -> Remake | None:
    del answer, detail
    return None


class TunedPipeline:
    """A diffusers pipeline with a plan applied; everything that the pipeline has is reached through it.

    Calling it fills in the workload that the plan is for (steps, guidance, size), which any argument overrides;
    a `callback_on_step_end` of the caller's takes the place of the one by which the plan ends guidance early.
    Where memory runs out in a call, the pipeline is loaded again with the next safer plan, and the call is made again;
    what was set on it (`pipe.scheduler = ...`) is set on the new one. `answer` is the plan and its reason, None where
    the pipeline is unmodified because there was no plan.
    """

    def __init__(self, made: Made, safer: Safer = _nothing_safer) -> None:
        """Wrap a pipeline. safer: what to do where its memory runs out; without it, the error is the caller's."""
        self.pipe = made.pipe
        self.answer = made.answer
        self._call = made.call
        self._safer = safer
        self._set: dict[str, Any] = {}

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Call the pipeline. Raises what it raises; that memory ran out only where there is no safer plan."""
        noise = _states(kwargs.get("generator"))
        while True:
            try:
                return self.pipe(*args, **{**self._call, **kwargs})
            except Exception as error:
                remake = self._safer(self.answer, str(error)) if self.answer and ran_out_of_memory(error) else None
                if remake is None:
                    raise
            self._replace(remake)  # only here, where the error is gone: its frames hold what filled the memory
            for generator, state in noise:
                generator.set_state(state)

    def _replace(self, remake: Remake) -> None:
        self.pipe = None
        release()
        made = remake()
        self.pipe, self.answer, self._call = made.pipe, made.answer, made.call
        for name, value in self._set.items():
            setattr(self.pipe, name, value)

    def __getattr__(self, name: str) -> Any:
        """Return what the pipeline has under this name."""
        if name in OWN:  # a copy that is being made has none yet
            raise AttributeError(name)
        return getattr(self.pipe, name)

    def __setattr__(self, name: str, value: Any) -> None:
        """Set it on the pipeline, which is who looks at it: `pipe.scheduler = ...` changes the scheduler."""
        if name in OWN:
            super().__setattr__(name, value)
        else:
            setattr(self.pipe, name, value)
            self._set[name] = value

    def to(self, *args: Any, **kwargs: Any) -> Self:
        """Move the pipeline, and return what was moved, as diffusers does."""
        self.pipe.to(*args, **kwargs)
        return self


def ran_out_of_memory(error: BaseException) -> bool:
    """Return whether an error says that there was not enough memory, in the words of any library."""
    from ..search.trial.worker import classify

    return classify(error) == "out_of_memory"


def release() -> None:
    """Give back the memory of what nobody refers to any more, on the accelerator too."""
    gc.collect()
    torch = sys.modules.get("torch")
    if torch is not None and torch.accelerator.is_available():
        torch.accelerator.memory.empty_cache()


def _states(generators: Any) -> list[tuple[Any, Any]]:
    """Return generators with their states, so that a call that is made again draws the same noise."""
    several = generators if isinstance(generators, Iterable) else [generators]
    return [(each, each.get_state()) for each in several if hasattr(each, "get_state")]
