"""In the app: ask for the plan, apply it, and hand back a pipeline that is called like any other."""

from __future__ import annotations

import logging
import os
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from ..errors import AutotuneError, UnfitError
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
from .client import plan, report
from .tuned import Made, TunedPipeline, ran_out_of_memory, release

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from ..search.additions import Additions
    from ..search.recipe import Recipe
    from ..search.workload import Workload
    from .tuned import Remake

log = logging.getLogger("autotune")


def load(
    model: str,
    *,
    max_memory_bytes: int | None = None,
    lora: Sequence[str] = (),
    distilled: Mapping[str, str] | None = None,
    **workload: float,
) -> TunedPipeline:
    """Return the model's pipeline with the best plan for now applied; without a plan, the unmodified one and a warning.

    Where memory runs out, while it loads or in a later call, that is reported and warned of, and the next safer plan
    takes its place; only where there is none is the error raised.

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
    order = _Order(found, wish, max_memory_bytes, added)
    return TunedPipeline(order.made(order.ask(max_memory_bytes)), order.safer)


@dataclass(frozen=True)
class _Order:
    """What an app asked for when it loaded: enough to make the pipeline again with another plan."""

    model: Model
    wish: Wish
    max_memory_bytes: int | None
    added: Additions

    def ask(self, limit_bytes: int | None) -> Answer | None:
        """Return the answer of the daemon or the store; None, with a warning, where there is none."""
        card = self.model.card
        try:
            answer = plan(
                card.name,
                max_memory_bytes=limit_bytes,
                workload=self.wish,
                revision=card.revision,
                added=self.added,
            )
        except AutotuneError as error:
            log.warning("%s is loaded as diffusers makes it: %s", card.name, error)
            return None
        for reason in (*answer.stale_reasons, *answer.demoted, answer.asked, _started_otherwise(answer)):
            if reason:
                log.warning("The plan for %s: %s", card.name, reason)
        return answer

    def made(self, answer: Answer | None) -> Made:
        """Return the pipeline of a plan, or of the next safer one where memory runs out; unmodified without any."""
        if answer is None:
            return self._unmodified()
        try:
            return self._applied(answer)
        except Exception as error:
            if ran_out_of_memory(error):
                remake = self.safer(answer, str(error))
                if remake is None:
                    raise
            else:  # whatever a library that has changed says, the app gets its pipeline
                name, recipe = self.model.card.name, answer.plan.recipe
                log.warning("The plan for %s (%s) could not be applied, so it is left out: %s", name, recipe, error)
                remake = self._unmodified
        release()
        return remake()

    def safer(self, answer: Answer, detail: str) -> Remake | None:
        """Report that a plan ran out of memory, and return what makes a safer pipeline; None where nothing is safer."""
        with suppress(AutotuneError):  # a report that cannot be kept must not end the app
            report(answer.plan.id, "out_of_memory", free_bytes=answer.free_bytes, detail=detail)
        if answer.safer is None and not _unmodified_takes_less(answer):
            return None
        log.warning(
            "%s ran out of memory with %s: it is loaded again, to take less.", self.model.card.name, answer.plan.recipe
        )
        return partial(self._made_below, answer)

    def _made_below(self, failed: Answer) -> Made:
        """Return the pipeline of the fastest plan that needs less, unmodified where there is none."""
        limit_bytes = failed.needs_bytes - 1
        if self.max_memory_bytes is not None:
            limit_bytes = min(limit_bytes, self.max_memory_bytes)
        answer = self.ask(limit_bytes)
        if answer and answer.needs_bytes <= failed.needs_bytes and answer.plan.id != failed.plan.id:
            log.warning("%s goes on with %s.", self.model.card.name, answer.plan.recipe)
            return self.made(answer)
        if _unmodified_takes_less(failed):
            return self._unmodified()
        msg = (
            f"{self.model.card.name} ran out of memory with {failed.plan.recipe}, and no plan is known that needs "
            f"less: free some memory, or ask for a smaller image."
        )
        raise UnfitError(msg)

    def _applied(self, answer: Answer) -> Made:
        recipe, scope = answer.plan.recipe, answer.plan.scope
        bench = _bench(self.model, scope.workload, scope.device, self.added, scope.machine)
        _recall(recipe, bench)
        return Made(assemble(recipe, bench), answer, {**answer.call, **calls(recipe, bench)})

    def _unmodified(self) -> Made:
        tuned_for = self.wish.over(self.model.workload)
        pipe = assemble(UNMODIFIED, _bench(self.model, tuned_for, "cpu", self.added))
        return Made(pipe, None, call_arguments(tuned_for, self.model.card.pipeline_class))


def _unmodified_takes_less(answer: Answer) -> bool:
    plan = answer.plan
    return plan.baseline == UNMODIFIED and plan.baseline_peak_memory_bytes < plan.peak_memory_bytes


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
