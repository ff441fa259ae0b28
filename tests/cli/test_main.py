"""The command line: one sentence and one exit code for everything that can go wrong, and JSON that is nothing else."""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib.metadata import version
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import typer

from autotune import errors
from autotune.errors import AutotuneError
from autotune.planner.catalogue import find_model
from autotune.planner.choose import Answer
from autotune.planner.cli.main import _INTERRUPTED_BY, app, main
from autotune.planner.lock import the_only_tuner
from autotune.probes import machine as probes
from autotune.probes.machine import Machine, probe
from autotune.store.places import data_dir, state_dir
from autotune.store.store import FILE_NAME

from ..daemon.family import keep, plan_of
from ..folders import write_model
from ..planner.test_estimate import MACHINES

AUTOTUNE = [sys.executable, "-c", "from autotune.planner.cli import main; main()"]


class Said(NamedTuple):
    """How a run ended."""

    code: int
    out: str
    err: str


def run(*arguments: str, **environment: str) -> Said:
    """Run the command in a process of its own."""
    plain = {name: value for name, value in os.environ.items() if name not in {"FORCE_COLOR", "TTY_COMPATIBLE"}}
    done = subprocess.run(
        [*AUTOTUNE, *arguments],
        env={**plain, **environment},
        capture_output=True,
        text=True,
        check=False,
        stdin=subprocess.DEVNULL,
        timeout=60,
    )
    return Said(done.returncode, done.stdout, done.stderr)


@pytest.fixture
def here(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., Said]]:
    """Run the command in this process, which is quicker."""
    before = signal.getsignal(signal.SIGTERM)

    def run_here(*arguments: str) -> Said:
        monkeypatch.setattr(sys, "argv", ["autotune", *arguments])
        with pytest.raises(SystemExit) as leaving:
            main()
        out, err = capsys.readouterr()
        return Said(int(leaving.value.code or 0), out, err)

    yield run_here
    signal.signal(signal.SIGTERM, before)
    del _INTERRUPTED_BY[1:]


@pytest.fixture
def model(tmp_path_factory: pytest.TempPathFactory) -> str:
    """The folder of a model; outside the folder where autotune keeps its files."""
    return str(write_model(tmp_path_factory.mktemp("models") / "small"))


def files_below(folder: Path) -> dict[str, bytes]:
    return {str(file): file.read_bytes() if file.is_file() else b"" for file in folder.rglob("*")}


def check_one_sentence(said: Said, code: int) -> None:
    """Check that a run ended with this code, one line that helps, and no traceback."""
    assert said.code == code, said
    assert said.out == ""
    assert said.err.startswith("autotune: "), said.err
    assert said.err.endswith(".\n")
    assert said.err.count("\n") == 1, said.err
    assert "Traceback" not in said.err
    assert "\x1b" not in said.err


def test_every_exit_code_is_that_of_the_table() -> None:
    """The table in errors.py is the one that the documentation and scripts go by."""
    table = dict(re.findall(r"(\w+Error) +(\d+) ", errors.__doc__ or ""))
    assert {kind.__name__: str(kind.exit_code) for kind in AutotuneError.__subclasses__()} == table


