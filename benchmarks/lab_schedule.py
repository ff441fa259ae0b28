"""How well a sweep is laid out over a lab: `python benchmarks/lab_schedule.py [--machines 200] [--jobs 40000]`.

Machines and jobs are made up: kinds of one to many machines, jobs of minutes to hours (lognormal), and how long each is
expected to take is off by 25 %. One in a hundred tries fails and is tried again, and machines are lost for a while.
`planner/lab/schedule.py` is asked as a sweep asks it; only time is simulated. Printed are the makespan beside the lower
bound (the most loaded kind, or the longest job), that of first come first served, and the memory of the driver on the
way. It leaves with 1 where the makespan is more than 10 % above the bound, or memory grows by more than 10 %.
"""

from __future__ import annotations

import argparse
import heapq
import random
import sys
import time
import tracemalloc
from dataclasses import dataclass, field, replace

from autotune.planner.lab.schedule import Job, Schedule, lower_bound_s

FAILS = 0.01  # of all tries, somewhere in the middle
AWAY_S = 1800.0  # how long a machine that fails is gone
OFF = 0.25  # by how much what is expected is off, as a standard deviation of its logarithm


@dataclass
class World:
    """Machines by kind, and jobs with the seconds that they truly take."""

    machines: dict[str, int]
    jobs: list[Job]
    truly_s: dict[str, float]


@dataclass
class Course:
    """How a sweep went: when its last job ended, and the driver's bytes after each tenth of the jobs."""

    makespan_s: float = 0.0
    lost_s: float = 0.0
    tries: int = 0
    finished: set[str] = field(default_factory=set)
    bytes_after: list[int] = field(default_factory=list)


def made_up(machines: int, jobs: int, seed: int) -> World:
    """Return a lab whose kinds have one to sixteen machines, and jobs in proportion to them."""
    chance = random.Random(seed)
    kinds: dict[str, int] = {}
    while sum(kinds.values()) < machines:
        kinds[f"kind {len(kinds)}"] = min(chance.choice((1, 2, 4, 8, 16)), machines - sum(kinds.values()))
    owners = [kind for kind, count in kinds.items() for _ in range(count)]
    made, truly_s = [], {}
    for number in range(jobs):
        seconds = chance.lognormvariate(6.4, 0.7)  # 10 minutes in the middle, 40 at the upper end
        job = Job(
            key=f"job {number}",
            kind=owners[number % len(owners)],
            expected_s=seconds * chance.lognormvariate(0, OFF),
        )
        made.append(job)
        truly_s[job.key] = seconds
    return World(kinds, made, truly_s)


def simulate(world: World, seed: int) -> Course:
    """Return how the schedule works through a lab."""
    chance = random.Random(seed)
    schedule, course = Schedule(), Course()
    schedule.add(world.jobs)
    idle = [kind for kind, count in world.machines.items() for _ in range(count)]
    events: list[tuple[float, int, str, Job | None, bool]] = []
    now_s, number = 0.0, 0
    while True:
        for _ in range(len(idle)):
            kind = idle.pop(0)
            job = schedule.take(kind, now_s)
            number += 1
            if job is None:
                if schedule.waits_for(kind):
                    heapq.heappush(events, (now_s + 30, number, kind, None, False))
                continue
            course.tries += 1
            fails = chance.random() < FAILS
            took_s = world.truly_s[job.key] * (chance.random() if fails else 1)
            heapq.heappush(events, (now_s + took_s, number, kind, job, fails))
        if not events:
            return course
        before_s = now_s
        now_s, number, kind, job, fails = heapq.heappop(events)
        if job is not None:
            _end(schedule, course, job, fails=fails, now_s=now_s)
        if job is not None and fails:
            course.lost_s += AWAY_S
            heapq.heappush(events, (now_s + AWAY_S, number, kind, None, False))
        else:
            idle.append(kind)
        course.makespan_s = max(course.makespan_s, now_s if job else before_s)
        if job and len(course.finished) % max(1, len(world.jobs) // 10) == 0:
            course.bytes_after.append(tracemalloc.get_traced_memory()[0])


def _end(schedule: Schedule, course: Course, job: Job, *, fails: bool, now_s: float) -> None:
    if not fails:
        schedule.done(job, 0.0)
        course.finished.add(job.key)
    elif not schedule.failed(job, "machine lost", 0.0, now_s):
        course.finished.add(job.key)  # given up: told in the report


def in_order(world: World) -> World:
    """Return the same lab where nothing is known of jobs, so that they are taken as they come."""
    return replace(world, jobs=[replace(job, expected_s=1.0) for job in world.jobs])


def main() -> int:
    """Simulate, print, and say whether it is as good as it should be."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--machines", type=int, default=200)
    parser.add_argument("--jobs", type=int, default=40_000)
    parser.add_argument("--seed", type=int, default=0)
    asked = parser.parse_args()
    world = made_up(asked.machines, asked.jobs, asked.seed)
    bound_s = lower_bound_s(((job.kind, world.truly_s[job.key]) for job in world.jobs), world.machines)
    tracemalloc.start()
    started = time.perf_counter()
    course = simulate(world, asked.seed)
    took_s = time.perf_counter() - started
    plain = simulate(in_order(world), asked.seed)
    over = course.makespan_s / bound_s - 1
    grown = max(course.bytes_after) / course.bytes_after[0] - 1
    print(f"{asked.machines} machines of {len(world.machines)} kinds, {asked.jobs} jobs, {course.tries} tries")
    print(f"lower bound {bound_s / 3600:.2f} h; makespan {course.makespan_s / 3600:.2f} h, {100 * over:.1f} % above it")
    print(f"as they come: {plain.makespan_s / 3600:.2f} h, {100 * (plain.makespan_s / bound_s - 1):.1f} % above it")
    print(f"driver: {', '.join(f'{size / 2**20:.1f}' for size in course.bytes_after)} MiB after each tenth")
    print(f"simulated in {took_s:.1f} s")
    return int(over > 0.10 or grown > 0.10 or len(course.finished) < asked.jobs)


if __name__ == "__main__":
    sys.exit(main())
