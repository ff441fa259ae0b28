"""Results for people: every figure with what it is compared to, every failure with its cause, and no markup read."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest

from autotune.planner.choose import Wish, choose
from autotune.planner.cli import tables
from autotune.planner.tune import Result
from autotune.probes.machine import Machine
from autotune.search.plan import Gain
from autotune.search.recipe import Recipe
from autotune.search.witness import Witness
from autotune.store.places import data_dir

from ..daemon.family import FAMILY, GIB, MIDDLE
from ..daemon.family import MACHINE as WITH_GPU
from ..store.samples import MACHINE
from .results import (
    BASELINE,
    BF16,
    BRACKETS,
    CARD,
    SPACE,
    TOME,
    plan_of,
    quality_of,
    result_of,
    run_of,
    task_of,
    trial_of,
)

Read = Callable[..., str]


@pytest.fixture
def said(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Read:
    """Print something for somebody without a terminal, and return it with blanks made one."""
    monkeypatch.setenv("COLUMNS", "200")
    for name in ("FORCE_COLOR", "TTY_COMPATIBLE"):
        monkeypatch.delenv(name, raising=False)

    def read(show: Callable[..., None], *what: Any, **how: Any) -> str:
        show(*what, **how)
        out, err = capsys.readouterr()
        assert err == ""
        assert "\x1b" not in out
        return "\n".join(" ".join(line.split()) for line in out.splitlines())

    return read


def test_a_winner_is_set_beside_the_baseline(said: Read) -> None:
    text = said(tables.print_result, result_of(plan_of()))

    assert "4.00 times as fast as the unmodified pipeline, 95 % interval 3.90 to 4.10: precision=bf16" in text
    assert "latency of a call 400 ms ± 1.5 % 100 ms ± 3.0 %" in text
    assert "peak memory 600 MiB 300 MiB" in text
    assert "loading 2 s" in text
    assert "first call 0.5 s, 0.4 s more than the next" in text
    assert "CLIP score 30.00 30.10" in text
    assert "paired difference +0.10, 95 % bound -0.10 (at least -0.30 is asked; 2 pairs)" in text
    assert "likeness to it (SSIM) 0.950" in text
    assert "precision=bf16 2.50 times slower without it" in text
    assert "Ended after 1 trials because the budget was used." in text
    assert "other plan" not in text
    assert "not yet raced" not in text
    assert "Interrupted" not in text
    assert "From the store" not in text


def test_further_witnesses_are_set_beside_the_score(said: Read) -> None:
    witnesses = (
        Witness(model="pick[/red]@01", kind="score", figures=(21.0, 22.0), baseline_figures=(21.5, 22.5)),
        Witness(model="dinov2@02", kind="likeness", figures=(0.98, 1.0), baseline_figures=(1.0, 1.0)),
        Witness(model="lpips@03", kind="distance", figures=(0.04, 0.06), baseline_figures=(0.0, 0.0)),
    )
    quality = quality_of(-0.1).model_copy(update={"witnesses": witnesses})
    text = said(tables.print_result, result_of(plan_of(quality=quality)))
    assert "score by pick[/red] 22.00 21.50" in text
    assert "likeness to it by dinov2 0.990" in text
    assert "distance from it by lpips 0.050" in text


def test_a_knob_that_bought_nothing_is_not_said_to_have(said: Read) -> None:
    gains = (Gain(knob="precision", choice="bf16", slowdown_without=0.97),)
    assert "precision=bf16 no gain was seen (0.97 times without it)" in said(
        tables.print_result, result_of(plan_of(gains=gains))
    )


def test_how_to_use_it_is_a_program_that_can_be_run(said: Read) -> None:
    plan = plan_of()
    text = said(tables.print_result, result_of(plan))

    assert f"Kept as {plan.id} in {data_dir(make=False)}/autotune.db" in text
    program = text[text.index("import autotune") :]
    assert program.splitlines() == [
        "import autotune",
        'pipe = autotune.load("shapes")',
        'pipe("a \\"red\\" circle").images[0].save("image.png")',
    ]
    compile(program, "said", "exec")


def of_folder(folder: str, **changes: Any) -> Result:
    card = CARD.model_copy(update={"name": folder.rpartition("/")[2], "folder": folder})
    return result_of(plan_of(), task=task_of(card=card), **changes)


def test_a_folder_is_named_by_its_path_as_it_must_be_asked_for(said: Read) -> None:
    text = said(tables.print_result, of_folder("/models/my model"))
    assert 'autotune.load("/models/my model")' in text


def test_where_quality_was_not_measured_it_says_so(said: Read) -> None:
    text = said(tables.print_result, result_of(plan_of(quality=None)))
    assert "CLIP score not measured not measured" in text
    assert "paired difference" not in text


def test_of_made_up_weights_it_says_what_is_real(said: Read) -> None:
    task = task_of(card=CARD.model_copy(update={"weights": "random", "folder": "/models/small", "name": "small"}))
    text = said(tables.print_result, result_of(plan_of(quality=None, scope=task.scope), task=task))
    assert "Weights made up: latency and memory are real, quality is not measured." in text
    assert "autotune.load" not in text
    assert "made up" not in said(tables.print_result, result_of(plan_of(quality=None)))


def test_a_plan_that_was_not_raced_says_so(said: Read) -> None:
    text = said(tables.print_result, result_of(plan_of(raced=False)))
    assert "unmodified pipeline (not yet raced against the baseline), 95 % interval" in text


def test_a_baseline_that_is_not_the_unmodified_pipeline_is_said_to_be_none(said: Read) -> None:
    text = said(tables.print_result, result_of(plan_of(baseline=Recipe(turned={"offload": "model"}))))
    assert "4.00 times as fast as the baseline (offload=model), 95 % interval" in text
    assert "Baseline: offload=model, because the unmodified pipeline needs more memory than there is." in text
    assert "Baseline:" not in said(tables.print_result, result_of(plan_of()))


def test_no_plan(said: Read) -> None:
    text = said(tables.print_result, result_of(reason="nothing that was tried is faster"))
    assert text == "No plan: nothing that was tried is faster. The unmodified pipeline is kept."


def test_an_interrupted_search_says_how_to_go_on(said: Read) -> None:
    without = said(tables.print_result, result_of(reason="interrupted", interrupted=True))
    assert without.splitlines()[0] == "No plan: interrupted. The unmodified pipeline is kept."
    assert without.splitlines()[1] == "Interrupted: the same command goes on from here."

    with_one = said(tables.print_result, result_of(plan_of(raced=False), reason="interrupted", interrupted=True))
    assert "the same command goes on from here." in with_one
    assert "Ended after" not in with_one


def test_what_was_known_already_says_since_when(said: Read) -> None:
    text = said(tables.print_result, result_of(plan_of(), run=run_of("finished")))
    assert text.startswith("From the store: this was tuned on 2026-11-21; --fresh tunes it again.")


@pytest.mark.parametrize(("others", "line"), [(1, "1 other plan kept for"), (2, "2 other plans kept for")])
def test_other_plans_are_counted(said: Read, others: int, line: str) -> None:
    assert line in said(tables.print_result, result_of(plan_of(), *[plan_of(TOME)] * others))


def test_failures_are_listed_with_their_cause_in_one_line_each(said: Read) -> None:
    detail = "\x1b[31mRuntimeError\x1b[0m:\n  [enforce fail]\x07 not enough\x1b[2K memory \x9b5A"
    trials = (
        BASELINE,
        trial_of(1, BF16, None, "out_of_memory", detail=detail),
        trial_of(2, TOME, 700.0, "slow", detail="700 ms a call."),
        trial_of(3, BRACKETS, None, "crashed", detail="[/] " + "x" * 5000),
        trial_of(4, Recipe(turned={"a": 1}), None, "timeout"),
    )
    text = said(tables.print_result, result_of(trials=trials))

    assert "did not work because" in text
    assert "precision=bf16 out of memory: RuntimeError: [enforce fail] not enough memory 5A" in text
    assert "compile=[/red] [bold]x :smile: \\[" in text
    assert "a=1 timeout:" in text
    assert "tome_ratio=0.5" not in text
    assert text.count("x") < 400
    assert not [letter for letter in text if not letter.isprintable() and letter != "\n"]


def test_nothing_failed_nothing_is_listed(said: Read) -> None:
    assert "did not work" not in said(tables.print_result, result_of(plan_of()))


def test_brackets_and_colons_are_text(said: Read) -> None:
    gain = Gain(knob="[/bold]", choice="[red]", note=":boom: [link=x]")
    text = said(tables.print_result, result_of(plan_of(BRACKETS, gains=(gain,)), reason="[/] of :smile:"))
    assert f"3.90 to 4.10: {BRACKETS}" in text
    assert "[/bold]=[red] :boom: [link=x]" in text
    assert "because [/] of :smile:." in text
    assert "No plan: [/] of." in said(tables.print_result, result_of(reason="[/] of"))


def test_a_plan_without_a_knob_has_no_gains_to_show(said: Read) -> None:
    assert "times as fast" in said(tables.print_result, result_of(plan_of(gains=())))


def test_quality_is_judged_by_the_tolerance_of_the_scope(said: Read) -> None:
    scope = plan_of().scope.model_copy(update={"tolerance": 0.05})
    text = said(tables.print_result, result_of(plan_of(scope=scope, quality=quality_of(-1.0))))
    assert "95 % bound -1.00 (at least -1.50 is asked; 2 pairs)" in text


def test_an_answer_says_why_it_is_this_one_and_what_is_safer(said: Read) -> None:
    text = said(tables.print_answer, choose(FAMILY, WITH_GPU, {"cpu": 3 * GIB}, "0123"))
    assert text.startswith("shapes: precision=int8\nFastest of 3 plans that fits the 3.0 GiB of memory")
    assert "2.50 times as fast as the unmodified pipeline" in text
    assert "If memory runs short: precision=int4, which needs 1.1 GiB." in text
    assert f"Measured, 128x128, 20 steps, guidance 4, on 2026-11-22, plan {MIDDLE.id}." in text
    assert "Stale" not in text


def test_an_answer_that_is_stale_or_for_another_workload_says_so(said: Read) -> None:
    text = said(tables.print_answer, choose(FAMILY, WITH_GPU, {"cpu": GIB}, "new", Wish(steps=8)))
    assert "Stale: model revision 0123 -> new." in text
    assert "You asked for 128x128, 8 steps, guidance 4, and this was tuned for 128x128, 20 steps" in text
    assert "may not fit" in text
    assert "If memory runs short" not in text
    assert "Borrowed, 128x128" in text


def test_a_machine(said: Read) -> None:
    text = said(tables.print_machine, MACHINE)
    assert "CPU AMD EPYC (x86_64), 4 of 8 cores for this process" in text
    assert "avx2, avx512f" in text
    assert "memory 5.0 GiB free of 8.0 GiB" in text
    assert "accelerators none" in text
    assert "software torch 2.13.0, diffusers 0.42.1" in text
    assert f"fingerprint {MACHINE.fingerprint}" in text


def test_a_machine_with_a_gpu_and_notes(said: Read) -> None:
    text = said(tables.print_machine, WITH_GPU.model_copy(update={"notes": ("NVML [hangs].",)}))
    assert "cuda:0 A100, 70.0 GiB free of 80.0 GiB, driver 550.54" in text
    assert "accelerators none" not in text
    assert "NVML [hangs]." in text


def test_what_a_gpu_does_not_tell_is_left_out(said: Read) -> None:
    shy = WITH_GPU.accelerators[0].model_copy(update={"driver": None, "free_bytes": None})
    text = said(tables.print_machine, WITH_GPU.model_copy(update={"accelerators": (shy,)}))
    assert "cuda:0 A100, 80.0 GiB\n" in text


def test_a_bare_machine(said: Read) -> None:
    cpu = MACHINE.cpu.model_copy(update={"features": (), "model_name": "[unknown]"})
    bare = Machine.model_validate({**MACHINE.model_dump(), "cpu": cpu})
    text = said(tables.print_machine, bare)
    assert "CPU [unknown] (x86_64)" in text
    assert "no fast instructions known" in text


def test_a_dry_run_says_what_would_be_tried_and_what_would_not(said: Read) -> None:
    text = said(tables.print_dry_run, task_of(), SPACE, 240.0, as_json=False)
    assert "shapes (StableDiffusionPipeline) on cpu, 128x128, 20 steps, guidance 4" in text
    assert f"machine {MACHINE.fingerprint}, at most 4 min 0 s, 4 recipes:" in text
    assert "tome_ratio 0.0, 0.5" in text
    assert "left out: offload=model: there is nothing [to] offload from" in text


def test_a_dry_run_for_programs(said: Read) -> None:
    content = json.loads(said(tables.print_dry_run, task_of(), SPACE, 240.0, as_json=True))
    assert next(iter(content)) == "schema_version"
    assert content["recipes"] == SPACE.size == 4
    assert content["budget_s"] == 240
    assert content["choices"]["precision"] == ["fp32", "bf16"]
    assert content["refused"] == [
        {"knob": "offload", "choice": "model", "reason": "there is nothing [to] offload from"}
    ]
    assert content["scope"]["machine"] == MACHINE.fingerprint


def test_an_answer_says_how_to_start_the_program(said: Read) -> None:
    answer = choose(FAMILY, WITH_GPU, {"cpu": 3 * GIB}, "0123")
    assert "Start the program" not in said(tables.print_answer, answer)
    started = answer.model_copy(update={"environment": {"THP_MEM_ALLOC_ENABLE": "1"}})
    assert "Start the program with THP_MEM_ALLOC_ENABLE=1." in said(tables.print_answer, started)
