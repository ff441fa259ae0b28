"""What apps say of plans outlives a restart, and does not grow without end."""

from __future__ import annotations

from pathlib import Path

import pytest

from autotune.store.outcome import Ending, Outcome
from autotune.store.run import new_id, now
from autotune.store.store import OUTCOMES_KEPT, Store


def said(plan_id: str, outcome: Ending, latency_ms: float | None = None) -> Outcome:
    return Outcome(id=new_id(), plan_id=plan_id, outcome=outcome, latency_ms=latency_ms, reported_at=now())


def test_they_are_there_when_the_store_is_opened_again(tmp_path: Path) -> None:
    path = tmp_path / "autotune.db"
    kept = [said("a", "ok", 12.5), said("b", "error"), said("a", "out_of_memory")]
    with Store.open(path) as store:
        for outcome in kept:
            store.keep_outcome(outcome)
    with Store.read(path) as store:
        assert store.outcomes(["a"]) == (kept[0], kept[2])
        assert store.outcomes(["a", "b"]) == tuple(kept)
        assert store.outcomes([]) == ()


def test_of_many_that_ended_alike_the_newest_are_kept(tmp_path: Path) -> None:
    with Store.open(tmp_path / "autotune.db") as store:
        store.keep_outcome(said("a", "out_of_memory"))
        store.keep_outcome(said("b", "ok", 7))
        for number in range(OUTCOMES_KEPT + 3):
            store.keep_outcome(said("a", "ok", 1 + number))
        kept = store.outcomes(["a"])
        assert [outcome.outcome for outcome in kept].count("out_of_memory") == 1
        latencies = [outcome.latency_ms for outcome in kept if outcome.latency_ms]
        assert latencies == [1 + number for number in range(3, OUTCOMES_KEPT + 3)]
        assert len(store.outcomes(["b"])) == 1


def test_where_there_is_no_file_nothing_was_said(tmp_path: Path) -> None:
    with Store.read(tmp_path / "autotune.db") as store:
        assert store.outcomes(["a"]) == ()


@pytest.mark.parametrize("wrong", [{"outcome": "bad"}, {"latency_ms": 0}, {"peak_bytes": -1}, {"free_bytes": 1.5}])
def test_what_makes_no_sense_is_no_outcome(wrong: dict[str, object]) -> None:
    document = {**said("a", "ok").model_dump(), **wrong}
    with pytest.raises(ValueError, match=next(iter(wrong))):
        Outcome.model_validate(document)
