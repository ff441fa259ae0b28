"""A plan in a form that needs no autotune: a script, keyword arguments, or the whole answer as JSON."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Literal

from ..errors import NoPlanError
from ..probes.software import probe_software
from ..search.additions import NOTHING_ADDED
from ..search.assemble import build, builds, environment, workload_of
from ..search.knobs import Bench
from ..search.pipeline import call_arguments
from ..store.places import cache_dir
from ..store.store import Store
from .catalogue import find_model
from .choose import Answer, Wish, slowness
from .client import plan as ask
from .script import why_not, write

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ..search.plan import Plan
    from .catalogue import Model

Form = Literal["python", "json", "kwargs"]


def exported(text: str, form: Form, wish: Wish | None = None, max_memory_bytes: int | None = None) -> tuple[str, str]:
    """Return the plan for now in a form, and a note for people; the note is empty where there is nothing to say.

    text: the model, as `find_model` takes it. python: a script that makes the image that `autotune.load` makes; where
    the plan cannot be written as one, the fastest of its search that can be and that needs no more memory is, and the
    note says why. kwargs: what `from_pretrained` and the call take, as far as JSON can say it. json: the answer.

    Raises NoPlanError where there is no plan, or none that can be written in this form.
    """
    model = find_model(text)
    answer = ask(model.card.name, max_memory_bytes=max_memory_bytes, workload=wish, revision=model.card.revision)
    if form == "json":
        return answer.model_dump_json(indent=2), ""
    if form == "kwargs":
        return json.dumps(kwargs(answer), indent=2), ""
    return _script(model, answer)


def kwargs(answer: Answer) -> dict[str, object]:
    """Return what to set, by name: the choice of each knob, and what the pipeline's call takes."""
    return {
        "pipeline_class": answer.plan.scope.pipeline_class,
        "device": answer.plan.scope.device,
        "knobs": answer.apply,
        "call": answer.call,
        "environment": answer.environment,
    }


def _script(model: Model, answer: Answer) -> tuple[str, str]:
    family = [answer.plan, *_siblings(answer)]
    bench = bench_of(model, answer.plan)
    reasons = {plan.id: why_not(plan.recipe, bench) for plan in family}
    chosen = next((plan for plan in family if not reasons[plan.id]), None)
    because = reasons[answer.plan.id]
    if chosen is None:
        msg = (
            f"No plan for {model.card.name} can be written as a script without autotune ({answer.plan.recipe}: "
            f"{because}): use `autotune.load`."
        )
        raise NoPlanError(msg)
    note = ""
    if because:
        note = (
            f"The fastest plan, {answer.plan.recipe}, cannot be written as a script without autotune ({because}): this "
            f"is the fastest that can, {chosen.recipe}, at {chosen.latency.median_ms:.0f} ms instead of "
            f"{answer.plan.latency.median_ms:.0f} ms."
        )
    return script_of(model, chosen, answer), note


def script_of(model: Model, plan: Plan, answer: Answer | None = None) -> str:
    """Return the script of a plan for which `why_not` says nothing; the call is the answer's, or as it was measured.

    What the plan needs and is made ahead, such as graphs, is made where it is not there any more.
    """
    bench = bench_of(model, plan)
    if builds(plan.recipe):  # they are there since the tuning, unless somebody has emptied the cache
        build(plan.recipe, bench)
    call = call_arguments(workload_of(plan.recipe, plan.scope.workload), model.card.pipeline_class)
    title = (
        f"{model.card.name} with {plan.recipe}: {plan.speedup:.1f} times as fast as the baseline, as measured on "
        f"{plan.created_at[:10]} for {plan.scope.workload}."
    )
    if answer and answer.plan.id == plan.id:
        call = answer.call
    return write(plan.recipe, bench, call, environment(plan.recipe, probe_software()), title)


def bench_of(model: Model, plan: Plan) -> Bench:
    """Return the bench that `autotune.load` would put a plan together on."""
    return Bench(
        card=model.card,
        workload=plan.scope.workload,
        device=plan.scope.device,
        artifacts=cache_dir(make=False) / "artifacts",
        software=probe_software().key,
        calibration_prompts=model.calibration_prompts,
        machine=plan.scope.machine,
        added=NOTHING_ADDED,
    )


def _siblings(answer: Answer) -> Sequence[Plan]:
    """Return the other plans of the same search that need no more memory, the fastest first."""
    with Store.read() as store:
        family = store.plans_of(answer.plan.run)
    smaller = (plan for plan in family if plan.peak_memory_bytes <= answer.plan.peak_memory_bytes)
    return sorted((plan for plan in smaller if plan.id != answer.plan.id), key=slowness)
