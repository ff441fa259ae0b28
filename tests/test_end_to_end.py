"""The whole product as its user meets it: the real model, real trials, real processes."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import signal
import subprocess
import sys
import time
import urllib.request
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from PIL import Image

from autotune.search.measured import Trial
from autotune.search.plan import Plan
from autotune.search.verdict import LOOKS
from autotune.search.verify.architectures import ARCHITECTURES, Architecture
from autotune.store.store import Store

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = pytest.mark.slow

AUTOTUNE = [sys.executable, "-c", "from autotune.planner.cli import main; main()"]
LINK = Path(__file__).parents[1] / ".dev"
BUDGET_S, SITTINGS = 170, 4
SMALL = ("--size", "64x64", "--steps", "2", "--json")
PROMPT = "a large red circle on a blue background"


@dataclass
class User:
    """Somebody with a home of their own."""

    home: Path

    @property
    def environment(self) -> dict[str, str]:
        return {**os.environ, "AUTOTUNE_HOME": str(self.home), "PYTHONPATH": str(LINK)}

    def run(self, *arguments: str, limit_s: float = 400) -> subprocess.CompletedProcess[str]:
        command = [*AUTOTUNE, *arguments]
        return subprocess.run(
            command, env=self.environment, capture_output=True, text=True, timeout=limit_s, check=False
        )

    @contextmanager
    def start(self, *arguments: str) -> Iterator[subprocess.Popen[str]]:
        pipe, command = subprocess.PIPE, [*AUTOTUNE, *arguments]
        with subprocess.Popen(command, env=self.environment, stdout=pipe, stderr=pipe, text=True) as running:
            try:
                yield running
            finally:
                running.kill()

    def python(self, program: str, *arguments: str) -> str:
        command = [sys.executable, "-c", program, *arguments]
        done = subprocess.run(command, env=self.environment, capture_output=True, text=True, timeout=300, check=True)
        return done.stdout

    def store(self) -> Store:
        return Store.read(self.home / "data" / "autotune.db")


@pytest.fixture(scope="module")
def user(tmp_path_factory: pytest.TempPathFactory) -> User:
    """A user who tunes `shapes` for three minutes, and goes on where a busy machine did not get to an end."""
    user = User(tmp_path_factory.mktemp("home"))
    said = ""
    for _ in range(SITTINGS):
        started = time.monotonic()
        done = user.run("--model", "shapes", "--budget", f"{BUDGET_S}s", "--json")
        assert time.monotonic() - started < BUDGET_S + 20
        assert done.returncode in {0, 3}, done.stderr
        said += done.stdout
        plan = json.loads(done.stdout.splitlines()[-1])["plan"]
        if plan and plan["raced"]:
            break
    else:
        pytest.fail(f"there is no plan after {SITTINGS} sittings: {said[-4000:]}")
    (user.home / "events.jsonl").write_text(said)
    return user


def events(user: User) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (user.home / "events.jsonl").read_text().splitlines()]


def test_the_main_job_finds_a_plan_that_is_faster_and_as_good(user: User) -> None:
    plan = Plan.model_validate_json(json.dumps(events(user)[-1]["plan"]))
    assert plan.raced
    assert plan.speedup_low > 1
    assert plan.quality
    assert plan.quality.shortfall(plan.scope.tolerance) <= 0
    assert len(plan.quality.scores) >= LOOKS[0]
    assert {gain.knob for gain in plan.gains} == set(plan.recipe.turned)


def test_every_trial_that_was_told_is_in_the_store(user: User) -> None:
    told = [Trial.model_validate_json(json.dumps(e["trial"])) for e in events(user) if e["event"] == "trial_end"]
    with user.store() as store:
        run = store.runs("shapes")[0]
        assert list(run.trials) == told
        assert run.state == "finished"
        assert store.damage == ()
    assert told[0].recipe.key == "unmodified"
    assert len({trial.recipe.key for trial in told}) == len(told)


def test_it_is_answered_from_the_store_the_second_time(user: User) -> None:
    started = time.monotonic()
    again = user.run("--model", "shapes")
    assert again.returncode == 0, again.stderr
    assert "From the store" in again.stdout
    assert "autotune.load" in again.stdout
    assert time.monotonic() - started < 15


def test_the_plan_is_printed_without_a_daemon(user: User) -> None:
    said = user.run("plan", "shapes")
    assert said.returncode == 0, said.stderr
    assert "times as fast" in said.stdout
    answer = json.loads(user.run("plan", "shapes", "--json").stdout)
    assert answer["plan"]["recipe"]["turned"] == events(user)[-1]["plan"]["recipe"]["turned"]
    assert answer["stale"] is False


def test_the_report_shows_its_images_beside_the_baselines(user: User) -> None:
    file = user.home / "report.html"
    done = user.run("report", "shapes", "-o", str(file))
    assert done.returncode == 0, done.stderr
    page = file.read_text()
    assert "times as fast as the unmodified pipeline" in page
    assert page.count("data:image/png;base64,") == 3 * 6
    assert len(page) < 6 * 2**20


def test_the_daemon_gives_the_plan(user: User) -> None:
    with user.start("serve", "--port", "0") as daemon:
        try:
            assert daemon.stdout
            url = daemon.stdout.readline().split()[3]
            assert url.startswith("http://127.0.0.1:")
            with urllib.request.urlopen(f"{url}/v1/plan?model=shapes", timeout=10) as answer:  # noqa: S310 - our own url
                content = json.load(answer)
            assert content["plan"]["scope"]["model"] == "shapes"
            assert content["apply"] == content["plan"]["recipe"]["turned"]
        finally:
            daemon.send_signal(signal.SIGTERM)
        assert daemon.wait(20) == 143


def test_the_pipeline_gives_the_image_fast(user: User) -> None:
    program = f"""