class TestWhatGoesWrong:
    """Each exit code, by a real run; the store is what it was before."""

    @pytest.fixture(autouse=True)
    def _kept(self) -> None:
        keep()

    @contextmanager
    def unchanged(self, home: Path) -> Iterator[None]:
        before = files_below(home)
        assert str(home / "data" / FILE_NAME) in before
        yield
        assert files_below(home) == before

    def test_2_an_argument_that_cannot_be_meant(self, tmp_path: Path, model: str) -> None:
        with self.unchanged(tmp_path):
            said = run("--model", model, "--budget", "-5m")
        check_one_sentence(said, 2)
        assert "A budget must be more than nothing; '-5m' was given." in said.err

    def test_3_no_plan(self, tmp_path: Path, model: str) -> None:
        with self.unchanged(tmp_path):
            said = run("plan", model)
        check_one_sentence(said, 3)
        assert f"There is no plan for {model} yet" in said.err
        assert f"`autotune --model {model}` measures" in said.err

    def test_5_another_tuner_holds_the_machine(self, tmp_path: Path, model: str) -> None:
        with the_only_tuner(), self.unchanged(tmp_path):
            said = run("--model", model)
        check_one_sentence(said, 5)
        assert "Another autotune measures on this machine" in said.err
        assert "tuner.lock" in said.err

    def test_6_the_port_is_taken(self, tmp_path: Path) -> None:
        lock = tmp_path / "state" / "daemon.lock"  # by which one daemon waits for another; it stays, and is empty
        lock.parent.mkdir(exist_ok=True)
        lock.touch()
        with socket.create_server(("127.0.0.1", 0)) as other, self.unchanged(tmp_path):
            said = run("serve", "--port", str(other.getsockname()[1]))
        check_one_sentence(said, 6)
        assert "another program listens there" in said.err

    @pytest.mark.parametrize("command", ["status", "stop"])
    def test_6_no_daemon_lives(self, tmp_path: Path, here: Callable[..., Said], command: str) -> None:
        with self.unchanged(tmp_path):
            said = here(command)
        check_one_sentence(said, 6)
        assert "No daemon lives on this machine" in said.err

    def test_7_no_such_model(self, tmp_path: Path) -> None:
        with self.unchanged(tmp_path):
            said = run("--model", "shaeps")
        check_one_sentence(said, 7)
        assert "There is no model 'shaeps'. Did you mean shapes?" in said.err

    def test_8_the_store_is_damaged(self, tmp_path: Path, model: str) -> None:
        (data_dir() / FILE_NAME).write_bytes(b"This is no database. " * 1000)
        with self.unchanged(tmp_path):
            said = run("plan", model)
        check_one_sentence(said, 8)
        assert f"{data_dir() / FILE_NAME} is damaged" in said.err

    def test_8_the_store_is_damaged_and_nothing_is_tried(self, tmp_path: Path, model: str) -> None:
        (data_dir() / FILE_NAME).write_bytes(b"This is no database. " * 1000)
        with the_only_tuner():
            pass  # its file is there from now on
        with self.unchanged(tmp_path):
            said = run("--model", model)
        check_one_sentence(said, 8)
        assert "run `autotune doctor --repair`" in said.err


class TestUsage:
    """Exit code 2: nothing was looked at, and nothing is kept."""

    @pytest.fixture(autouse=True)
    def _nothing_is_touched(self, tmp_path: Path) -> Iterator[None]:
        yield
        assert files_below(tmp_path) == {}

    @pytest.mark.parametrize(
        ("option", "value", "said"),
        [
            ("--budget", "soon", "A budget is a time such as 90s, 20m or 1h"),
            ("--budget", "0", "A budget must be more than nothing"),
            ("--budget", "-3trials", "A budget must be more than nothing"),
            ("--tolerance", "a lot", "A tolerance is a share of the score such as 1%"),
            ("--tolerance", "100%", "A tolerance is a share of the score"),
            ("--tolerance", "-1%", "A tolerance is a share of the score"),
            ("--size", "big", "A size is WIDTHxHEIGHT in pixels"),
            ("--size", "100x100", "each a multiple of 8"),
            ("--steps", "0", "steps must be more than 0, and 0 was given"),
            ("--steps", "-20", "steps must be more than 0"),
            ("--steps", "many", "Invalid value for '--steps'"),
            ("--batch", "0", "batch must be more than 0"),
            ("--batch", "1.5", "Invalid value for '--batch'"),
            ("--frames", "0", "frames must be more than 0"),
            ("--frames", "5", "StableDiffusionPipeline makes images, and no frames, and 5 frames were asked"),
            ("--guidance", "-1", "guidance must be a number from 0 on, and -1 was given"),
            ("--guidance", "inf", "guidance must be a number from 0 on"),
            ("--guidance", "nan", "guidance must be a number from 0 on"),
            ("--prompts", "/nowhere/prompts.txt", "The prompts in /nowhere/prompts.txt cannot be read"),
        ],
    )
    def test_amounts(self, here: Callable[..., Said], model: str, option: str, value: str, said: str) -> None:
        found = here("--model", model, option, value)
        check_one_sentence(found, 2)
        assert said in found.err

    @pytest.mark.parametrize(
        ("arguments", "said"),
        [
            ("", "Say what to tune with --model"),
            ("--model=", "Say what to tune with --model"),
            ("--dry-run", "Say what to tune with --model"),
            ("--nonsense", "No such option: --nonsense"),
            ("--modle x", "--model"),
            ("--model", "requires an argument"),
            ("nonsense", "No such command 'nonsense'"),
            ("plan", "Missing argument '[export] MODEL | import FOLDER'"),
            ("plan x y", "One model is asked for at a time, and x y was given"),
            ("plan x --format json", "--format is of `autotune plan export x`"),
            ("plan x --max-memory lots", "An amount of memory is a number of bytes"),
            ("plan shapes --steps 0", "steps=0 was given: Input should be greater than or equal to 1"),
            ("plan shapes --guidance nan", "guidance=nan was given"),
            ("plan shapes --size wide", "A size is WIDTHxHEIGHT"),
            ("explain shapes --frames 0", "frames must be more than 0"),
            ("explain shapes --frames 2", "makes images, and no frames, and 2 frames were asked"),
            ("plan --nonsense x", "No such option: --nonsense"),
            ("--model x plan x", "--model stands before a command"),
            ("--json probe", "--json stands before a command"),
            ("--dry-run serve", "--dry-run stands before a command"),
            ("serve --port many", "Invalid value for '--port'"),
            ("serve --port 65536", "A port is a number from 0 to 65535"),
            ("serve --host 0.0.0.0", "ssh -L"),
        ],
    )
    def test_arguments(self, here: Callable[..., Said], arguments: str, said: str) -> None:
        found = here(*arguments.split())
        check_one_sentence(found, 2)
        assert said in found.err

    def test_a_scorer_that_is_none(self, here: Callable[..., Said], model: str) -> None:
        found = here("--model", model, "--scorer", model)
        check_one_sentence(found, 2)
        assert "holds no CLIP model" in found.err


