"""A sweep: jobs go to machines as these are free, and what they find is kept here as it comes in."""

from __future__ import annotations

import json
import statistics
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from ...probes.machine import Machine
from ...search.front import front
from ...search.measured import Trial
from ...search.plan import Plan
from ...search.recipe import UNMODIFIED, Recipe
from ...store.run import Run, now
from .claims import ANY, Claims, helping
from .job import Order
from .journal import Entry, Journal, State
from .machines import Seen, chosen, likeness, refuse_missing
from .matrix import Cell, cells
from .schedule import Job, Schedule

if TYPE_CHECKING:
    from ...store.store import Store
    from .engine import Engine, Heard

JOB = "autotune.planner.lab.job"
AGAIN_S = 10.0  # between looks for machines that have joined, or are back
CARRIED = 4  # recipes of a like machine that a job begins with
BUSY = "BusyError"
OVER = frozenset({"finished", "given up"})


@dataclass
class _Doing:
    """A job on its machine, or the help of another machine with it. tried: by this machine, in this sitting."""

    cell: Cell
    job: Job
    seen: Seen
    started_s: float
    order: Order
    claims: Claims
    run: str = ""
    like: str = ""
    tried: list[Trial] = field(default_factory=list)

    @property
    def can_be_helped(self) -> bool:
        """Whether another machine may try recipes for it: its run has a name, and something is left to search for."""
        return bool(self.run) and not (self.order.helps or self.claims.searched)


