"""Recorded tables: what is read from them, how they are searched, and scores whose right value is known."""

from __future__ import annotations

import math
import random
import statistics
import xml.etree.ElementTree as ET
from itertools import permutations
from pathlib import Path

import numpy as np
import pytest

from autotune.errors import UsageError
from autotune.search.evaluate import CutOffError
from autotune.search.recipe import UNMODIFIED, Recipe
from autotune.search.replay.cells import Cost, Limit, Objective, choice_in
from autotune.search.replay.evaluator import Search, Step, TableEvaluator, search_table
from autotune.search.replay.plot import plot
from autotune.search.replay.random_search import best_of, expected
from autotune.search.replay.replay import Terms, replay
from autotune.search.replay.score import CostAxis, score
from autotune.search.replay.table import Table, read_table
from autotune.search.samplers import SAMPLERS, ListedSampler, sampler_of

TEXT = """\
quant,cutoff,ms,loss,cost
none,1.0,100,0.0,10
none,0.5,80,0.1,20
int8,1.0,50,0.2,30
int8,0.5,invalid:out_of_memory,,40
int4,1.0,30,0.9,
int4,0.5,20,,60
int2,1.0,,,70
"""


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return written(tmp_path, TEXT)


def written(folder: Path, text: str) -> Path:
    path = folder / "recorded.csv"
    path.write_text(text)
    return path


def table_of(file: Path, *constraints: str, cost: str = "cost") -> Table:
    return read_table(file, ["quant", "cutoff"], "ms", constraints=constraints, cost=cost)


