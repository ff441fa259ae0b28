"""The machine is known without anybody waiting for it, and what is known does not grow old."""

from __future__ import annotations

import threading
import time
from itertools import count

import pytest

from autotune.errors import DaemonError
from autotune.planner.daemon import lookout as module
from autotune.planner.daemon.lookout import Lookout
from autotune.probes.machine import Machine

from .family import MACHINE


def noted(number: int) -> Machine:
    return MACHINE.model_copy(update={"notes": (f"look {number}",)})


def test_many_questions_are_one_look() -> None:
    looks = count(1)

    def probe() -> Machine:
        time.sleep(0.05)
        return noted(next(looks))

    lookout = Lookout(probe)
    askers = [threading.Thread(target=lookout.sight, args=(5,)) for _ in range(20)]
    for asker in askers:
        asker.start()
    for asker in askers:
        asker.join()
    assert lookout.sight().machine == noted(1)


def test_an_old_sight_is_used_while_a_new_one_is_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    go_on = threading.Event()
    looks = count(1)

    def probe() -> Machine:
        number = next(looks)
        if number > 1:
            go_on.wait(30)
        return noted(number)

    lookout = Lookout(probe)
    assert lookout.sight(5).machine == noted(1)
    monkeypatch.setattr(module, "REFRESH_S", 0.0)
    assert lookout.sight(5).machine == noted(1)
    go_on.set()
    deadline = time.monotonic() + 10
    while lookout.sight().machine == noted(1) and time.monotonic() < deadline:
        time.sleep(0.01)
    assert lookout.sight().machine != noted(1)


def test_a_hanging_look_is_waited_for_no_longer_than_said() -> None:
    end = threading.Event()

    def probe() -> Machine:
        end.wait(30)
        return MACHINE

    lookout = Lookout(probe)
    began = time.monotonic()
    with pytest.raises(DaemonError, match=r"not known yet \(its drivers have not answered yet\): ask again"):
        lookout.sight(0.05)
    assert time.monotonic() - began < 5
    end.set()
    assert lookout.sight(5).age_s < 10