@pytest.mark.parametrize("command", [["plan"], ["--model"]])
def test_a_folder_that_is_no_model(here: Callable[..., Said], tmp_path: Path, command: list[str]) -> None:
    found = here(*command, str(tmp_path))
    check_one_sentence(found, 7)
    assert "is not a diffusers model folder: it has no model_index.json" in found.err
    assert not list(tmp_path.iterdir())


class TestHome:
    """Exit code 8: there is no place for what is measured, and it is said before anything is measured."""

    def test_a_file_is_in_its_way(
        self, here: Callable[..., Said], model: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        (tmp_path / "file").write_text("precious")
        monkeypatch.setenv("AUTOTUNE_HOME", str(tmp_path / "file"))
        found = here("--model", model)
        check_one_sentence(found, 8)
        assert "a file is in its way: move that file away, or set AUTOTUNE_HOME" in found.err
        assert (tmp_path / "file").read_text() == "precious"

    @pytest.mark.skipif(not Path("/proc/self").exists(), reason="takes a folder that even root cannot write to")
    def test_it_cannot_be_made(self, here: Callable[..., Said], model: str, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("AUTOTUNE_HOME", "/proc/autotune")
        found = here("--model", model)
        check_one_sentence(found, 8)
        assert "cannot be made" in found.err

    def test_it_may_not_be_written_to(self, here: Callable[..., Said], model: str, tmp_path: Path) -> None:
        tmp_path.chmod(0o500)
        if os.access(tmp_path, os.W_OK):
            pytest.skip("root may write everywhere")
        found = here("--model", model)
        check_one_sentence(found, 8)
        assert "set AUTOTUNE_HOME to a folder that you can write to" in found.err

    def test_its_lock_cannot_be_taken(self, here: Callable[..., Said], model: str) -> None:
        (state_dir() / "tuner.lock").mkdir()
        found = here("--model", model)
        check_one_sentence(found, 8)
        assert "tuner.lock cannot be locked" in found.err


class TestBugs:
    """Exit code 1: a sentence says that it is a bug, and where the details are."""

    @pytest.fixture(autouse=True)
    def _bug(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.error = ArithmeticError("two and two is five")

        def broken() -> Machine:
            raise self.error

        monkeypatch.setattr(probes, "probe", broken)

    def test_the_details_are_kept(self, here: Callable[..., Said]) -> None:
        self.error.add_note("\udcff")  # part of a path that is no text
        found = here("probe")
        check_one_sentence(found, 1)
        file = state_dir() / "last-error.txt"
        assert f"The details are in {file}." in found.err
        assert "ArithmeticError: two and two is five" in found.err
        assert "Traceback" in file.read_text()

    def test_where_they_cannot_be_kept_they_are_shown(
        self, here: Callable[..., Said], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        (tmp_path / "file").write_text("")
        monkeypatch.setenv("AUTOTUNE_HOME", str(tmp_path / "file"))
        found = here("probe")
        assert found.code == 1
        assert "which is a bug in it: Traceback" in found.err


def test_debug_shows_where_an_error_comes_from(here: Callable[..., Said]) -> None:
    found = here("--debug", "--model", "nothing-like-it")
    assert found.code == 7
    assert "Traceback" in found.err
    assert found.err.splitlines()[-1].startswith("autotune: There is no model")


class TestJson:
    """What a program reads is one document, and nothing else is on standard output or standard error."""

    def document(self, said: Said) -> Any:
        assert said.code == 0
        assert said.err == ""
        return json.loads(said.out)

    def test_the_machine(self, here: Callable[..., Said]) -> None:
        machine = Machine.model_validate_json(json.dumps(self.document(here("probe", "--json"))))
        assert machine.lasting() == probe().lasting()

    def test_a_plan(self, here: Callable[..., Said], model: str) -> None:
        card, machine = find_model(model).card, probe()
        scope: dict[str, Any] = {
            "machine": machine.fingerprint,
            "software": machine.software.key,
            "revision": card.revision,
        }
        keep([plan_of(model="small", peak_bytes=1000, **scope)], machine)
        answer = Answer.model_validate_json(json.dumps(self.document(here("plan", model, "--json"))))
        assert answer.model == "small"
        assert answer.fits
        assert not answer.stale
        too_little = self.document(here("plan", model, "--json", "--max-memory", "1KiB"))
        assert not too_little["fits"]
        asked = self.document(here("plan", model, "--json", "--size", "64x32", "--steps", "7", "--guidance", "1.5"))
        called = {"width": 64, "height": 32, "num_inference_steps": 7, "guidance_scale": 1.5}
        assert {name: asked["call"][name] for name in called} == called
        assert "7 steps" in asked["asked"]

    def test_a_dry_run(self, here: Callable[..., Said], model: str) -> None:
        asked = ["--budget", "1h", "--steps", "7", "--guidance", "0", "--batch", "2"]
        content = self.document(here("--model", model, "--dry-run", "--json", *asked))
        assert content["scope"]["model"] == "small"
        workload = content["scope"]["workload"]
        assert (workload["steps"], workload["guidance"], workload["batch"]) == (7, 0, 2)
        assert content["budget_s"] == 3600
        assert content["recipes"] > 0


@pytest.mark.parametrize("how", [[], ["--json"]])
def test_a_dry_run_changes_nothing(here: Callable[..., Said], model: str, tmp_path: Path, how: list[str]) -> None:
    found = here("--model", model, "--dry-run", *how)
    assert found.code == 0
    assert "\x1b" not in found.out
    assert files_below(tmp_path) == {}

    keep()
    before = files_below(tmp_path)
    here("--model", model, "--dry-run", *how)
    assert files_below(tmp_path) == before


@pytest.mark.parametrize("environment", [{}, {"NO_COLOR": "1", "TERM": "xterm-256color"}])
def test_without_a_terminal_nothing_is_coloured(environment: dict[str, str]) -> None:
    said = run("probe", **environment)
    assert said.code == 0
    assert said.err == ""
    assert "\x1b" not in said.out
    assert "fingerprint" in said.out


HELP = """
import resource, sys
from autotune.planner.cli import main
sys.argv = ["autotune", *sys.argv[1:]]
try:
    main()
finally:
    used = resource.getrusage(resource.RUSAGE_SELF)
    print(used.ru_utime + used.ru_stime, *{name.partition(".")[0] for name in sys.modules}, file=sys.stderr)
"""
HEAVY = {"torch", "diffusers", "transformers", "optuna", "numpy", "sqlite_utils", "fastapi", "uvicorn"}


@pytest.mark.parametrize("arguments", [["--help"], ["plan", "--help"], ["--version"]])
def test_help_is_there_at_once(arguments: list[str]) -> None:
    """A second of processor time is ten times what it takes; importing torch alone would take more."""
    done = subprocess.run([sys.executable, "-c", HELP, *arguments], capture_output=True, text=True, check=True)
    seconds, *loaded = done.stderr.split()
    assert "typer" in loaded
    assert HEAVY.isdisjoint(loaded)
    assert float(seconds) < 1


def test_a_card_without_weights_is_shown_without_torch() -> None:
    command = [sys.executable, "-c", HELP, "show", "flux-dev", "--json"]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert {"torch", "diffusers", "transformers"}.isdisjoint(done.stderr.split())
    shown = json.loads(done.stdout)
    assert shown["model"] == "flux-dev"
    assert shown["weights_here"] is False


def test_what_needs_no_weights_works_without_them(here: Callable[..., Said], tmp_path: Path) -> None:
    described = tmp_path / "machine.json"
    described.write_text(MACHINES["80 GB"].model_dump_json())
    assert "22.2 GiB" in here("show", "flux-dev").out
    assert "flux-dev (FluxPipeline) on" in here("--model", "flux-dev", "--dry-run").out
    assert "has not been tuned here" in here("explain", "flux-dev").out
    assert "Predicted, not measured" in here("plan", "flux-dev", "--machine", str(described)).out
    assert "Begin with compile=regional precision=bf16" in here("estimate", "flux-dev", "--machine", str(described)).out


def test_a_machine_that_is_not_here_is_asked_for(here: Callable[..., Said], tmp_path: Path) -> None:
    described = tmp_path / "machine.json"
    described.write_text(MACHINES["laptop with 8 GB"].model_dump_json())
    predicted = json.loads(here("plan", "flux-dev", "--machine", str(described), "--json").out)
    assert (predicted["known"], predicted["fits"]) == ("predicted", True)
    assert predicted["apply"]["offload"] == "model"
    assert here("plan", "flux-dev", "--machine", str(described), "--max-memory", "1GiB").code == 3

    described.write_text('{"cpu": 3}')
    check_one_sentence(here("plan", "flux-dev", "--machine", str(described)), 2)
    check_one_sentence(here("estimate", "flux-dev", "--machine", str(tmp_path / "nothing")), 2)


def test_tuning_without_weights_is_refused_with_what_would_work(here: Callable[..., Said]) -> None:
    found = here("--model", "flux-dev")
    assert found.code == 7
    assert "31.4 GiB of black-forest-labs/FLUX.1-dev" in found.err
    assert "--weights hub" in found.err


def test_every_command_and_every_option_has_help() -> None:
    command: Any = typer.main.get_command(app)
    commands = {"": command, **command.commands}
    asked = {"estimate", "explain", "plan", "probe", "show"}
    assert {*commands} == {
        "",
        "compare",
        "dashboard",
        "doctor",
        "export-trials",
        "fetch",
        "jobs",
        "replay",
        "report",
        "serve",
        "spot",
        "status",
        "stop",
        "sweep",
        "verify",
    } | asked
    for name, each in commands.items():
        assert each.help, name
        for parameter in each.params:
            assert parameter.help, f"{name} {parameter.name}"


def test_no_help_text_is_cut_short(here: Callable[..., Said], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    found = here("--help")
    assert found.code == 0
    assert found.err == ""
    assert "..." not in found.out.partition("\n")[2].partition("Options:")[2]
    for name in ("--model", "--budget", "--tolerance", "--dry-run", "--json", "plan", "probe", "serve"):
        assert name in found.out


def test_the_version_is_that_of_the_distribution(here: Callable[..., Said]) -> None:
    assert here("--version") == Said(0, version("autotune-diffusers") + "\n", "")


def test_the_installed_command_is_this_one() -> None:
    command = Path(sys.executable).parent / "autotune"
    assert command.exists(), "pip install . puts it beside the interpreter"
    done = subprocess.run([command, "--model", "shaeps"], capture_output=True, text=True, check=False)
    check_one_sentence(Said(done.returncode, done.stdout, done.stderr), 7)


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_ends_it_with_a_code_of_its_own(number: signal.Signals, code: int, tmp_path: Path) -> None:
    command = [*AUTOTUNE, "serve", "--port", "0"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as child:
        assert child.stdout
        try:
            assert "autotune listens on" in child.stdout.readline()
            child.send_signal(number)
            _, err = child.communicate(timeout=30)
        finally:
            child.kill()
    assert child.returncode == code
    assert "Traceback" not in err
    assert not [file for file in files_below(tmp_path) if file.endswith("daemon.json")]


def test_whoever_reads_half_of_it_hears_no_complaint() -> None:
    with subprocess.Popen([*AUTOTUNE, "--help"], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as child:
        assert child.stdout
        child.stdout.close()
        assert child.stderr
        err = child.stderr.read()
    assert err == ""
    assert child.returncode == 128 + signal.SIGPIPE
