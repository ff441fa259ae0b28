"""In the app: ask for the plan, apply it, and hand back a pipeline that is called like any other."""

from __future__ import annotations

import logging
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from ..errors import AutotuneError
from ..probes.software import probe_software
from ..search.assemble import assemble, calls
from ..search.compiled import is_compiled, recall
from ..search.knobs import Bench
from ..search.pipeline import call_arguments
from ..search.recipe import UNMODIFIED
from ..store.places import cache_dir
from .added import additions_of
from .catalogue import Model, find_model
from .catalogue.unpacking import have_unpacked
from .catalogue.weights import require_weights
from .choose import Answer, Wish, said_environment, wish_of
from .client import plan

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from ..search.additions import Additions
    from ..search.recipe import Recipe
    from ..search.workload import Workload

log = logging.getLogger("autotune")


class TunedPipeline:
    """A diffusers pipeline with a plan applied; everything that the pipeline has is reached through it.

    Calling it fills in the workload that the plan is for (steps, guidance, size), which any argument overrides;
    a `callback_on_step_end` of the caller's takes the place of the one by which the plan ends guidance early.
    `answer` is the plan and its reason, None where the pipeline is unmodified because there was no plan.
    """

    def __init__(self, pipe: Any, answer: Answer | None, call: dict[str, Any]) -> None:
        """Wrap a pipeline. call: keyword arguments that every call has unless it says otherwise."""
        self.pipe = pipe
        self.answer = answer
        self._call = call

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Call the pipeline."""
        return self.pipe(*args, **{**self._call, **kwargs})

    def __getattr__(self, name: str) -> Any:
        """Return what the pipeline has under this name."""
        if name == "pipe":  # a copy that is being made has none yet
            raise AttributeError(name)
        return getattr(self.pipe, name)

    def __setattr__(self, name: str, value: Any) -> None:
        """Set it on the pipeline, which is who looks at it: `pipe.scheduler = ...` changes the scheduler."""
        if name in {"pipe", "answer", "_call"}:
            super().__setattr__(name, value)
        else:
            setattr(self.pipe, name, value)

    def to(self, *args: Any, **kwargs: Any) -> Self:
        """Move the pipeline, and return what was moved, as diffusers does."""
        self.pipe.to(*args, **kwargs)
        return self


def load(
    model: str,
    *,
    max_memory_bytes: int | None = None,
    lora: Sequence[str] = (),
    distilled: Mapping[str, str] | None = None,
    **workload: float,
) -> TunedPipeline:
    """Return the model's pipeline with the best plan for now applied; without a plan, the unmodified one and a warning.

    model: a short name, a folder in diffusers format, a file of weights, which is unpacked first where it was not, or a
    repository of the hub whose weights were fetched.
    max_memory_bytes: take no more than this, even if more is free.
    lora: adapters, each `PATH` or `PATH:SCALE`: they are in the pipeline with and without a plan, and only a plan that
    was tuned with the same is applied.
    distilled: variants that a plan may use, by name, with where they lie: {"tiny_vae": "./taesd"}.
    workload: width, height, steps, guidance, batch, frames, as far as they differ from what was tuned.

    Raises ModelError if there is no such model or adapter or its weights are not here, UsageError if a part of the
    workload cannot be meant, and TechniqueMissingError where there are adapters and no peft.
    """
    have_unpacked(model)
    found = find_model(model)
    require_weights(found.card)
    wish = wish_of(**workload)
    added = additions_of(found.card, probe_software(), lora, distilled, allowed=bool(distilled))
    answer = _answer(found, wish, max_memory_bytes, added)
    if answer:
        try:
            recipe, scope = answer.plan.recipe, answer.plan.scope
            bench = _bench(found, scope.workload, scope.device, added, scope.machine)
            _recall(recipe, bench)
            return TunedPipeline(assemble(recipe, bench), answer, {**answer.call, **calls(recipe, bench)})
        except Exception as error:  # noqa: BLE001 - whatever a library that has changed says, the app gets its pipeline
            log.warning(
                "The plan for %s (%s) could not be applied, so it is left out: %s", model, answer.plan.recipe, error
            )
    tuned_for = wish.over(found.workload)
    pipe = assemble(UNMODIFIED, _bench(found, tuned_for, "cpu", added))
    return TunedPipeline(pipe, None, call_arguments(tuned_for, found.card.pipeline_class))


def _answer(model: Model, wish: Wish, max_memory_bytes: int | None, added: Additions) -> Answer | None:
    """Return the answer of the daemon or the store; None, with a warning, where there is none."""
    try:
        answer = plan(
            model.card.name,
            max_memory_bytes=max_memory_bytes,
            workload=wish,
            revision=model.card.revision,
            added=added,
        )
    except AutotuneError as error:
        log.warning("%s is loaded as diffusers makes it: %s", model.card.name, error)
        return None
    for reason in (*answer.stale_reasons, answer.asked, _started_otherwise(answer)):
        if reason:
            log.warning("The plan for %s: %s", model.card.name, reason)
    return answer


def _started_otherwise(answer: Answer) -> str:
    """Return the sentence about what only a program that is started anew can have; empty where this one has it."""
    lacking = {
        name: value for name, value in answer.environment.items() if value not in os.environ.get(name, "").split(":")
    }
    if not lacking:
        return ""
    return f"start the program with {said_environment(lacking)}; all else of the plan is applied."


def _recall(recipe: Recipe, bench: Bench) -> None:
    """Hand inductor what the tuner has compiled, so that the app's first call need not."""
    if is_compiled(recipe):
        from torch._inductor.runtime.cache_dir_utils import cache_dir as inductor_folder

        recall(recipe, bench, Path(inductor_folder()))


def _bench(model: Model, workload: Workload, device: str, added: Additions, machine: str = "") -> Bench:
    return Bench(
        card=model.card,
        workload=workload,
        device=device,
        artifacts=cache_dir(make=False) / "artifacts",
        software=probe_software().key,
        calibration_prompts=model.calibration_prompts,
        machine=machine,
        added=added,
    )