@pytest.fixture
def formula(tmp_path: Path) -> Table:
    """Five knobs of three ordered choices, whose effects add up; the best of 243 is all zeros."""
    rows = ["a,b,c,d,e,ms,cost"]
    for number in range(243):
        digits = [number // 3**power % 3 for power in range(5)]
        ms = 100 * math.prod(1 + share * digit for share, digit in zip((0.9, 0.5, 0.3, 0.2, 0.1), digits, strict=True))
        rows.append(",".join(map(str, [*digits, ms, ms])))
    return read_table(written(tmp_path, "\n".join(rows)), list("abcde"), "ms", cost="cost")


@pytest.mark.parametrize(
    ("cell", "choice"), [("True", True), ("3", 3), ("0.50", 0.5), ("", ""), ("nan", "nan"), ("bf16", "bf16")]
)
def test_cells_become_choices(cell: str, choice: object) -> None:
    assert choice_in(cell) == choice
    assert type(choice_in(cell)) is type(choice)


@pytest.mark.parametrize(
    ("text", "cell", "violation"),
    [
        ("lpips<=0.3", "0.3", 0.0),
        ("lpips<=0.3", "0.45", 0.5),
        ("lpips<=0.3", "0.15", -0.5),
        ("clip>=30", "33", -0.1),
        ("clip >= 30", "27", 0.1),
        ("clip<30", "30", 1e-9),
        ("feasible==True", "True", 0.0),
        ("feasible==True", "False", 1.0),
        ("batch==1", "1.0", 0.0),
        ("lpips<=0.3", "unknown", 1.0),
    ],
)
def test_a_constraint_is_a_share_that_is_missed(text: str, cell: str, violation: float) -> None:
    assert Limit.parse(text).violation(cell) == pytest.approx(violation)


@pytest.mark.parametrize("text", ["lpips", "lpips<=", "<=3", "lpips<=good", "a<=1<=2", "a=1"])
def test_a_constraint_that_cannot_be_meant_is_refused(text: str) -> None:
    with pytest.raises(UsageError, match=r"lpips<=0\.3|compares with a number"):
        Limit.parse(text)


def test_an_objective_may_be_one_for_each_of_another() -> None:
    per_image = Objective.parse("latency/images")
    assert per_image.of({"latency": "12", "images": "4"}) == 3
    assert per_image.of({"latency": "-1", "images": "4"}) is None
    with pytest.raises(UsageError):
        Objective.parse("a/b/c")


def test_costs_add_up() -> None:
    cost = Cost.parse("compile+run")
    assert cost.of({"compile": "3", "run": "0.5"}) == 3.5
    assert cost.of({"compile": "3", "run": ""}) is None


def test_what_is_missing_or_failed_is_said(file: Path) -> None:
    table = table_of(file)
    assert len(table.rows) == 6, "int2 says nothing"
    failed = table.rows["cutoff=0.5 quant=int8"]
    assert (failed.objective, failed.outcome, failed.cost) == (None, "invalid:out_of_memory", 40)
    assert table.rows["cutoff=1 quant=int4"].cost == 30, "the median of the others"
    assert [note.partition(":")[0] for note in table.notes] == ["1 row left out", "1 recipe charged the median cost"]
    assert min(table.feasible.values()) == 20


def test_a_row_whose_constraint_is_unknown_is_left_out(file: Path) -> None:
    table = table_of(file, "loss<=0.3")
    assert sorted(table.feasible.values()) == [50, 80, 100]
    assert "cutoff=0.5 quant=int4" not in table.rows
    assert "cutoff=0.5 quant=int8" in table.rows, "that it failed is known"
    assert any("the constraint is unknown" in note for note in table.notes)


def test_repeated_rows_become_their_median(tmp_path: Path) -> None:
    text = "knob,ms\na,10\na,11\na,30\na,invalid:crashed\nb,20\n"
    table = read_table(written(tmp_path, text), ["knob"], "ms")
    assert table.feasible == {"knob=a": 11, "knob=b": 20}
    assert any("4 rows repeat 1 recipe" in note for note in table.notes)
    assert any("3.0 times: is a knob missing" in note for note in table.notes)


def test_rows_are_chosen_and_an_empty_cell_is_a_choice(tmp_path: Path) -> None:
    text = "card,knob,ms\nA,,10\nA,2,11\nA,10,12\nB,2,5\n"
    table = read_table(written(tmp_path, text), ["knob"], "ms", where=["card=A"])
    assert table.space.choices == {"knob": ("", 2, 10)}
    assert "knob=" in table.rows


def test_a_table_of_our_own_knobs_has_our_own_recipes(tmp_path: Path) -> None:
    text = "precision,compile,ms\nfp32,none,10\nbf16,none,5\nbf16,openvino,3\n"
    table = read_table(written(tmp_path, text), ["precision", "compile"], "ms")
    assert set(table.rows) == {"unmodified", "precision=bf16", "compile=openvino precision=bf16"}
    assert UNMODIFIED in table.space
    assert table.space.choices_of(Recipe(turned={"precision": "bf16"})) == {"precision": "bf16", "compile": "none"}


@pytest.mark.parametrize(
    ("text", "knobs", "said"),
    [
        ("a,ms\n1,2\n", ["b"], "no column 'b'; it has a, ms"),
        ("a,ms\n", ["a"], "has no rows"),
        ("a,ms\n1,invalid:crashed\n", ["a"], "No row of recorded.csv has a number"),
    ],
)
def test_a_table_without_what_is_asked_is_refused(tmp_path: Path, text: str, knobs: list[str], said: str) -> None:
    with pytest.raises(UsageError, match=said):
        read_table(written(tmp_path, text), knobs, "ms")


def test_a_file_that_is_not_there_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="cannot be read"):
        read_table(tmp_path / "none.csv", ["a"], "ms")


def test_the_evaluator_says_what_the_table_says(file: Path) -> None:
    table = table_of(file, "loss<=0.3")
    evaluator = TableEvaluator(table)
    trials = {key: evaluator.evaluate(0, row.recipe, math.inf, math.inf) for key, row in table.rows.items()}
    good, lossy, failed = (trials[f"cutoff={c} quant={q}"] for c, q in (("1", "int8"), ("1", "int4"), ("0.5", "int8")))
    assert (good.median_ms, good.duration_s, good.feasible(0)) == (50, 30, True)
    assert lossy.quality
    assert lossy.quality.shortfall(0) == pytest.approx(2)
    assert (failed.outcome, failed.latency, failed.duration_s) == ("out_of_memory", None, 40)


