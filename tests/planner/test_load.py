"""The pipeline in the app: called like any other, with the plan's workload filled in, and there even without a plan."""

from __future__ import annotations

import copy
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from autotune.errors import ModelError, UsageError
from autotune.planner.catalogue import find_model
from autotune.planner.choose import Answer, Wish, choose
from autotune.planner.load import _Order, _started_otherwise, load
from autotune.planner.tuned import Made, TunedPipeline
from autotune.search.additions import NOTHING_ADDED
from autotune.search.recipe import Recipe
from autotune.store.store import Store

from ..daemon.family import FAMILY, FAST, GIB, MACHINE, MIDDLE, SMALL, keep, plan_of
from ..folders import write_model


class FakePipe:
    """What diffusers would have made."""

    def __init__(self) -> None:
        self.scheduler = "DDIM"
        self.calls: list[tuple[tuple[Any, ...], dict[str, Any]]] = []
        self.device = "cpu"

    def __call__(self, *args: Any, **kwargs: Any) -> str:
        self.calls.append((args, kwargs))
        return "an image"

    def to(self, device: str) -> FakePipe:
        self.device = device
        return self


@pytest.fixture
def pipe() -> FakePipe:
    return FakePipe()


@pytest.fixture
def tuned(pipe: FakePipe) -> TunedPipeline:
    return TunedPipeline(Made(pipe, None, {"num_inference_steps": 20, "width": 128}))


def test_a_call_fills_in_the_workload(tuned: TunedPipeline, pipe: FakePipe) -> None:
    assert tuned("a red circle", generator=7) == "an image"
    assert pipe.calls == [(("a red circle",), {"num_inference_steps": 20, "width": 128, "generator": 7})]


def test_what_the_caller_says_wins_and_is_forgotten_again(tuned: TunedPipeline, pipe: FakePipe) -> None:
    tuned("a red circle", width=64)
    tuned("a red circle")
    assert [kwargs["width"] for _, kwargs in pipe.calls] == [64, 128]


def test_everything_of_the_pipeline_is_reached_through_it(tuned: TunedPipeline, pipe: FakePipe) -> None:
    assert tuned.scheduler == "DDIM"
    assert tuned.pipe is pipe
    with pytest.raises(AttributeError, match="'FakePipe' object has no attribute 'no_such_thing'"):
        tuned.no_such_thing  # noqa: B018 - asking is the test


def test_what_is_set_is_set_on_the_pipeline(tuned: TunedPipeline, pipe: FakePipe) -> None:
    """`pipe.scheduler = ...` is how every guide changes a scheduler; on the wrapper alone it would do nothing."""
    tuned.scheduler = "Euler"
    assert pipe.scheduler == "Euler"


def test_moving_it_keeps_the_plan(tuned: TunedPipeline, pipe: FakePipe) -> None:
    moved = tuned.to("cuda")
    assert moved is tuned
    assert pipe.device == "cuda"
    moved("a red circle")
    assert pipe.calls[0][1]["num_inference_steps"] == 20


def test_it_can_be_copied(tuned: TunedPipeline, pipe: FakePipe) -> None:
    assert copy.copy(tuned).pipe is pipe
    twin = copy.deepcopy(tuned)
    twin("a red circle")
    assert twin.pipe is not pipe
    assert (len(twin.calls), len(pipe.calls)) == (1, 0)


def test_no_such_model(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="Did you mean shapes"):
        load("shaeps")
    with pytest.raises(ModelError, match=r"no model_index\.json"):
        load(str(tmp_path))


def test_a_model_whose_weights_are_not_here_is_refused_before_anything_is_loaded() -> None:
    with pytest.raises(ModelError, match=r"weights of flux-dev are not here"):
        load("flux-dev")


@pytest.mark.parametrize(
    ("workload", "said"),
    [
        ({"width": 4}, "width=4 was given"),
        ({"steps": 0}, "steps=0"),
        ({"wdith": 64}, "wdith=64"),
        ({"steps": 2.5}, "2.5"),
    ],
)
def test_a_workload_that_cannot_be_meant_is_refused_before_anything_is_loaded(
    tmp_path: Path, workload: dict[str, Any], said: str
) -> None:
    folder = write_model(tmp_path / "model")  # its weights could not be loaded
    with pytest.raises(UsageError) as caught:
        load(str(folder), **workload)
    assert said in str(caught.value)
    assert "The workload takes width, height, steps, guidance, batch, frames" in str(caught.value)
    assert "\n" not in str(caught.value)


