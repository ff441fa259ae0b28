"""Figures and results in words, the same on every page."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ...search.recipe import UNMODIFIED
from ..choose import said_bytes

if TYPE_CHECKING:
    from ...search.measured import Quality
    from ...search.plan import Plan, Scope
    from ...store.run import Run

CAUSES = {
    "ok": "ran",
    "out_of_memory": "ran out of memory",
    "unfit": "cannot be done here",
    "timeout": "took too long",
    "crashed": "crashed",
    "slow": "too slow for images to be worth while",
    "bad_image": "made no proper image",
}
"""What an outcome means, in words that follow the name of a recipe."""


def headline(plan: Plan | None, run: Run) -> str:
    """Return the result of a run in a sentence."""
    if plan is None:
        why = f": {run.reason}" if run.reason else ""
        return f"No plan for {run.scope.model}{why or ' yet: the search has not ended'}."
    against = "the unmodified pipeline" if plan.baseline == UNMODIFIED else f"the baseline ({plan.baseline})"
    quality = _said_quality(plan.quality, plan.scope.tolerance)
    return f"{run.scope.model} runs {plan.speedup:.2f} times as fast as {against}, {quality}, in {_said_memory(plan)}."


def _said_quality(quality: Quality | None, tolerance: float) -> str:
    if quality is None or not quality.baseline_mean:
        return "its quality not measured"
    kept = quality.mean / quality.baseline_mean
    return f"at {kept:.3f} of its CLIP score ({1 - tolerance:g} was asked)"


def _said_memory(plan: Plan) -> str:
    saved = plan.baseline_peak_memory_bytes - plan.peak_memory_bytes
    if abs(saved) < 2**20:
        return "as much memory"
    return f"{said_bytes(abs(saved))} {'less' if saved > 0 else 'more'} memory"


def repeated(scope: Scope) -> str:
    """Return the command that tunes the same again. Files that were given beside the model are not known any more."""
    workload = scope.workload
    flags = [f"--size {workload.width}x{workload.height}", f"--steps {workload.steps}"]
    flags += [f"--guidance {workload.guidance:g}"]
    flags += [f"--batch {workload.batch}"] * (workload.batch > 1) + [f"--frames {workload.frames}"] * (
        workload.frames > 1
    )
    flags += [f"--tolerance {100 * scope.tolerance:g}%"] + ["--weights random"] * (scope.weights == "random")
    flags += [f"--fidelity {scope.fidelity}"] * bool(scope.fidelity)
    return f"autotune --model {scope.model} {' '.join(flags)} --fresh"


def said_times(factor: float) -> str:
    """Return a factor for people, with a sign of multiplication behind it: 3.10, 12."""
    return f"{factor:.{0 if factor >= 10 else 2}f}\N{MULTIPLICATION SIGN}"


def said_share(share: float) -> str:
    """Return a share of the baseline's score: `0.993`."""
    return f"{share:.3f}"