import time, json, autotune
pipe = autotune.load("shapes")
pipe({PROMPT!r})
started = time.perf_counter()
image = pipe({PROMPT!r}).images[0]
seconds = time.perf_counter() - started
middle, corner = image.getpixel((64, 64)), image.getpixel((4, 4))
other = pipe({PROMPT!r}, width=64, height=64, num_inference_steps=2).images[0]
print(json.dumps([seconds, image.size, middle, corner, other.size, pipe.answer.plan.id]))
"""
    seconds, size, middle, corner, other_size, plan_id = json.loads(user.python(program).splitlines()[-1])
    plan = Plan.model_validate_json(json.dumps(events(user)[-1]["plan"]))
    assert plan_id == plan.id
    assert (size, other_size) == ([128, 128], [64, 64])
    assert middle[0] > 150 > middle[2], "the circle is red"
    assert corner[2] > 150 > corner[0], "the background is blue"
    assert seconds < 20


EXPORTING = f"""
import hashlib, json, sys
from pathlib import Path
import torch
import autotune
from autotune.planner.catalogue import find_model
from autotune.planner.choose import needs_bytes
from autotune.planner.exported import script_of
from autotune.store.store import Store

with Store.read() as store:
    plans = store.plans_of(store.runs("shapes")[0].id)
made = []
for plan in plans:
    pipe = autotune.load("shapes", max_memory_bytes=needs_bytes(plan))
    assert pipe.answer.plan == plan, (pipe.answer.plan.recipe, plan.recipe)
    image = pipe({PROMPT!r}, generator=torch.Generator().manual_seed(0)).images[0]
    made.append(hashlib.sha256(image.tobytes()).hexdigest())
    folder = Path(sys.argv[1], str(len(made)))
    folder.mkdir(parents=True)
    (folder / "script.py").write_text(script_of(find_model("shapes"), plan))