def test_noise_has_the_size_that_is_asked(file: Path) -> None:
    table = table_of(file)
    evaluator = TableEvaluator(table, noise_cv=0.1, seed=1)
    recipe = table.rows["cutoff=1 quant=none"].recipe
    seen = [evaluator.evaluate(0, recipe, math.inf, math.inf).median_ms for _ in range(2000)]
    assert statistics.fmean(seen) == pytest.approx(100, rel=0.01)
    assert statistics.stdev(seen) == pytest.approx(10, rel=0.1)


def test_a_trial_that_goes_beyond_the_budget_is_cut_off(file: Path) -> None:
    table = table_of(file)
    evaluator = TableEvaluator(table, budget=35)
    evaluator.evaluate(0, table.rows["cutoff=1 quant=int8"].recipe, math.inf, math.inf)
    with pytest.raises(CutOffError):
        evaluator.evaluate(1, table.rows["cutoff=1 quant=none"].recipe, math.inf, math.inf)
    found = search_table(TableEvaluator(table, budget=35), table, sampler_of("grid", table.space, 0), 100)
    assert [step.cost for step in found.steps] == [10, 20]


def test_random_search_in_closed_form_is_what_all_orders_give() -> None:
    values = [5.0, 3.0, 9.0, 1.0]
    orders = list(permutations(values))
    for draws in range(1, 5):
        mean = statistics.fmean(min(order[:draws]) for order in orders)
        assert best_of(np.array(values), 10)[draws - 1] == pytest.approx(mean)


def test_what_random_search_is_expected_to_spend_is_what_all_orders_give(file: Path) -> None:
    table = table_of(file, "loss<=0.3")
    spent = []
    for order in permutations(table.rows.values()):
        place = next(
            place for place, row in enumerate(order) if row.recipe.key in table.feasible and row.objective == 50
        )
        spent.append((place + 1, sum(row.cost for row in order[: place + 1])))
    usual = expected(table, 52.5)
    assert usual.trials == pytest.approx(statistics.fmean(trials for trials, _ in spent))
    assert usual.cost == pytest.approx(statistics.fmean(cost for _, cost in spent))
    assert usual.median_trials == math.ceil(statistics.median_low(trials for trials, _ in spent))


def searched(table: Table, keys: list[str]) -> Search:
    steps = tuple(Step(table.rows[key].recipe, table.rows[key].cost, table.feasible.get(key)) for key in keys)
    return Search(steps, steps[-1].recipe)


def test_the_score_is_1_for_the_best_at_once_and_0_for_random_search(formula: Table) -> None:
    best = min(formula.feasible, key=lambda key: formula.feasible[key])
    worst = max(formula.feasible, key=lambda key: formula.feasible[key])
    axis = CostAxis(formula, 40)
    assert axis.score(searched(formula, [best])) == pytest.approx(1)
    assert axis.score(searched(formula, [worst])) < 0
    found, _ = replay(formula, "random", Terms(most=40, repeats=30))
    assert found.score.low is not None
    assert found.score.high is not None
    assert found.score.low - 0.1 <= 0 <= found.score.high + 0.1


def test_a_search_that_gives_up_is_charged_for_the_next_one(formula: Table) -> None:
    keys = sorted(formula.feasible, key=lambda key: formula.feasible[key])
    searches = [searched(formula, [keys[100], keys[0]]), searched(formula, [keys[100], keys[101], keys[102]])]
    near = score(formula, "x", searches, 100, 0.0).reaching[0]
    assert near.reached == 0.5
    assert near.trials.value == 5
    never = score(formula, "x", searches[1:], 100, 0.0).reaching[0]
    assert (never.reached, never.trials.value, never.trials_saved.value) == (0, None, 0)


