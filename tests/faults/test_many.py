"""Many at once: apps that ask, apps that report, a tuner that keeps trials. None is turned away, nothing is lost."""

from __future__ import annotations

import threading
from collections import Counter
from concurrent.futures import ThreadPoolExecutor

import pytest

from autotune.planner.client import Client
from autotune.store.store import OUTCOMES_KEPT, Store

from ..daemon.family import MACHINE, keep, plan_of
from ..daemon.test_serve import served
from ..store.samples import trial
from .settings import MORE

READERS, WRITERS = 16, 4


@pytest.mark.parametrize("times", [6, pytest.param(60 * MORE, marks=pytest.mark.slow)])
def test_sixteen_ask_and_four_report_while_a_tuner_keeps_trials(times: int) -> None:
    keep()
    with Store.open() as store:
        run = store.begin_run(plan_of(model="mine").scope, MACHINE, fresh=True).id
    done = threading.Event()

    def tune() -> int:
        number = 0
        while not done.is_set():
            with Store.open() as store:
                store.keep_trial(run, trial(number))
            number += 1
        return number

    with served() as daemon, ThreadPoolExecutor(READERS + WRITERS + 1) as pool:
        client = Client(daemon.url, timeout_s=60)
        chosen = client.plan("shapes").plan.id

        def ask() -> Counter[str]:
            return Counter(client.plan("shapes").plan.id for _ in range(times))

        def report(writer: int) -> int:
            return sum(client.report(chosen, "ok", latency_ms=writer + 1.0).plan_id == chosen for _ in range(times))

        tuner = pool.submit(tune)
        asking = [pool.submit(ask) for _ in range(READERS)]
        reporting = [pool.submit(report, writer) for writer in range(WRITERS)]
        try:
            assert [each.result() for each in asking] == [Counter({chosen: times})] * READERS
            assert [each.result() for each in reporting] == [times] * WRITERS
        finally:
            done.set()
        kept = tuner.result()
    with Store.read() as store:
        assert store.damage == ()
        assert [each.number for each in store.trials(run)] == [*range(kept)]
        assert len(store.outcomes([chosen])) == min(OUTCOMES_KEPT, WRITERS * times)