APP = """
import json, logging, os, sys
from pathlib import Path

import torch

import autotune
from autotune.planner.catalogue import find_model
from autotune.probes.machine import probe
from autotune.tests import tiny
from autotune.tests.daemon.family import keep, plan_of

said = []
handler = logging.Handler()
handler.emit = lambda record: said.append(record.getMessage())
logging.getLogger("autotune").addHandler(handler)
folder = sys.argv[1]
tiny.main(Path(folder), nan=False)
card, machine = find_model(folder).card, probe()


def call(pipe):
    image = pipe("a red circle", generator=torch.Generator().manual_seed(0)).images[0]
    return {"size": image.size, "dtype": str(pipe.unet.dtype), "answer": pipe.answer and pipe.answer.plan.recipe.key}


def numbers(part):
    return sum(tensor.numel() for tensor in part.state_dict().values())


def plan(precision):
    scope = {"model": card.name, "revision": card.revision, "machine": machine.fingerprint}
    workload = find_model(folder).workload.model_copy(update={"steps": 2, "width": 32})
    return plan_of(precision, **scope, software=machine.software.key, workload=workload, peak_bytes=1000)


facts = {}
pipe = autotune.load(folder, steps=2)
facts["without"] = call(pipe), said[:]
components = [(part.name, part.class_name, part.parameters) for part in card.components]
facts["components"] = components, [
    (name, type(getattr(pipe, name)).__name__, numbers(getattr(pipe, name)) if parameters else 0)
    for name, _, parameters in components
]
said.clear()
keep([plan("bf16")], machine)
facts["with"] = call(autotune.load(folder)), said[:]
said.clear()
keep([plan("no such precision")], machine)
facts["broken"] = call(autotune.load(folder, steps=2)), said[:]
said.clear()
Path(folder, "file").touch()
os.environ["AUTOTUNE_HOME"] = str(Path(folder, "file"))
facts["homeless"] = call(autotune.load(folder, steps=2)), said[:]
print(json.dumps(facts))
"""


@pytest.mark.slow
def test_with_a_plan_without_one_and_with_one_that_cannot_be_applied(tmp_path: Path) -> None:
    """One app for all three, because importing torch takes most of the time."""
    command = [sys.executable, "-c", APP, str(tmp_path / "tiny")]
    done = subprocess.run(command, capture_output=True, text=True, check=False, env={**os.environ})
    assert done.returncode == 0, done.stderr
    facts = json.loads(done.stdout)

    call, [warning] = facts["without"]
    assert call == {"size": [16, 16], "dtype": "torch.float32", "answer": None}
    assert warning.startswith("tiny is loaded as diffusers makes it: There is no plan for tiny yet")

    on_the_card, in_the_pipeline = facts["components"]
    assert on_the_card == in_the_pipeline
    assert [name for name, *_ in on_the_card] == ["scheduler", "text_encoder", "tokenizer", "unet", "vae"]

    call, warnings = facts["with"]
    assert call == {"size": [32, 16], "dtype": "torch.bfloat16", "answer": "precision=bf16"}
    assert warnings == []

    call, [warning] = facts["broken"]
    assert call == {"size": [16, 16], "dtype": "torch.float32", "answer": None}
    assert "precision=no such precision) could not be applied, so it is left out" in warning

    call, [warning] = facts["homeless"]
    assert call["size"] == [16, 16]
    assert warning.startswith("tiny is loaded as diffusers makes it")


def test_a_program_that_was_started_otherwise_is_told_how_to_start(monkeypatch: pytest.MonkeyPatch) -> None:
    recipe = Recipe(turned={"precision": "bf16", "allocator": "jemalloc"})
    answer = choose([plan_of("bf16").model_copy(update={"recipe": recipe})], MACHINE, 2**40)
    library = answer.environment["LD_PRELOAD"]
    monkeypatch.setenv("LD_PRELOAD", "other.so")
    said = _started_otherwise(answer)
    assert said == f"start the program with LD_PRELOAD={library}; all else of the plan is applied."
    monkeypatch.setenv("LD_PRELOAD", f"other.so:{library}")
    assert _started_otherwise(answer) == ""