print(json.dumps(made))
"""


def test_the_script_of_every_plan_of_the_family_makes_the_image_of_load(user: User, tmp_path: Path) -> None:
    loaded = json.loads(user.python(EXPORTING, str(tmp_path)).splitlines()[-1])
    assert loaded
    without = "import sys, runpy; sys.modules['autotune'] = None; runpy.run_path('script.py')"  # importing it fails
    for number, digest in enumerate(loaded, 1):
        folder = tmp_path / str(number)
        command = [sys.executable, "-W", "ignore", "-c", without, PROMPT]
        done = subprocess.run(command, cwd=folder, env=user.environment, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        assert hashlib.sha256(Image.open(folder / "image-0.png").tobytes()).hexdigest() == digest


def test_ctrl_c_keeps_what_was_measured_and_the_next_run_goes_on(tmp_path: Path) -> None:
    user = User(tmp_path)
    few = ("--model", "shapes", "--steps", "5", "--budget", "300s", "--json")
    with user.start(*few) as tuning:
        ended = list(_until_trials(tuning, 2))
        tuning.send_signal(signal.SIGINT)
        rest, errors = tuning.communicate(timeout=60)
    assert tuning.returncode == 130, errors
    last = json.loads(rest.splitlines()[-1])
    assert (last["event"], last["interrupted"]) == ("done", True)
    assert last["plan"]["recipe"]["turned"] == ended[1]["recipe"]["turned"]
    with user.store() as store:
        assert store.runs("shapes")[0].state == "unfinished"
        kept = store.runs("shapes")[0].trials
    assert len(kept) >= 2

    plan = user.run("plan", "shapes")
    assert (plan.returncode, "not yet raced" in plan.stdout) == (0, True)

    with user.start(*few) as again:
        assert again.stdout
        prepared = json.loads(again.stdout.readline())
        assert prepared["state"] == "resumed"
        after = next(_until_trials(again, 1))
        again.send_signal(signal.SIGTERM)
        again.communicate(timeout=60)
    assert again.returncode == 143
    assert after["number"] == len(kept)
    assert after["recipe"] not in [trial.recipe.model_dump() for trial in kept]


def test_a_second_tuner_is_sent_away(tmp_path: Path) -> None:
    user = User(tmp_path)
    with user.start("--model", "shapes", *SMALL) as first:
        assert first.stdout
        first.stdout.readline()
        second = user.run("--model", "shapes")
        first.send_signal(signal.SIGINT)
        first.communicate(timeout=60)
    assert second.returncode == 5
    assert "Another autotune" in second.stderr


def test_nothing_is_left_when_the_tuner_is_killed(tmp_path: Path) -> None:
    import psutil

    user = User(tmp_path)
    with user.start("--model", "shapes", *SMALL) as tuning:
        next(_until_trials(tuning, 1))
        below = psutil.Process(tuning.pid).children(recursive=True)
        tuning.kill()
        tuning.communicate(timeout=20)
    assert below
    _, alive = psutil.wait_procs(below, timeout=10)
    assert alive == []
    with user.store() as store:
        assert store.runs("shapes")[0].trials[0].recipe.key == "unmodified"


def test_a_local_folder_is_tuned_for_latency_alone(tmp_path: Path) -> None:
    user = User(tmp_path / "home")
    folder = tmp_path / "tiny"
    subprocess.run(
        [sys.executable, str(Path(__file__).parent / "tiny.py"), str(folder)], check=True, env=user.environment
    )
    done = user.run("--model", str(folder), "--steps", "2", "--budget", "2trials")
    assert done.returncode in {0, 3}, done.stderr
    assert "not measured" in done.stdout or "No plan" in done.stdout
    assert "Traceback" not in done.stderr
    with user.store() as store:
        assert len(store.runs("tiny")[0].trials) == 2


def _until_trials(tuning: subprocess.Popen[str], count: int) -> Iterator[dict[str, Any]]:
    """Yield the next trials that a running search tells of."""
    assert tuning.stdout
    for line in tuning.stdout:
        event = json.loads(line)
        if event["event"] == "trial_end":
            count -= 1
            yield event["trial"]
        if not count:
            return


def test_made_up_weights_are_tuned_and_their_plan_is_tried_first_with_real_ones(
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    """A folder of a small model's configurations, and then the model itself."""
    user = User(tmp_path_factory.mktemp("home"))
    whole, bare = ARCHITECTURES[0].write(user.home / "whole"), user.home / "bare"
    words = ("*.safetensors", "vocab*", "merges*", "tokenizer.json")
    shutil.copytree(whole, bare, ignore=shutil.ignore_patterns(*words))
    done = user.run("--model", str(bare), "--weights", "random", "--budget", "2trials", *SMALL)
    assert done.returncode in {0, 3}, done.stderr
    trials = [line["trial"] for line in map(json.loads, done.stdout.splitlines()) if line["event"] == "trial_end"]
    assert (len(trials), trials[0]["outcome"]) == (2, "ok")
    assert not any(trial["quality"] for trial in trials)
    last = json.loads(done.stdout.splitlines()[-1])
    if last["plan"] is None:  # so small that nothing may be faster
        assert "nothing that was tried is faster" in last["reason"]
        return
    again = user.run("--model", str(whole), "--budget", "2trials", *SMALL)
    tried = [line["recipe"] for line in map(json.loads, again.stdout.splitlines()) if line["event"] == "trial_start"]
    assert tried[1] == last["plan"]["recipe"]["turned"], again.stderr
    assert user.run("plan", str(bare)).returncode != 0


FOR_ONE_IMAGE = {"sdxl", "sd3", "pixart", "sana", "ltx"}
"""Kinds that are tuned for the time of one image with loading, where nothing that takes long to load can win."""


@pytest.mark.filterwarnings("ignore")  # diffusers warns of what small models lack
@pytest.mark.parametrize("kind", ARCHITECTURES, ids=lambda kind: kind.name)
def test_every_kind_of_pipeline_ends_with_a_plan_or_says_that_nothing_is_faster(
    kind: Architecture, tmp_path: Path
) -> None:
    user, asked = User(tmp_path / "home"), kind.workload
    size, video = f"{asked.width}x{asked.height}", ["--frames", str(asked.frames)] * (asked.frames > 1)
    (tmp_path / "prompts.txt").write_text("a cat\na dog\na red cube\ntwo apples\na lake\na shop\nred silk\na sketch\n")
    prompts = ["--prompts", str(tmp_path / "prompts.txt")]
    folder = str(kind.save(tmp_path / kind.name))
    objective = ["--objective", "total", "--images", "1"] * (kind.name in FOR_ONE_IMAGE)
    done = user.run(
        "--model", folder, "--size", size, "--steps", "4", *video, *prompts, *objective, "--budget", "2trials", "--json"
    )
    assert "Traceback" not in done.stderr
    told = [json.loads(line) for line in done.stdout.splitlines()]
    assert told[0]["scope"]["workload"]["frames"] == asked.frames
    trials = [Trial.model_validate_json(json.dumps(line["trial"])) for line in told if line["event"] == "trial_end"]
    assert [trial.recipe.key for trial in trials][:1] == ["unmodified"], done.stderr
    assert {trial.outcome for trial in trials} <= {"ok", "slow"}, [trial.detail for trial in trials]
    if told[-1]["plan"]:
        assert done.returncode == 0
        assert Plan.model_validate_json(json.dumps(told[-1]["plan"])).speedup_low > 1
    else:
        assert done.returncode == 3
        assert "nothing that was tried is faster" in told[-1]["reason"]
