"""What the pages read of the store: each trial once, and never what is no longer so."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from autotune.planner.daemon.web.ledger import Ledger
from autotune.planner.pages.account import account_of
from autotune.planner.pages.tally import Tally
from autotune.store.store import Store
from autotune.tests.pages import tuned

from .family import MACHINE

if TYPE_CHECKING:
    from collections.abc import Sequence

    from autotune.search.measured import Trial


@pytest.fixture
def counted(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The numbers of the trials that were counted, in that order."""
    numbers: list[int] = []
    add = Tally.add

    def noting(tally: Tally, trials: Sequence[Trial]) -> None:
        numbers.extend(trial.number for trial in trials)
        add(tally, trials)

    monkeypatch.setattr(Tally, "add", noting)
    return numbers


def kept(run: str, numbers: range) -> None:
    """Keep some trials of a run that goes on."""
    with Store.open() as store:
        for trial in tuned.trials()[numbers.start : numbers.stop]:
            store.keep_trial(run, trial)


def test_a_run_that_grows_is_told_as_if_it_were_read_at_once(counted: list[int]) -> None:
    run, ledger = tuned.keep(5, finished=False), Ledger(Store.read)
    for numbers in (range(5, 5), range(5, 6), range(6, 25), range(25, 40)):
        kept(run, numbers)
        told = ledger.account("shapes")
        with Store.read() as store:
            assert told == account_of(store.run(run), (), store.machine(MACHINE.fingerprint))
        del counted[-len(told.dots) :]
    assert counted == list(range(40))


def test_what_was_told_is_told_again_while_nothing_changes() -> None:
    tuned.keep()
    ledger = Ledger(Store.read)
    assert ledger.account("shapes") is ledger.account("shapes")


def test_the_newest_runs_are_read_ahead(counted: list[int]) -> None:
    tuned.keep(7)
    tuned.keep(6)
    for number in range(5):
        tuned.keep(3 + number, model=f"model-{number}")
    ledger = Ledger(Store.read)
    ledger.read_ahead()
    assert len(counted) == 4 + 5 + 6 + 7, "the four models that were tuned last"
    ledger.account("model-4")
    assert len(counted) == 4 + 5 + 6 + 7
    ledger.account("shapes")
    assert counted[22:] == list(range(6)), "of its two runs, the newer"


def test_a_store_in_the_place_of_another_is_read_anew() -> None:
    tuned.keep(5, finished=False)
    ledger = Ledger(Store.read)
    assert len(ledger.account("shapes").dots) == 5
    with Store.read() as store:
        path = store.path
    path.rename(path.with_suffix(".aside"))
    tuned.keep(3, finished=False)
    assert len(ledger.account("shapes").dots) == 3


def test_a_trial_in_the_place_of_a_damaged_one_is_read() -> None:
    run, ledger = tuned.keep(5, finished=False), Ledger(Store.read)
    with Store.open() as store, store._writing() as db:
        db.execute("UPDATE trials SET document = '{}' WHERE kept = 5")
    assert [dot.number for dot in ledger.account("shapes").dots] == [0, 1, 2, 3]
    kept(run, range(4, 5))  # the row of the damaged one is deleted, and its number given to this one
    assert [dot.number for dot in ledger.account("shapes").dots] == [0, 1, 2, 3, 4]