class Short(FakePipe):
    """A pipeline that runs out of memory until it is the last of so many."""

    def __init__(self, name: str, error: Exception | None) -> None:
        super().__init__()
        self.name, self.error = name, error

    def __call__(self, *_: Any, **kwargs: Any) -> str:
        kwargs["generator"].draw()
        if self.error:
            raise self.error
        return f"{self.name} drew {kwargs['generator'].drawn} with {self.scheduler}"


class Generator:
    """What torch draws noise from, as far as its state goes."""

    drawn = 0

    def draw(self) -> None:
        self.drawn += 1

    def get_state(self) -> int:
        return self.drawn

    def set_state(self, state: int) -> None:
        self.drawn = state


FULL = RuntimeError("CUDA out of memory. Tried to allocate 2.00 GiB.")


def order_of(monkeypatch: pytest.MonkeyPatch, failing: dict[str, Exception], *, while_loading: bool = False) -> _Order:
    """Return an order of `shapes` whose plans fail as said, by recipe. Nothing is loaded."""

    def applied(_: _Order, answer: Answer) -> Made:
        error = failing.get(answer.plan.recipe.key)
        if error and while_loading:
            raise error
        return Made(Short(answer.plan.recipe.key, error), answer, {})

    monkeypatch.setattr(_Order, "_applied", applied)
    monkeypatch.setattr(_Order, "_unmodified", lambda _: Made(Short("unmodified", None), None, {}))
    return _Order(find_model("shapes"), Wish(), None, NOTHING_ADDED)


@pytest.mark.parametrize("when", ["loading", "calling"])
def test_where_memory_runs_out_the_next_safer_plan_takes_over(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, when: str
) -> None:
    keep(machine=MACHINE)
    order = order_of(monkeypatch, {FAST.recipe.key: FULL, MIDDLE.recipe.key: FULL}, while_loading=when == "loading")
    tuned = TunedPipeline(order.made(order.ask(100 * GIB)), order.safer)
    tuned.scheduler = "Euler"
    assert tuned(generator=Generator()) == f"{SMALL.recipe.key} drew 1 with Euler"
    assert tuned.answer is not None
    assert tuned.answer.plan.recipe == SMALL.recipe
    said = " ".join(record.getMessage() for record in caplog.records)
    assert f"ran out of memory with {FAST.recipe}" in said
    assert f"goes on with {SMALL.recipe}" in said
    with Store.read() as store:
        plans = {plan.recipe: plan.id for plan in store.plans("shapes")}
        reported = store.outcomes(plans.values())
    assert [each.plan_id for each in reported] == [plans[FAST.recipe], plans[MIDDLE.recipe]]
    assert all(each.outcome == "out_of_memory" and "Tried to allocate" in each.detail for each in reported)


def test_where_nothing_is_safer_the_error_is_the_callers(monkeypatch: pytest.MonkeyPatch) -> None:
    plans = [plan.model_copy(update={"baseline_peak_memory_bytes": 9 * GIB}) for plan in FAMILY]
    keep(plans)
    order = order_of(monkeypatch, {plan.recipe.key: FULL for plan in plans})
    tuned = TunedPipeline(order.made(order.ask(100 * GIB)), order.safer)
    with pytest.raises(RuntimeError, match="Tried to allocate"):
        tuned(generator=Generator())


def test_the_unmodified_pipeline_is_safer_where_it_took_less(monkeypatch: pytest.MonkeyPatch) -> None:
    keep([FAST])  # of which the baseline took half
    order = order_of(monkeypatch, {FAST.recipe.key: FULL})
    tuned = TunedPipeline(order.made(order.ask(100 * GIB)), order.safer)
    assert tuned(generator=Generator()) == "unmodified drew 1 with DDIM"
    assert tuned.answer is None


def test_other_errors_of_a_call_are_the_callers(monkeypatch: pytest.MonkeyPatch) -> None:
    keep()
    order = order_of(monkeypatch, {FAST.recipe.key: ValueError("height must be divisible by 8")})
    tuned = TunedPipeline(order.made(order.ask(100 * GIB)), order.safer)
    with pytest.raises(ValueError, match="divisible"):
        tuned(generator=Generator())
    with Store.read() as store:
        assert store.outcomes(plan.id for plan in store.plans("shapes")) == ()
