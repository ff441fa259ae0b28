"""The baseline is the mildest way that fits, and everything is compared with that."""

from __future__ import annotations

import time
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest
from safetensors.torch import load_file, save_file

from autotune.errors import UnfitError
from autotune.planner.catalogue import find_model
from autotune.planner.conclude import finalists, gains_of, neighbours, race_s, screened_plan
from autotune.probes.model import read_model
from autotune.search.baseline import (
    BF16,
    baseline_of,
    begins_with,
    next_way,
    published_in,
    said_baseline,
    ways,
)
from autotune.search.evaluate import IsolatedEvaluator
from autotune.search.knobs import KNOBS
from autotune.search.measured import Outcome, Trial
from autotune.search.race import race
from autotune.search.recipe import UNMODIFIED, Recipe
from autotune.search.sampler import TPESampler
from autotune.search.space import Space
from autotune.search.study import study
from autotune.search.verify.architectures import ARCHITECTURES

from ..store.samples import SCOPE
from .conftest import MODULES
from .test_evaluate import LIMIT_BYTES, Scripted
from .test_study import TOLERANCE, trial_of

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from autotune.probes.model import ModelCard
    from autotune.search.task import Task

DEFAULTS = {knob.name: (knob.default,) for knob in KNOBS}
CPU = Space(choices=DEFAULTS | {"precision": ("fp32", "bf16")}, refused={})
OFFLOADS = ("none", "model", "group_block", "group_leaf", "group_leaf_stream", "sequential")
GPU = Space(choices=DEFAULTS | {"precision": ("fp32", "bf16"), "offload": OFFLOADS}, refused={})


def offload(kind: str, **turned: str) -> Recipe:
    return Recipe(turned={"offload": kind, **turned})


def failed(number: int, recipe: Recipe, outcome: Outcome = "out_of_memory") -> Trial:
    return trial_of(number, recipe, outcome=outcome)


class Small:
    """An evaluator whose memory holds only what is offloaded as far as `fits`, or is in bf16."""

    def __init__(self, *fits: Recipe, outcome: Outcome = "out_of_memory") -> None:
        self.fits, self.outcome = fits, outcome

    def evaluate(self, number: int, recipe: Recipe, best: float, deadline: float) -> Trial:
        del best, deadline
        if recipe not in self.fits and recipe.turned.keys() < {"offload", "precision"}:
            return trial_of(number, recipe, outcome=self.outcome)
        slow = {"sequential": 9.0, "group_leaf": 3.0, "model": 2.0}.get(str(recipe.turned.get("offload")), 1.0)
        return trial_of(number, recipe, 100 * slow)


def searched(evaluator: Small, space: Space, most: int = 8, known: Sequence[Trial] = ()) -> list[Trial]:
    sampler = TPESampler(space, "cuda" if space is GPU else "cpu", TOLERANCE)
    happened = study(evaluator, sampler, known, TOLERANCE, time.monotonic() + 60, most, ways(space))
    return [event for event in happened if isinstance(event, Trial)]


def test_the_mildest_offload_comes_first_and_half_of_the_precision_last() -> None:
    names = ["unmodified", "offload=model", "offload=group_block", "offload=group_leaf", "offload=sequential"]
    assert [way.key for way in ways(GPU)] == [*names, "precision=bf16"]
    assert ways(CPU) == (UNMODIFIED, BF16)


def test_where_the_unmodified_pipeline_fits_nothing_else_is_the_baseline() -> None:
    trials = [trial_of(0, UNMODIFIED, 100), trial_of(1, offload("model"), 90), trial_of(2, BF16, 50)]
    assert baseline_of(trials) is trials[0]
    assert next_way(ways(GPU), trials) is None
    assert said_baseline(UNMODIFIED) == ""


def test_ways_are_tried_until_one_fits_and_then_the_search_begins() -> None:
    trials = searched(Small(offload("group_leaf")), GPU)
    assert [trial.recipe for trial in trials[:4]] == list(ways(GPU)[:4])
    assert [trial.outcome for trial in trials[:4]] == ["out_of_memory"] * 3 + ["ok"]
    found = baseline_of(trials[:4])
    assert found
    assert found.recipe == offload("group_leaf")
    assert ways(GPU)[4] not in [trial.recipe for trial in trials[4:5]]


def test_the_fastest_that_is_offloaded_and_nothing_else_gives_the_latency() -> None:
    trials = [
        failed(0, UNMODIFIED),
        trial_of(1, offload("model"), 200),
        trial_of(2, offload("group_leaf_stream"), 150),
        trial_of(3, offload("model", precision="bf16"), 80),
        trial_of(4, BF16, 70),
    ]
    found = baseline_of(trials)
    assert found is trials[2]
    assert finalists(trials, TOLERANCE) == [BF16, offload("model", precision="bf16")]
    assert race_s([BF16], trials, together=True) == pytest.approx(8 * 0.220)
    plan = screened_plan(SCOPE, "run", trials[4], found)
    assert plan
    assert (plan.baseline, plan.baseline_latency.median_ms) == (offload("group_leaf_stream"), 150)