def test_the_pick_is_judged_by_what_is_true(file: Path) -> None:
    table = table_of(file, "loss<=0.3")
    good, lossy = ("cutoff=1 quant=int8", "cutoff=1 quant=int4")
    found = score(table, "x", [searched(table, [good]), searched(table, [good, lossy])], 100, 0.0)
    assert (found.picked_feasible, found.pick_regret) == (0.5, 0.0)


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=[pytest.mark.slow] if name in {"gp", "tpe"} else []) for name in SAMPLERS]
)
def test_every_sampler_goes_through_a_small_table_and_repeats_nothing(file: Path, name: str) -> None:
    table = table_of(file, "loss<=0.3")
    _, searches = replay(table, name, Terms(repeats=2, noise_cv=0.05))
    for search in searches:
        keys = [step.recipe.key for step in search.steps]
        assert len(set(keys)) == len(keys)
        assert set(keys) == set(table.rows)


def test_a_sampler_that_there_is_not_is_refused(file: Path) -> None:
    with pytest.raises(UsageError, match="there are random, grid"):
        replay(table_of(file), "best", Terms(repeats=1))


def test_terms_that_cannot_be_meant_are_refused() -> None:
    with pytest.raises(UsageError, match="0 trials"):
        Terms(most=0)


def test_repetitions_can_be_repeated(formula: Table) -> None:
    first, second = (replay(formula, "random", Terms(most=5, repeats=3, noise_cv=0.1))[1] for _ in range(2))
    assert first == second
    assert len({search.steps for search in first}) == 3


def test_the_picture_has_a_line_for_each(formula: Table) -> None:
    _, searches = replay(formula, "random", Terms(most=10, repeats=2))
    root = ET.fromstring(plot(formula, {"a<b": searches}, 10))  # noqa: S314 - made here
    lines = root.findall("{http://www.w3.org/2000/svg}polyline")
    assert len(lines) == 2
    assert "a<b" in "".join(root.itertext())


def test_listed_recipes_are_left_out_once_they_are_told(file: Path) -> None:
    table = table_of(file)
    sampler = ListedSampler(table.space.recipes())
    evaluator = TableEvaluator(table)
    first = next(table.space.recipes())
    sampler.tell(evaluator.evaluate(0, first, math.inf, math.inf))
    assert sampler.ask() != first


def test_the_space_of_a_table_draws_what_it_has(file: Path) -> None:
    space = table_of(file).space
    assert all(space.draw(random.Random(seed)) in space for seed in range(20))
    assert Recipe(turned={"quant": "int2", "cutoff": 1.0}) not in space


def test_a_slow_trial_is_given_up_where_that_is_asked(file: Path) -> None:
    table = table_of(file, cost="ms")
    slow, near = table.rows["cutoff=1 quant=none"].recipe, table.rows["cutoff=1 quant=int8"].recipe
    evaluator = TableEvaluator(table, gives_up=True)
    given_up = evaluator.evaluate(0, slow, 40, math.inf)
    assert (given_up.outcome, given_up.median_ms, given_up.duration_s) == ("slow", 60, 60)
    assert given_up.latency
    assert given_up.latency.at_least
    assert evaluator.evaluate(1, near, 40, math.inf).outcome == "ok"
    assert TableEvaluator(table).evaluate(0, slow, 40, math.inf).duration_s == 100


def test_a_search_begins_with_what_is_known_from_elsewhere(file: Path) -> None:
    table = table_of(file)
    first = (Recipe(turned={"quant": "int2", "cutoff": 9}), table.rows["cutoff=0.5 quant=int4"].recipe)
    _, searches = replay(table, "random", Terms(repeats=3, first=first))
    for search in searches:
        assert search.steps[0].recipe == first[1], "what the table has not is left out"
        assert len({step.recipe.key for step in search.steps}) == len(search.steps) == len(table.rows)
