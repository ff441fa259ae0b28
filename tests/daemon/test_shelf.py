"""What was read of the store is kept while its file is the same, and not a moment longer."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from autotune.planner.daemon import shelf as module
from autotune.planner.daemon.ask import Kept, UnknownModelError, gather
from autotune.planner.daemon.shelf import COARSE_S, MOST_KEPT, SETTLED_S, Shelf
from autotune.planner.daemon.wire import Question
from autotune.store.places import data_dir
from autotune.store.store import FILE_NAME, Store

from .family import FAMILY, keep, plan_of


class Reader:
    """Opens the store, and counts how often; its clock goes ahead when it is told."""

    def __init__(self) -> None:
        self.count = 0
        self.ahead_s = 0.0
        self.looked = 0
        self.shelf = Shelf(self.opened)

    @contextmanager
    def opened(self) -> Iterator[Store]:
        self.count += 1
        with Store.read() as store:
            yield store

    def time(self) -> float:
        return time.time() + self.ahead_s

    def monotonic(self) -> float:
        self.looked += 1
        return time.monotonic()

    def settle(self) -> None:
        """Let the file look as if nobody had touched it for a while."""
        self.ahead_s = COARSE_S + 1

    def look(self, model: str = "shapes") -> Kept:
        return self.shelf.look(model, lambda store: gather(store, Question(model=model)))


@pytest.fixture
def reader(monkeypatch: pytest.MonkeyPatch) -> Reader:
    reader = Reader()
    monkeypatch.setattr(module, "time", reader)
    return reader


def test_it_is_read_once_while_nothing_changes(reader: Reader) -> None:
    keep()
    reader.settle()
    assert [len(reader.look().plans) for _ in range(3)] == [len(FAMILY)] * 3
    assert reader.count == 1


def test_a_change_is_seen_at_once(reader: Reader) -> None:
    keep()
    reader.settle()
    reader.look()
    keep([plan_of("newer")])
    assert reader.look().plans[0].recipe.turned == {"precision": "newer"}
    assert reader.count == 2


def test_a_file_that_changed_just_now_is_read_each_time(reader: Reader) -> None:
    keep()
    reader.ahead_s = -1  # however long the next lines take
    for _ in range(3):
        reader.look()
    assert reader.count == 3


def test_a_clock_that_ticks_coarsely_is_not_believed_so_soon() -> None:
    fine_ns, coarse_ns = 1_700_000_000_123_456_789, 1_700_000_000_000_000_000
    assert module._tick_s(fine_ns, fine_ns) == SETTLED_S
    assert module._tick_s(fine_ns, coarse_ns) == module._tick_s(coarse_ns, coarse_ns) == COARSE_S


def test_one_reading_is_enough_for_all_who_asked_before_it_began(reader: Reader) -> None:
    keep()
    reader.ahead_s = -1  # so that nothing is kept
    reads, go_on = threading.Event(), threading.Event()

    def gathered(store: Store) -> Kept:
        reads.set()
        go_on.wait(20)
        return gather(store, Question(model="shapes"))

    found: list[Kept] = []
    askers = [threading.Thread(target=lambda: found.append(reader.shelf.look("shapes", gathered))) for _ in range(9)]
    askers[0].start()
    assert reads.wait(20)
    for asker in askers[1:]:
        asker.start()
    while reader.looked < 9 + 1:  # the first one looks at the clock again before it reads
        time.sleep(0.001)
    go_on.set()
    for asker in askers:
        asker.join(20)
    assert [len(each.plans) for each in found] == [len(FAMILY)] * 9
    assert reader.count == 2, "the first one's, and one for those who came while that went on"


@pytest.mark.parametrize("journal", ["-journal", "-wal"])
def test_a_file_that_is_being_written_to_is_read_each_time(reader: Reader, journal: str) -> None:
    keep()
    reader.settle()
    reader.look()
    (data_dir() / f"{FILE_NAME}{journal}").touch()
    reader.look()
    reader.look()
    assert reader.count == 3


def test_a_file_of_the_same_size_and_time_in_its_place_is_another(reader: Reader) -> None:
    keep()
    file = data_dir() / FILE_NAME
    reader.settle()
    reader.look()
    times = file.stat()
    other = file.with_name("other")
    other.write_bytes(file.read_bytes())
    os.utime(other, ns=(times.st_atime_ns, times.st_mtime_ns))
    other.replace(file)
    reader.look()
    assert reader.count == 2


def test_a_file_that_is_gone_is_noticed(reader: Reader) -> None:
    keep()
    reader.settle()
    reader.look()
    (data_dir() / FILE_NAME).unlink()
    assert "There is no plan for shapes yet" in str(reader.look().nothing)


def test_that_there_is_no_plan_is_kept_too_until_there_is_one(reader: Reader) -> None:
    keep([plan_of(model="another")])
    reader.settle()
    for _ in range(3):
        assert isinstance(reader.look().nothing, UnknownModelError)
    assert reader.count == 1
    keep()
    assert (reader.look().nothing, len(reader.look().plans)) == (None, len(FAMILY))


def test_so_much_is_kept_and_no_more(reader: Reader) -> None:
    keep()
    reader.settle()
    for number in range(MOST_KEPT + 10):
        reader.shelf.look(number, lambda store: gather(store, Question(model="shapes")))
    assert len(reader.shelf._kept) == MOST_KEPT
