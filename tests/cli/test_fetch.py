"""Models of the hub on the command line: fetched, asked about, tuned; and what is left when that is interrupted."""

from __future__ import annotations

import json
import os
import pty
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from autotune.errors import ModelError
from autotune.planner.catalogue import asked_as, find_model
from autotune.planner.cli.progress import Tale
from autotune.planner.hub.cache import shared_cache, storage
from autotune.planner.hub.fetch import fetch
from autotune.planner.load import load
from autotune.planner.tune import Fetching, Unpacking
from autotune.search.verify.architectures import ARCHITECTURES

from ..folders import write_model
from ..hub_server import TOKEN, Hub, reachable
from .results import prepared
from .test_main import AUTOTUNE, check_one_sentence, run

REPO = "org/small"


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    """A hub with one small model."""
    with reachable(tmp_path / "hf", monkeypatch) as hub:
        hub.commit(REPO, write_model(tmp_path / "model"))
        yield hub


def test_it_says_where_the_model_lies_and_how_large_it_is(hub: Hub) -> None:
    commit = hub.repos[REPO][0][0]
    folder = storage(shared_cache(), REPO) / "snapshots" / commit

    said = run("fetch", REPO)

    assert (said.code, said.err) == (0, "")
    assert said.out == f"{REPO}: 0 MiB, commit {commit[:12]}\n{folder}\n"
    size = sum(file.stat().st_size for file in folder.rglob("*") if file.is_file())
    facts = {"schema_version": 1, "model": REPO, "commit": commit, "folder": str(folder), "bytes": size}
    assert json.loads(run("fetch", f"{REPO}@{commit}", "--json").out) == {**facts, "model": f"{REPO}@{commit}"}


def test_a_model_that_may_not_be_had_is_one_sentence_without_the_token(hub: Hub) -> None:
    hub.gated.add(REPO)

    said = run("fetch", REPO, HF_TOKEN=TOKEN)

    check_one_sentence(said, 7)
    assert "is gated" in said.err
    assert TOKEN not in said.out + said.err
    assert f"Bearer {TOKEN}" in hub.tokens.values(), "the client sends it"


def test_what_is_no_model_of_the_hub_is_not_fetched(hub: Hub) -> None:
    check_one_sentence(run("fetch", "shapes"), 2)
    check_one_sentence(run("--model", REPO, "--weights", "somewhere"), 2)
    assert not hub.asked


@pytest.mark.slow
def test_without_its_weights_a_model_is_known_but_not_tuned(hub: Hub) -> None:
    said = run("--model", REPO)

    check_one_sentence(said, 7)
    assert f"`autotune --model {REPO} --weights hub`" in said.err
    assert REPO in run("--model", REPO, "--dry-run").out
    assert not hub.sent_bytes


def test_a_model_of_the_hub_is_found_again_by_its_name(hub: Hub) -> None:
    commit = hub.repos[REPO][0][0]
    card = find_model(REPO).card
    assert (card.name, card.weights, asked_as(card)) == (REPO, "none", REPO)
    with pytest.raises(ModelError, match="autotune --model org/small --weights hub"):
        load(REPO)

    fetch(REPO)

    model = find_model(REPO)
    assert (model.card.weights, model.workload.width) == ("files", 64)
    assert asked_as(find_model(f"{REPO}@{commit}").card) == f"{REPO}@{commit}"


def test_a_folder_that_is_called_so_comes_first(hub: Hub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_model(tmp_path / REPO)
    monkeypatch.chdir(tmp_path)

    assert find_model(REPO).card.folder == str(tmp_path / REPO)
    assert not hub.asked


@pytest.mark.parametrize(("by", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGKILL, -9)])
def test_nothing_goes_on_after_it_was_ended(hub: Hub, by: signal.Signals, code: int) -> None:
    """Whoever ends the command ends the download too, even where the command could not say goodbye."""
    hub.cut_after_bytes, hub.hold = 8, True
    with subprocess.Popen([*AUTOTUNE, "fetch", REPO], stderr=subprocess.PIPE, text=True) as running:
        assert hub.held.wait(60)
        (child,) = psutil.Process(running.pid).children()
        running.send_signal(by)
        said = running.communicate(timeout=30)[1]
    assert running.returncode == code
    assert said in {"autotune: Interrupted.\n", ""}
    assert psutil.wait_procs([child], timeout=10)[1] == []


ON_A_TERMINAL = """
from autotune.planner.cli.progress import fetch_reporter
with fetch_reporter("org/[red]x") as tell:
    tell(2**20, 2**21)
"""


def test_on_a_terminal_there_is_a_line_that_says_how_far_it_is() -> None:
    ours, theirs = pty.openpty()
    with os.fdopen(ours, "rb", buffering=0) as screen:
        environment = {**os.environ, "TERM": "xterm", "COLUMNS": "120"}
        done = subprocess.run([sys.executable, "-c", ON_A_TERMINAL], stderr=theirs, env=environment, check=True)
        os.close(theirs)
        shown = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", screen.read(65536).decode())
    assert done.returncode == 0
    assert "Fetching org/[red]x" in shown
    assert "1.0/2.0 MiB" in shown


def test_a_tuning_that_fetches_says_so_once_and_shows_how_far_it_is() -> None:
    tale = Tale()

    assert tale.tell(Fetching(REPO, 2**30, 2**32)) == [f"Fetching {REPO}: 4.0 GiB"]
    assert tale.tell(Fetching(REPO, 2**31, 2**32)) == []
    assert tale.now() == f"Fetching {REPO}: 2.0 GiB of 4.0 GiB"


def test_a_file_that_is_unpacked_says_how_far_it_is() -> None:
    tale = Tale()
    assert tale.tell(Fetching("a.gguf", 2**30, 2**30)) == ["Fetching a.gguf: 1.0 GiB"]
    assert tale.tell(Unpacking("a.gguf", 2**30, 2**32)) == ["Unpacking a.gguf: 4.0 GiB"]
    assert tale.tell(Unpacking("a.gguf", 2**31, 2**32)) == []
    assert tale.now() == "Unpacking a.gguf: 2.0 GiB of 4.0 GiB"
    tale.tell(prepared())
    assert tale.now().startswith("Looking at the machine, at most 4 min 0 s left")


@pytest.mark.slow
def test_weights_are_fetched_and_then_tuned_without_the_hub(hub: Hub, tmp_path: Path) -> None:
    pixart = next(each for each in ARCHITECTURES if each.name == "pixart")
    hub.commit("org/pixart", pixart.write(tmp_path / "pixart"))
    tuning = ("--model", "org/pixart", "--steps", "2", "--size", "32", "--budget", "1trials", "--json")

    said = run(*tuning, "--weights", "hub", HF_TOKEN=TOKEN)

    assert said.code == 3, said  # the baseline alone is no plan
    events = [json.loads(line) for line in said.out.splitlines()]
    kinds = [event["event"] for event in events]
    assert kinds[0] == "fetch"
    assert "fetch" not in kinds[kinds.index("prepared") :]
    assert events[kinds.index("prepared")]["scope"]["model"] == "org/pixart"
    trial = next(event["trial"] for event in events if event["event"] == "trial_end")
    assert trial["outcome"] == "ok", trial
    assert TOKEN not in said.out + said.err
    assert all(TOKEN.encode() not in file.read_bytes() for file in tmp_path.rglob("*") if file.is_file())

    hub.asked.clear()
    again = run(*tuning, "--weights", "hub", HF_HUB_OFFLINE="1")
    assert json.loads(again.out.splitlines()[0])["event"] == "prepared"
    assert not hub.asked
