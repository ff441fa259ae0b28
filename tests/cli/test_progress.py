"""What is told while a tuning goes on: to people on standard error, to programs as JSON Lines, and to each alone."""

from __future__ import annotations

import json
import os
import pty
import re
import subprocess
import sys
import time
from typing import TYPE_CHECKING, Any

import pytest

from autotune.planner.cli.progress import SCHEMA_VERSION, Tale, reporter, say_done, verdict
from autotune.planner.tune import Racing
from autotune.probes.load import Load
from autotune.search.measured import Trial
from autotune.search.plan import Plan

from ..store.samples import MACHINE
from .results import (
    BASELINE,
    BF16,
    BRACKETS,
    TOLERANCE,
    TOME,
    plan_of,
    prepared,
    quality_of,
    result_of,
    run_of,
    task_of,
    trial_of,
)

if TYPE_CHECKING:
    from autotune.planner.tune import Event

SLOW = trial_of(1, TOME, 700.0, "slow", detail="700 ms a call, 400 ms is the best so far.")
BROKE = trial_of(2, BRACKETS, None, "out_of_memory", detail="It asked for [red]9 GiB[/].")
MISSED = trial_of(3, BF16, 100.0, quality=quality_of(-0.31))
WON = trial_of(3, BF16, 100.0, quality=quality_of(-0.29))


@pytest.fixture
def tale() -> Tale:
    tale = Tale()
    tale.tell(prepared())
    return tale


def test_it_begins_with_what_is_tuned_and_where() -> None:
    lines = Tale().tell(prepared())
    assert lines == [
        "shapes: StableDiffusionPipeline, 2.3 M parameters in its denoiser",
        "cpu: AMD EPYC, 4 cores; 128x128, 20 steps, guidance 4",
        "4 recipes are open; at most 4 min 0 s",
    ]


def test_what_the_probes_could_not_see_is_told() -> None:
    blind = MACHINE.model_copy(update={"notes": ("The driver of the GPU hangs.",)})
    assert Tale().tell(prepared(task=task_of(machine=blind)))[-1] == "The driver of the GPU hangs."


def test_a_resumed_run_says_what_is_known_and_how_to_start_over() -> None:
    tale = Tale()
    lines = tale.tell(prepared(run_of("resumed", (BASELINE, WON))))
    assert lines[-1] == "Resuming the run of 2026-11-21T10:00:00+00:00: 2 trials are known (--fresh starts over)"
    tale.tell(TOME)
    assert tale.now().startswith("Trial 3: tome_ratio=0.5; best 100 ms against 400 ms (4.00x)")


def test_a_run_that_was_interrupted_before_its_first_trial_resumes_in_silence() -> None:
    assert not [line for line in Tale().tell(prepared(run_of("resumed"))) if "Resuming" in line]


def test_a_finished_run_has_no_story() -> None:
    assert Tale().tell(prepared(run_of("finished", (BASELINE,)))) == []


def test_each_trial_is_one_line_with_its_verdict(tale: Tale) -> None:
    lines = [line for trial in (BASELINE, SLOW, BROKE, MISSED) for line in tale.tell(trial)]
    assert lines == [
        "  1    400 ms  ok              unmodified",
        "  2    700 ms  slow            tome_ratio=0.5",
        "  3         -  out of memory   compile=[/red] [bold]x :smile: \\[",
        "  4    100 ms  quality missed  precision=bf16",
    ]


def test_a_trial_beside_others_says_so(tale: Tale) -> None:
    [line] = tale.tell(trial_of(2, BF16, 900).model_copy(update={"load": Load(cores=2, foreign_cores=1.04)}))
    assert line.endswith("precision=bf16, beside others on 1.0 cores")


def test_verdicts() -> None:
    assert [verdict(trial, TOLERANCE) for trial in (BASELINE, SLOW, BROKE, MISSED, WON)] == [
        "ok",
        "slow",
        "out of memory",
        "quality missed",
        "ok",
    ]
    assert verdict(MISSED, 0.02) == "ok"


def test_the_standing_counts_only_what_may_win(tale: Tale) -> None:
    assert tale.now() == "Looking at the machine, at most 4 min 0 s left"
    tale.tell(BASELINE)
    tale.tell(TOME)
    assert tale.now() == "Trial 2: tome_ratio=0.5; best 400 ms against 400 ms (1.00x), at most 4 min 0 s left"
    for trial in (SLOW, MISSED, BROKE):
        tale.tell(trial)
    assert "best 400 ms against 400 ms (1.00x)" in tale.now()
    tale.tell(WON)
    assert "best 100 ms against 400 ms (4.00x)" in tale.now()