def test_on_a_cpu_it_is_bf16_and_says_that_its_images_are() -> None:
    trials = searched(Small(BF16), CPU, most=3)
    found = baseline_of(trials)
    assert found
    assert found.recipe == BF16
    assert "needs more memory than there is. Its images are those of bf16" in said_baseline(BF16)
    assert "Its images" not in said_baseline(offload("model"))


def test_what_was_found_is_known_when_the_search_goes_on() -> None:
    evaluator = Small(offload("group_block"))
    first = searched(evaluator, GPU, most=3)
    later = searched(evaluator, GPU, most=5, known=first)
    assert len(later) == 2
    assert not {trial.recipe for trial in later} & {*ways(GPU)[:3]}


def test_where_no_way_fits_all_are_named() -> None:
    with pytest.raises(UnfitError, match=r"unmodified .* \(out_of_memory; .* Neither can offload=model, .*=bf16\.$"):
        searched(Small(), GPU)


def test_only_what_lacks_memory_has_another_way() -> None:
    with pytest.raises(UnfitError, match=r"unmodified pipeline cannot be measured here \(crashed"):
        searched(Small(offload("model"), outcome="crashed"), GPU)
    assert baseline_of([failed(0, UNMODIFIED, "crashed"), trial_of(1, offload("model"), 50)]) is None


@pytest.mark.slow
@pytest.mark.usefixtures("unhurried")
def test_a_real_search_goes_on_with_bf16(task: Task) -> None:
    """The process that loads the unmodified pipeline fills the memory, as a large model's would."""
    halves = Recipe(turned={"precision": "bf16", "memory_format": "channels_last"})
    with IsolatedEvaluator(task, (*MODULES, "autotune.tests.search.lacking_memory"), LIMIT_BYTES) as evaluator:
        happened = study(evaluator, Scripted(halves), (), 0.01, time.monotonic() + 120, 100, (UNMODIFIED, BF16))
        trials = [event for event in happened if isinstance(event, Trial)]
        assert [(trial.recipe, trial.outcome) for trial in trials] == [
            (UNMODIFIED, "out_of_memory"),
            (BF16, "ok"),
            (halves, "ok"),
        ]
        evaluator.recall(trials)
        lanes = race(evaluator, [halves], time.monotonic() + 120, together=True)
    assert [lane.recipe for lane in lanes] == [BF16, halves]
    assert all(lane.samples_ms for lane in lanes)


@pytest.fixture
def card(tmp_path: Path) -> ModelCard:
    """A model of half precision, whose weights are files."""
    folder = ARCHITECTURES[0].save(tmp_path / "model")
    for file in folder.rglob("*.safetensors"):
        halves = {name: tensor.bfloat16() for name, tensor in load_file(file).items()}
        save_file(halves, file)
    return read_model(folder)


@pytest.mark.filterwarnings("ignore")  # diffusers warns of what small models lack
def test_on_an_accelerator_it_has_the_precision_of_its_files(card: ModelCard, task: Task) -> None:
    halved = replace(task, card=card, device="cuda").setting
    assert published_in(card) == "bf16"
    assert begins_with(halved, GPU) == BF16
    assert begins_with(replace(task, device="cuda").setting, GPU) == UNMODIFIED, "its files are in fp32"
    assert begins_with(replace(task, card=card, device="cpu").setting, CPU) == UNMODIFIED, "a CPU emulates it"
    before_ampere = Space(choices=GPU.choices | {"precision": ("fp32", "fp16")}, refused={})
    assert begins_with(halved, before_ampere) == UNMODIFIED, "it cannot compute in it"


def test_made_up_weights_have_the_size_of_those_that_are_published() -> None:
    for name, precision in (("flux-dev", "bf16"), ("sd15", "fp32")):
        assert published_in(find_model(name, "random").card) == precision


def test_ways_of_half_precision_are_tried_until_one_fits() -> None:
    possible = ways(GPU, BF16)
    assert [way.key for way in possible[:2]] == ["precision=bf16", "offload=model precision=bf16"]
    assert UNMODIFIED not in possible
    trials = [failed(0, BF16), failed(1, possible[1]), trial_of(2, possible[2], 90), trial_of(3, UNMODIFIED, 40)]
    assert baseline_of(trials) is trials[2]
    assert next_way(possible, trials[:2]) == possible[2]
    assert baseline_of([trial_of(0, BF16, 70), trial_of(1, UNMODIFIED, 400)]).recipe == BF16  # type: ignore[union-attr]
    assert "without that it does not fit" in said_baseline(possible[2], "cuda")
    broken = Small(outcome="crashed")
    with pytest.raises(UnfitError, match=r"^The pipeline with precision=bf16 cannot be measured here"):
        list(study(broken, TPESampler(GPU, "cuda", TOLERANCE), (), TOLERANCE, time.monotonic() + 9, 9, possible))


def test_what_the_baseline_has_too_was_not_bought() -> None:
    both = Recipe(turned={"precision": "bf16", "compile": "full"})
    trials = [trial_of(0, BF16, 100), trial_of(1, both, 50)]
    assert [gain.knob for gain in gains_of(both, trials, GPU)] == ["compile"]
    assert neighbours(both, GPU, trials) == []
    assert [gain.knob for gain in gains_of(both, [trial_of(0, UNMODIFIED, 100)], GPU)] == ["compile", "precision"]