@dataclass
class Sweep:
    """One sitting of a sweep; the same command has another where this one was cut off.

    module: what is run on machines; tell: hears in sentences how it goes.
    """

    journal: Journal
    store: Store
    engine: Engine
    tell: Callable[[str], None] = lambda _: None
    module: str = JOB
    _machines: dict[str, Seen] = field(default_factory=dict)
    _doing: dict[str, _Doing] = field(default_factory=dict)
    _cells: dict[str, Cell] = field(default_factory=dict)
    _claims: dict[str, Claims] = field(default_factory=dict)
    _looked_s: float = 0.0
    _known: set[str] = field(default_factory=set)

    def run(self, *, again: bool = False) -> bool:
        """Do what is left to be done, and return whether the sweep has ended; else the same command goes on.

        again: an earlier sitting was cut off. Raises UnfitError where a machine is wanted that is not there.
        """
        lab = self.journal.opening.lab
        refuse_missing(self.engine.nodes(), lab.machine)
        self._schedule = Schedule(total_s=lab.total_s, retries=lab.retries)
        self._schedule.spent_s = sum(entry.took_s for entry in self.journal.entries)
        if again:
            self._say(Entry(at=now(), note="the sweep goes on"))
        self._look()
        while self._hand_out():
            for heard in self.engine.hear(1.0):
                self._take_in(heard)
            if time.monotonic() - self._looked_s > AGAIN_S:
                self._look()
        return self._conclude()

    def _look(self) -> None:
        """Take in the machines that are new here, and the jobs that they bring."""
        self._looked_s = time.monotonic()
        lab = self.journal.opening.lab
        nodes = self.engine.nodes()
        self._known &= {node.id for node in nodes}
        new = [node for node in nodes if node.id not in self._known]
        if not new:
            return
        seen, left_out = self.engine.look(new)
        for sentence in left_out.values():
            self._say(Entry(at=now(), note=sentence))
        self._known |= {node.id for node in new}
        took_part = {entry.machine for entry in self.journal.entries}
        seen.sort(key=lambda each: (each.node.name not in took_part, each.node.name))
        for each in seen:
            self._recall(each)
        if not self._cells:
            meant = [each for each, _ in chosen(seen, lab.machine).values()]
        else:
            kinds = {each.kind for each in self._machines.values()} | {cell.kind for cell in self._cells.values()}
            meant = [each for each in seen if each.kind in kinds]
        self._machines |= {each.node.id: each for each in meant}
        priced = {each.node.id: wanted.price_per_hour for each, wanted in self._entries()}
        for each in meant:
            self.journal.seen(each, priced.get(each.node.id))
            self.tell(f"{each.node.name} is {each.says}.")
        self._add_jobs()

    def _recall(self, seen: Seen) -> None:
        """Take over what a machine has tried and no driver has heard of, so that no other tries it again."""
        here = {run.id: run for run in self.store.runs_alone() if run.state != "finished"} if seen.runs else {}
        for run in seen.runs:
            machine = self.store.machine(run.scope.machine)
            if run.id in here and machine:
                self.store.adopt_run(run, machine)
                for doing in [each for each in self._doing.values() if each.run == run.id][:1]:
                    self._pool(doing.claims, run.trials, but=seen.node.id)

    def _add_jobs(self) -> None:
        """Have each cell of all kinds that took part done, unless it is; one whose machine is gone waits for it."""
        lab = self.journal.opening.lab
        over = {job for job, entry in self.journal.jobs.items() if entry.state in OVER}
        priority = {each.kind: machines.priority for each, machines in self._entries()}
        for cell in cells(lab, self.journal.kinds):
            if cell.key not in self._cells:
                self._cells[cell.key] = cell
                if cell.key not in over:
                    rank = cell.model.priority + cell.workload.priority + priority.get(cell.kind, 0)
                    self._schedule.add([Job(cell.key, cell.kind, cell.expected_s(lab), rank)])

    def _entries(self) -> list[Any]:
        return list(chosen(list(self._machines.values()), self.journal.opening.lab.machine).values())

    def _hand_out(self) -> bool:
        """Give free machines work, and return whether any work is going on or will be."""
        now_s = time.monotonic()
        for node, seen in self._machines.items():
            if node in self._doing:
                continue
            if job := self._schedule.take(seen.kind, now_s):
                self._begin(seen, job)
            else:
                self._lend(seen)
        kinds = {seen.kind for seen in self._machines.values()}
        return bool(self._doing) or any(self._schedule.waits_for(kind) for kind in kinds)

    def _begin(self, seen: Seen, job: Job) -> None:
        cell = self._cells[job.key]
        earlier = self._earlier_run(job.key, seen.machine)
        carried, like = ((), "") if earlier else self._from_like_machine(cell, seen)
        lab, opening = self.journal.opening.lab, self.journal.opening
        spent_s = sum(trial.duration_s for trial in earlier.trials) if earlier else 0.0
        request = cell.request(lab, spent_s) | {"fresh": opening.fresh and earlier is None}
        order = Order(request=request, run=earlier, machine=seen.machine if earlier else None, first=carried)
        claims = self._claims[job.key] = self._claims.get(job.key, Claims()) if earlier else Claims()
        claims.searched, claims.most = False, request.get("most_trials", ANY)
        doing = _Doing(cell, job, seen, time.monotonic(), order, claims, earlier.id if earlier else "", like)
        again = f"goes on after {len(earlier.trials)} trials" if earlier else "begins"
        self._start(doing, f"{again}{f', with {len(carried)} recipes of {like} first' if carried else ''}")

    def _lend(self, seen: Seen) -> None:
        """Have a machine that no job waits for try recipes of one that another of its kind does."""
        able = [each for each in self._doing.values() if each.seen.kind == seen.kind and each.can_be_helped]
        for doing in sorted(able, key=lambda each: len(each.claims.machines)):
            took_s = time.monotonic() - doing.started_s
            order = helping(doing.order, self.store.run(doing.run), doing.seen.machine, took_s)
            expected_s = order.request.get("budget_s", doing.job.expected_s) if order else 0.0
            job = replace(doing.job, key=f"{doing.job.key} with {seen.node.id}", expected_s=expected_s)
            if order and self._schedule.lend(job):
                self._start(_Doing(doing.cell, job, seen, time.monotonic(), order, doing.claims, doing.run), "helps")
                return

    def _start(self, doing: _Doing, note: str) -> None:
        self._doing[doing.seen.node.id] = doing
        self._note(doing, "begun", note)
        self.engine.start(doing.seen.node.id, self.module, doing.order.model_dump_json())

    def _earlier_run(self, job: str, machine: Machine) -> Run | None:
        """Return what an earlier try of a job left, if it was on this machine or one that is no different."""
        ids = [entry.run for entry in self.journal.of(job) if entry.run]
        if not ids:
            return None
        runs = {run.id: run for run in self.store.runs()}
        alike = [runs[name] for name in ids if name in runs and runs[name].scope.machine == machine.fingerprint]
        return alike[-1] if alike else None

    def _from_like_machine(self, cell: Cell, seen: Seen) -> tuple[tuple[Recipe, ...], str]:
        """Return what was fastest for the same model on the machine that is likest, and that machine's name.

        What took the shortest to try comes first: all of them will be tried, and the next need less once one is known.
        """
        best: tuple[int, int, Run] | None = None
        for number, run in enumerate(self.store.runs()):
            machine = self.store.machine(run.scope.machine)
            if machine and machine.kind != seen.machine.kind and self._is_of(run, cell) and run.trials:
                rank = (likeness(machine, seen.machine), -number, run)
                best = rank if best is None or rank[:2] > best[:2] else best
        if best is None:
            return (), ""
        run = best[-1]
        machine = self.store.machine(run.scope.machine)
        able = [trial for trial in front(run.trials, run.scope.tolerance) if trial.recipe != UNMODIFIED]
        fastest = sorted(able, key=lambda trial: trial.cost)[:CARRIED]
        recipes = tuple(trial.recipe for trial in sorted(fastest, key=lambda trial: trial.duration_s))
        return recipes, machine.cpu.model_name if machine and recipes else ""

    def _is_of(self, run: Run, cell: Cell) -> bool:
        return any(
            entry.run == run.id and entry.job.startswith(f"{cell.model.name}, ") for entry in self.journal.entries
        )

    def _take_in(self, heard: Heard) -> None:
        doing = self._doing.get(heard.node)
        for line in heard.lines if doing else ():
            if doing and self._hear(doing, json.loads(line)):
                self._leave(doing)
                doing = None
        if heard.lost or (doing and heard.ended):
            self._machines.pop(heard.node, None)
            self._known.discard(heard.node)
            self._look()  # it may be back already, and know more than it has told
        if doing and (heard.lost or heard.ended):
            self._leave(doing)
            self._fail(doing, heard.lost or "process lost", "the process of the job ended without a word")

    def _leave(self, doing: _Doing) -> None:
        """Have a machine take part no longer."""
        del self._doing[doing.seen.node.id]
        doing.claims.left(doing.seen.node.id)
        self._say_theirs(doing.claims)

    def _hear(self, doing: _Doing, said: dict[str, Any]) -> bool:
        """Keep what a job says, and return whether that was its last word."""
        node, claims = doing.seen.node.id, doing.claims
        if "prepared" in said:
            return not self._prepared(doing, said["prepared"])
        if "trying" in said:
            yours = claims.claim(node, said["trying"])
            self._say_theirs(claims)
            self._say_to(node, {"yours" if yours else "taken": said["trying"]})
        elif "trial" in said:
            self._keep(doing, Trial.model_validate_json(json.dumps(said["trial"])))
        elif "searched" in said:
            claims.searched = True
            for other in claims.machines if not doing.order.helps else ():
                self._say_to(other, {"over": True}, node)
        elif "ended" in said:
            self._helped(doing) if doing.order.helps else self._end(doing, said["ended"])
            return True
        elif "refused" in said:
            cause = "machine busy" if said["refused"]["kind"] == BUSY else said["refused"]["kind"]
            self._fail(doing, cause, said["refused"]["sentence"])
            return True
        return False

    def _prepared(self, doing: _Doing, said: dict[str, Any]) -> bool:
        """Bring a machine and the others of its run to the same knowledge; return whether it is the same run."""
        run = Run.model_validate_json(json.dumps(said["run"]))
        if doing.order.helps and run.id != doing.run:
            doing.claims.searched = True
            self._note(doing, None, "cannot help: it has a run of its own")
            return False
        self.store.adopt_run(run, Machine.model_validate_json(json.dumps(said["machine"])))
        doing.run = run.id
        self._note(doing, "begun", f"has {len(run.trials)} trials")
        node, claims = doing.seen.node.id, doing.claims
        self._pool(claims, self.store.run(run.id).trials)
        for key in claims.trials.keys() - {trial.recipe.key for trial in run.trials}:
            self._say_to(node, {"trial": claims.trials[key].model_dump(mode="json")})
        claims.machines.append(node)
        self._say_theirs(claims)
        return True

    def _pool(self, claims: Claims, trials: Iterable[Trial], but: str = "") -> None:
        """Tell all machines of a run but one of trials that are new to them."""
        for trial in filter(claims.ended, trials):
            for node in claims.machines:
                self._say_to(node, {"trial": trial.model_dump(mode="json")}, but)
        self._say_theirs(claims)

    def _keep(self, doing: _Doing, trial: Trial) -> None:
        if doing.claims.over or trial.recipe.key in doing.claims.trials:
            return
        trial = trial.model_copy(update={"number": len(doing.claims.trials)})  # there it is one of its own count
        self.store.keep_trial(doing.run, trial)
        doing.tried.append(trial)
        self._pool(doing.claims, [trial], but=doing.seen.node.id)
        self.tell(f"{doing.seen.node.name}: {doing.cell.title}: trial {trial.number} {trial.outcome}: {trial.recipe}")

    def _say_theirs(self, claims: Claims) -> None:
        """Tell each machine of a run what the others try now, where that has changed."""
        for node, recipes in claims.theirs():
            self._say_to(node, {"theirs": recipes})

    def _say_to(self, node: str, said: dict[str, Any], but: str = "") -> None:
        if node != but:
            self.engine.say(node, json.dumps(said))

    def _helped(self, doing: _Doing) -> None:
        took_s = time.monotonic() - doing.started_s
        self._schedule.done(doing.job, took_s)
        doing.claims.searched = True
        self._note(doing, "finished", f"tried {len(doing.tried)} recipes")

    def _end(self, doing: _Doing, said: dict[str, Any]) -> None:
        plans = [Plan.model_validate_json(json.dumps(plan)) for plan in said["plans"]]
        if self.store.run(doing.run).state != "finished":
            self.store.finish_run(doing.run, said["reason"], plans, finished=said["finished"])
        doing.claims.over = said["finished"]
        self._schedule.done(doing.job, time.monotonic() - doing.started_s)
        best = f"{plans[0].speedup:.2f} times as fast with {plans[0].recipe}" if plans else "no plan"
        self._note(doing, "finished", f"{best}; {said['reason']}")

    def _fail(self, doing: _Doing, cause: str, sentence: str) -> None:
        took_s = time.monotonic() - doing.started_s
        if doing.order.helps:
            self._schedule.done(doing.job, took_s)
            self._note(doing, "failed", f"{cause}: {sentence}")
            return
        again = self._schedule.failed(doing.job, cause, took_s, time.monotonic())
        for node in doing.claims.machines if not again else ():
            self._say_to(node, {"over": True})
        self._note(doing, "failed" if again or cause == "machine lost" else "given up", f"{cause}: {sentence}")

    def _note(self, doing: _Doing, state: State | None, note: str) -> None:
        over = state != "begun"
        self._say(
            Entry(
                at=now(),
                job=doing.cell.key,
                state=state,
                run=doing.run,
                machine=doing.seen.node.name,
                note=note,
                took_s=time.monotonic() - doing.started_s if over else 0.0,
                carried=tuple(recipe.key for recipe in doing.order.first),
                like=doing.like,
                helps=doing.order.helps,
                tried=len(doing.tried) if over else 0,
                pace=statistics.median(trial.drift for trial in doing.tried) if over and doing.tried else 1.0,
            )
        )

    def _say(self, entry: Entry) -> None:
        self.journal.note(entry)
        where = f"{entry.machine}: " if entry.machine else ""
        self.tell(f"{where}{entry.job + ': ' if entry.job else ''}{entry.note}")

    def _conclude(self) -> bool:
        """Say what the sweep came to; jobs that wait for a machine or for money are left."""
        jobs = self.journal.jobs
        left = [key for key in {*self._cells, *jobs} if key not in jobs or jobs[key].state not in OVER]
        if left:
            self._say(Entry(at=now(), note=f"{len(left)} jobs are left: the same command goes on"))
            return False
        self._say(Entry(at=now(), state="finished", note=f"all {len(jobs)} jobs have ended"))
        return True
