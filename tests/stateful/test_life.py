"""The life of a store and its daemon, step by step at random, beside a model of it that is a few dictionaries.

Tuners begin, keep trials, are interrupted, killed, and finish; apps report what became of plans; free memory changes;
the daemon is restarted; the clock jumps; the file is lost and brought back from its copy. After each step the daemon is
asked.
"""

from __future__ import annotations

import copy
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from unittest import mock

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule
from starlette.testclient import TestClient

from autotune.planner.choose import needs_bytes
from autotune.planner.daemon.app import create_app
from autotune.planner.lived import Lived
from autotune.search.plan import Plan
from autotune.store.repair import repair
from autotune.store.store import Store

from ..daemon.conftest import BASE_URL, KNOWS, TOKEN
from ..daemon.family import GIB, MACHINE, plan_of
from ..store.samples import trial
from .lives import live, lives

MODEL = "mine"
SCOPE = plan_of(model=MODEL).scope
MOST_FAILURES = 2
MEMORY = Path("/dev/shm")  # noqa: S108 - a folder of a random name in it; there, no step waits for a disk


@dataclass
class Kept:
    """A run, as it should be."""

    trials: int = 0
    finished: bool = False
    plans: list[Plan] = field(default_factory=list)
    ended: int = 0


@dataclass
class Model:
    """What should be in the store: runs in the order in which they were begun, and reports of plans by their ids."""

    runs: dict[str, Kept] = field(default_factory=dict)
    reports: dict[str, list[tuple[str, int]]] = field(default_factory=dict)
    ends: int = 0

    def life(self, plan: Plan) -> Lived | None:
        """Return what apps have said of a plan; None where it is to be given no more."""
        reports = self.reports.get(plan.id, [])
        short = [peak for ending, peak in reports if ending == "out_of_memory"]
        last_well = max((place for place, (ending, _) in enumerate(reports) if ending == "ok"), default=-1)
        errors = [ending for ending, _ in reports[last_well + 1 :] if ending == "error"]
        if max(len(short), len(errors)) >= MOST_FAILURES:
            return None
        return Lived(peak_bytes=max((peak for _, peak in reports), default=0))

    def best(self, free_bytes: int) -> Plan | None:
        """Return the plan that should be given."""
        ended = sorted(
            (kept for kept in self.runs.values() if kept.plans), key=lambda kept: (kept.finished, kept.ended)
        )
        candidates = [
            (place, needs_bytes(plan, life), plan)
            for place, kept in enumerate(reversed(ended))
            for plan in kept.plans
            if (life := self.life(plan)) is not None
        ]
        fitting = [each for each in candidates if each[1] <= free_bytes]
        if fitting:
            return min(fitting, key=lambda each: (each[0], each[2].latency.median_ms))[2]
        least = min(candidates, key=lambda each: (each[1], each[0], each[2].latency.median_ms), default=None)
        return least[2] if least else None


