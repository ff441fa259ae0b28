"""Which of several that are as fast is taken, and what is said of it."""

from __future__ import annotations

from autotune.planner.ties import preferred
from autotune.search.race import Lane
from autotune.search.recipe import UNMODIFIED, Recipe

MIB = 2**20
BF16 = Recipe(turned={"precision": "bf16"})
TOME = Recipe(turned={"tome_ratio": 0.5})
NOISE = (1.0, 1.01, 0.99, 1.02, 0.98, 1.0, 1.01, 0.99)


def lane(recipe: Recipe, ms: float, peak_mib: int = 100, cold_s: float = 1.0, noise: tuple[float, ...] = NOISE) -> Lane:
    facts = {"peak_memory_bytes": peak_mib * MIB, "cold_s": cold_s}
    return Lane(recipe, [ms * each for each in noise], facts=facts)


def test_the_fastest_is_taken_where_no_other_is_near() -> None:
    lanes = [lane(BF16, 50, 200), lane(TOME, 53, 100)]
    assert preferred(lanes) == (lanes[0], "")


def test_less_memory_comes_first() -> None:
    lanes = [lane(BF16, 50, 200), lane(TOME, 50.3, 100)]
    taken, said = preferred(lanes)
    assert taken is lanes[1]
    assert said.startswith("Tied with precision=bf16 (0.994 times as fast, 95 % interval 0.994 to 0.994)")
    assert said.endswith("because it needs less memory.")


def test_of_two_with_about_as_much_memory_the_less_lossy_is_taken() -> None:
    lanes = [lane(TOME, 50, 98), lane(BF16, 50.3, 100)]
    taken, said = preferred(lanes)
    assert taken is lanes[1]
    assert "fewer lossy knobs" in said


def test_of_two_as_lossy_the_one_that_is_ready_sooner_is_taken() -> None:
    lanes = [lane(UNMODIFIED, 50, cold_s=30), lane(BF16, 50.3, cold_s=2)]
    taken, said = preferred(lanes)
    assert taken is lanes[1]
    assert "ready sooner" in said


def test_too_few_calls_are_no_reason_to_take_what_looks_slower() -> None:
    noisy = lane(TOME, 60, 10, noise=(1.0, 2.0, 0.5, 1.0, 2.0, 0.5, 1.0, 1.0))
    assert preferred([lane(BF16, 50), noisy])[0].recipe == BF16