def test_the_time_that_is_left_never_is_less_than_none() -> None:
    tale = Tale(started=time.monotonic() - 1000)
    tale.tell(prepared())
    assert tale.now().endswith("at most 0 s left")


def test_the_last_round_names_who_runs(tale: Tale) -> None:
    said = "Last round: the baseline against precision=bf16 and tome_ratio=0.5"
    assert tale.tell(Racing((BF16, TOME))) == [said]
    assert tale.now().startswith(said)


EVENTS: list[Event] = [prepared(), BASELINE.recipe, BASELINE, BRACKETS, BROKE, BF16, WON, Racing((BF16,))]


def test_without_a_terminal_there_are_plain_lines(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("FORCE_COLOR", "TTY_COMPATIBLE"):
        monkeypatch.delenv(name, raising=False)
    with reporter(as_json=False) as tell:
        for event in EVENTS:
            tell(event)
    out, err = capsys.readouterr()
    assert out == ""
    assert "\x1b" not in err
    assert len(err.splitlines()) == 3 + 3 + 1
    assert "compile=[/red] [bold]x :smile: \\[" in err


def test_for_programs_there_is_json_and_nothing_else(capsys: pytest.CaptureFixture[str]) -> None:
    with reporter(as_json=True) as tell:
        for event in EVENTS:
            tell(event)
    say_done(result_of(plan_of(), plan_of(TOME), reason="interrupted", interrupted=True))
    out, err = capsys.readouterr()
    assert err == ""
    lines: list[dict[str, Any]] = [json.loads(line) for line in out.splitlines()]
    assert {line["schema_version"] for line in lines} == {SCHEMA_VERSION}
    assert [next(iter(line)) for line in lines] == ["schema_version"] * len(lines)
    start_end = ["trial_start", "trial_end"]
    assert [line["event"] for line in lines] == ["prepared", *start_end * 3, "race", "done"]

    assert lines[0]["budget_s"] == 240
    assert lines[0]["recipes"] == 4
    assert lines[1]["recipe"] == {}
    assert [Trial.model_validate_json(json.dumps(lines[at]["trial"])) for at in (2, 4, 6)] == [BASELINE, BROKE, WON]
    assert lines[7]["recipes"] == [{"precision": "bf16"}]
    assert lines[8]["interrupted"] is True
    assert lines[8]["reason"] == "interrupted"
    assert Plan.model_validate_json(json.dumps(lines[8]["plan"])) == plan_of()
    assert len(lines[8]["plans"]) == 2


def test_programs_are_told_that_there_is_no_plan(capsys: pytest.CaptureFixture[str]) -> None:
    say_done(result_of())
    done = json.loads(capsys.readouterr().out)
    assert done["plan"] is None
    assert done["plans"] == []


ON_A_TERMINAL = """
from autotune.planner.cli.progress import reporter
from autotune.tests.cli.test_progress import EVENTS
with reporter(as_json=False) as tell:
    for event in EVENTS:
        tell(event)
"""


def on_a_terminal(**environment: str) -> tuple[str, str]:
    """Return what a child writes to standard output, and to standard error that is a terminal."""
    ours, theirs = pty.openpty()
    with os.fdopen(ours, "rb", buffering=0) as screen:
        child = subprocess.Popen(
            [sys.executable, "-c", ON_A_TERMINAL],
            stdout=subprocess.PIPE,
            stderr=theirs,
            text=True,
            env={**os.environ, "TERM": "xterm", "COLUMNS": "120", **environment},
        )
        os.close(theirs)
        shown = b""
        while True:
            try:
                piece = screen.read(65536)
            except OSError:  # EIO: the child has closed the other end
                break
            shown += piece or b""
        out, _ = child.communicate()
    assert child.returncode == 0, shown.decode()
    return out, shown.decode()


def test_on_a_terminal_there_is_a_live_line_without_colour_where_none_is_wanted() -> None:
    out, shown = on_a_terminal(NO_COLOR="1")
    assert out == ""
    text = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", shown)
    assert text != shown, "the line is live: the cursor moves"
    assert not re.search(r"\x1b\[[0-9;]*3[0-7]m", shown)
    assert "Trial 2: compile=[/red] [bold]x :smile: \\[; best 400 ms against 400 ms" in text
    assert "  3         -  out of memory   compile=[/red]" in text
    assert "  4    100 ms  ok              precision=bf16" in text