class Life(RuleBasedStateMachine):
    """Everything that may happen to a store and a daemon."""

    def __init__(self) -> None:
        super().__init__()
        self.folder = tempfile.TemporaryDirectory(prefix="autotune-life-", dir=MEMORY if MEMORY.is_dir() else None)
        self.path = Path(self.folder.name) / "data" / "autotune.db"
        self.model, self.copied = Model(), Model()
        self.free_bytes = 100 * GIB
        self.tuning: str | None = None
        self.offset_s = 0.0
        real, real_ns = time.time, time.time_ns
        self.clock = mock.patch.multiple(
            time,
            time=lambda: real() + self.offset_s,
            time_ns=lambda: real_ns() + int(self.offset_s * 1e9),
        )
        self.clock.start()
        self.restart_daemon()

    def teardown(self) -> None:
        self.clock.stop()
        self.folder.cleanup()

    @rule()
    def restart_daemon(self) -> None:
        app = create_app(
            read_store=lambda: Store.read(self.path),
            open_store=lambda: Store.open(self.path),
            probe=lambda: MACHINE,
            free_memory=lambda _: {"cpu": self.free_bytes},
            token=TOKEN,
        )
        self.ask = TestClient(app, base_url=BASE_URL)

    @rule(fresh=st.booleans())
    def begin(self, *, fresh: bool) -> None:
        with Store.open(self.path) as store:
            run = store.begin_run(SCOPE, MACHINE, fresh=fresh)
        newest = next(reversed(self.model.runs), None)
        known = self.model.runs.get(run.id)
        if fresh or newest is None:
            assert (run.state, known) == ("new", None)
            self.model.runs[run.id] = Kept()
        else:
            assert run.id == newest
            assert known is not None
            assert (run.state, len(run.trials)) == ("finished" if known.finished else "resumed", known.trials)
        self.tuning = None if run.state == "finished" else run.id

    @precondition(lambda self: self.tuning)
    @rule()
    def keep_trial(self) -> None:
        assert self.tuning
        kept = self.model.runs[self.tuning]
        with Store.open(self.path) as store:
            store.keep_trial(self.tuning, trial(kept.trials))
        kept.trials += 1

    @precondition(lambda self: self.tuning)
    @rule(
        finished=st.booleans(),
        speeds=st.lists(st.integers(10, 150), min_size=0, max_size=3, unique=True),
        peak_gib=st.integers(1, 20),
    )
    def end(self, speeds: list[int], peak_gib: int, *, finished: bool) -> None:
        assert self.tuning
        plans = [
            plan_of(f"p{ms}", ms=float(ms), peak_bytes=(peak_gib + place) * GIB, run=self.tuning, model=MODEL)
            for place, ms in enumerate(sorted(speeds, reverse=True))
        ]
        with Store.open(self.path) as store:
            store.finish_run(self.tuning, "ended", plans, finished=finished)
        kept = self.model.runs[self.tuning]
        self.model.ends += 1
        kept.plans, kept.finished, kept.ended = plans, finished, self.model.ends
        self.tuning = None
        if finished:
            self.copied = copy.deepcopy(self.model)

    @rule()
    def kill_tuner(self) -> None:
        self.tuning = None

    @rule(gib=st.sampled_from((0, 1, 2, 5, 10, 15, 22, 100)))
    def free_memory_changes(self, gib: int) -> None:
        self.free_bytes = gib * GIB

    @rule(hours=st.sampled_from((-24, -1, 1, 24)))
    def clock_jumps(self, hours: int) -> None:
        self.offset_s += hours * 3600

    @rule(ending=st.sampled_from(("ok", "out_of_memory", "error")), peak_gib=st.integers(0, 25))
    def report(self, ending: str, peak_gib: int) -> None:
        plan = self.model.best(self.free_bytes)
        plan_id = plan.id if plan else "0" * 16
        body: dict[str, Any] = {"outcome": ending, "peak_bytes": peak_gib * GIB}
        response = self.ask.post(f"/v1/plans/{plan_id}/outcome", json=body, headers=KNOWS)
        assert response.status_code == (200 if plan else 404), response.text
        if plan:
            self.model.reports.setdefault(plan_id, []).append((ending, peak_gib * GIB))
            assert bool(response.json()["demoted"]) is (self.model.life(plan) is None)

    @precondition(lambda self: self.copied.runs)
    @rule(how=st.sampled_from(("garbage", "empty", "gone")))
    def lose_the_file_and_repair(self, how: str) -> None:
        if how == "gone":
            self.path.unlink(missing_ok=True)
        else:
            self.path.write_bytes(b"\x5a" * 9000 if how == "garbage" else b"")
        if how == "garbage":
            assert self.ask.get("/v1/plan", params={"model": MODEL}).status_code == 503
        assert repair(self.path)
        self.model = copy.deepcopy(self.copied)
        self.tuning = None

    @invariant()
    def the_daemon_gives_what_it_should(self) -> None:
        response = self.ask.get("/v1/plan", params={"model": MODEL})
        expected = self.model.best(self.free_bytes)
        if expected is None:
            assert response.status_code == 404, response.text
            return
        assert response.status_code == 200, response.text
        content = response.json()
        assert Plan.model_validate_json(response.text[response.text.index('"plan":') + 7 :].partition(',"reason":')[0])
        assert content["plan"]["recipe"]["turned"] == expected.recipe.turned
        assert content["plan"]["run"] == expected.run
        life = self.model.life(expected)
        assert life is not None
        assert content["needs_bytes"] == needs_bytes(expected, life)
        assert content["fits"] is (content["needs_bytes"] <= self.free_bytes)

    @invariant()
    def nothing_is_lost(self) -> None:
        with Store.read(self.path) as store:
            assert store.damage == ()
            found = {run.id: (len(run.trials), run.state == "finished") for run in store.runs()}
        assert found == {name: (kept.trials, kept.finished) for name, kept in self.model.runs.items()}


@lives(many=15)
def test_no_life_goes_another_way_than_its_model(examples: int, steps: int) -> None:
    live(Life, examples, steps)
