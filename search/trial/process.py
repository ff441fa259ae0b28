"""The parent's side of trials: a template to fork them from, and a handle for each."""

from __future__ import annotations

import fcntl
import json
import math
import os
import secrets
import select
import signal
import socket
import subprocess
import sys
import tempfile
import time
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import psutil

from ...errors import TrialProcessError
from .answers import parsed
from .failure import TrialFailure
from .silence import Silence
from .tree import MARK, own_bytes, resident_bytes, sweep, used_s
from .untouched import BY_NVML

if TYPE_CHECKING:
    from collections.abc import Mapping

    from ..measured import Outcome

ANSWER_LIMIT_BYTES = 4 * 2**20
LOG_TAIL_BYTES = 2000
LOG_LIMIT_BYTES = 64 * 2**20
"""What a trial prints beyond this is forgotten: one that shouts for ever must not fill the disk."""
START_LIMIT_S = 600  # importing torch and diffusers for the first time, from a disk far away
OWN_FAULT = 0.8
"""A trial that took less than this share of what was free did not make the machine run out of memory."""
WATCH_S = 0.25
KEPT_ENVIRONMENT = ("PATH", "HOME", "LANG", "LC_ALL", "TMPDIR", "LD_LIBRARY_PATH", "LD_PRELOAD", "CC", "CXX")
OF_DEVICES = ("CUDA_", "NVIDIA_VISIBLE_", "ROCR_", "HIP_", "ZE_", "ONEAPI_")
SAY_HOW_TO_WAIT = {"OMP_WAIT_POLICY", "GOMP_SPINCOUNT", "KMP_BLOCKTIME"}
KEPT_PREFIXES = ("OMP_", "GOMP_", "KMP_", "MKL_", "TORCHINDUCTOR_", "TRITON_", "PYTORCH_", "XDG_", *OF_DEVICES)


def trial_environment(more: Mapping[str, str] | None = None) -> dict[str, str]:
    """Return the environment of trials: built, not inherited, so that no token or key of the user's is in it.

    Threads that wait for others sleep, unless the user has said how they are to wait: spinning, they take the cores
    that the others need, and beside one busy process a call takes many times as long.

    more: what a recipe asks for beside. What it preloads comes before what the user preloads.
    """
    more = dict(more or {})
    if "LD_PRELOAD" in more and os.environ.get("LD_PRELOAD"):
        more["LD_PRELOAD"] += f":{os.environ['LD_PRELOAD']}"
    kept = {
        name: value for name, value in os.environ.items() if name in KEPT_ENVIRONMENT or name.startswith(KEPT_PREFIXES)
    }
    waiting = {} if kept.keys() & SAY_HOW_TO_WAIT else {"OMP_WAIT_POLICY": "PASSIVE"}
    return kept | {
        **waiting,
        "PYTHONPATH": os.pathsep.join(path for path in sys.path if path),
        "PYTHONDONTWRITEBYTECODE": "1",
        "DIFFUSERS_DISABLE_REMOTE_CODE": "1",
        "HF_HUB_OFFLINE": "1",
        "HF_HUB_DISABLE_TELEMETRY": "1",
        "HF_HUB_DISABLE_PROGRESS_BARS": "1",
        "TOKENIZERS_PARALLELISM": "false",
        "CI": "true",
        "NNCF_CI": "true",
        **BY_NVML,
        **more,
    }


class Template:
    """A running template process; `fork` gives a fresh trial from it."""

    def __init__(
        self,
        modules: tuple[str, ...],
        memory_limit_bytes: int | None = None,
        environment: Mapping[str, str] | None = None,
        silence_s: float = math.inf,
    ) -> None:
        """Prepare.

        modules: what the template imports; memory_limit_bytes: what a trial may take beyond that; environment: what
        it is started with beside what all are; silence_s: for how long a trial that is asked may use no processor.
        """
        self._environment = dict(environment or {})
        self._modules = modules
        self._memory_limit_bytes = memory_limit_bytes
        self.silence_s = silence_s
        self._process: subprocess.Popen[bytes] | None = None
        self.mark = secrets.token_hex(8)

    @property
    def pid(self) -> int:
        """The process that trials are forked from; 0 where there is none."""
        return self._process.pid if self._process else 0

    def __enter__(self) -> Self:
        """Start importing; the first fork waits until that is done."""
        self._logs = tempfile.TemporaryDirectory(prefix="autotune-trials-", ignore_cleanup_errors=True)
        self._start()
        return self

    def __exit__(self, *error: object) -> None:
        """End the template, and with it every trial."""
        self._stop()
        self._logs.cleanup()

    def fork(self) -> TrialProcess:
        """Return a fresh trial process. Raises TrialProcessError if the template cannot be brought to make one.

        A template that has died is started again, once.
        """
        try:
            return self._fork()
        except (TrialProcessError, OSError):
            self._stop()
            self._start()
            return self._fork()

    def _start(self) -> None:
        self._control, theirs = socket.socketpair()
        self._log = Path(self._logs.name) / "template.log"
        with self._log.open("wb") as log, theirs:
            self._process = subprocess.Popen(
                [sys.executable, "-m", f"{__package__}.template", str(theirs.fileno()), *self._modules],
                pass_fds=[theirs.fileno()],
                cwd=self._logs.name,
                env=trial_environment({**self._environment, MARK: self.mark}),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        self._ready = False

    def _stop(self) -> None:
        self._control.close()
        if self._process is None:
            return
        try:
            self._process.wait(timeout=5)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        if self._process.returncode:  # it could not end its trials, and what they have started has no parent now
            sweep(self.mark)

    def _fork(self) -> TrialProcess:
        ours, theirs = socket.socketpair()
        log = tempfile.NamedTemporaryFile(dir=self._logs.name, suffix=".log", delete=False)  # noqa: SIM115 - outlives us
        fcntl.fcntl(log, fcntl.F_SETFL, os.O_APPEND)  # so that it can be cut while it is written to
        try:
            with theirs, log:
                answer = self._exchange({"fork": True}, 10, theirs.fileno(), log.fileno())
        except BaseException:
            ours.close()
            raise
        return TrialProcess(self, answer["pid"], ours, Path(log.name), self._memory_limit_bytes)

    def end(self, pid: int, grace_s: float) -> int:
        """Kill a trial with all its children, and return its wait status (that of its own end if it had ended)."""
        return int(self._exchange({"end": pid, "grace_s": grace_s}, grace_s + 10)["status"])

    def _exchange(self, request: dict[str, Any], limit_s: float, *descriptors: int) -> dict[str, Any]:
        """Return the answer to a request. One that is broken off, by Ctrl-C too, is the last over this line.

        Its answer may still be on the way, and would be taken for that of the next request. The template ends
        when it is hung up on, and every trial with it.
        """
        try:
            if not self._ready:
                self._heard(START_LIMIT_S)
                self._ready = True
            socket.send_fds(self._control, [json.dumps(request).encode() + b"\n"], descriptors)
            return self._heard(limit_s)
        except BaseException:
            self._control.close()
            raise

    def _heard(self, limit_s: float) -> dict[str, Any]:
        self._control.settimeout(limit_s)
        try:
            line = self._control.makefile("rb", buffering=0).readline()
        except TimeoutError:
            line = b""
        if not line:
            msg = f"The process that trials are forked from has died or hangs. Its last words: {_tail(self._log)}"
            raise TrialProcessError(msg)
        answer: dict[str, Any] = json.loads(line)
        return answer


class TrialProcess:
    """One trial: ask it things; leaving the `with` block ends it and everything that it started."""

    def __init__(
        self, template: Template, pid: int, line: socket.socket, log: Path, memory_limit_bytes: int | None
    ) -> None:
        """Take over a forked process; only `Template.fork` calls this."""
        self.pid = pid
        self._template = template
        self._line = line
        self._log = log
        self._memory_limit_bytes = memory_limit_bytes
        tree = self._tree()
        self._before_bytes = self._taken_bytes = sum(map(resident_bytes, tree))
        self._before_own_bytes = sum(map(own_bytes, tree))
        self._oom_kills = _oom_kills()
        self._ended = False

    def __enter__(self) -> Self:
        """Nothing to do: it runs already."""
        return self

    def __exit__(self, *error: object) -> None:
        """End the process, whatever state it is in."""
        self._end(0)
        self._line.close()
        self._log.unlink(missing_ok=True)

    def ask(self, command: dict[str, Any], limit_s: float) -> dict[str, Any]:
        """Return the answer to a command. Raises TrialFailure with what happened instead.

        limit_s: wall seconds until the trial counts as hung and is killed; it is before, where it uses no processor for
        as long as the template says.
        """
        try:
            self._line.settimeout(max(0.001, limit_s))
            self._line.sendall(json.dumps(command).encode() + b"\n")
            text = self._answer(time.monotonic() + limit_s, limit_s)
        except TimeoutError:
            raise self._hung(limit_s) from None
        except OSError:
            text = b""
        if not text:
            raise self._died()
        return parsed(text)

    def _answer(self, deadline: float, limit_s: float) -> bytes:
        """Return the next line, empty at the end of the stream; kill on time, silence, size or memory."""
        text, silence = b"", Silence(sum(map(used_s, self._tree())))
        while not text.endswith(b"\n"):
            left_s = deadline - time.monotonic()
            if left_s <= 0:
                raise self._hung(limit_s)
            tree = self._tree()  # once a look: finding it means reading who is whose child of the whole machine
            self._check_silence(silence, tree)
            self._check_memory(tree)
            self._cut_log()
            has_left = self._has_left()  # asked first: what it said before it went is still to be read
            if not select.select([self._line], [], [], 0 if has_left else min(left_s, WATCH_S))[0]:
                if has_left:
                    return b""
                continue
            part = self._line.recv(2**16)
            if not part:
                return b""
            text += part
            if len(text) > ANSWER_LIMIT_BYTES:
                raise self._killed("crashed", f"The trial's answer is longer than {ANSWER_LIMIT_BYTES} bytes.")
        return text

    def _has_left(self) -> bool:
        """Return whether the trial itself has ended: a child of its own may keep the line open."""
        try:
            return psutil.Process(self.pid).status() == psutil.STATUS_ZOMBIE
        except psutil.NoSuchProcess:
            return True

    def _cut_log(self) -> None:
        with suppress(OSError):
            if self._log.stat().st_size > LOG_LIMIT_BYTES:
                os.truncate(self._log, 0)

    def _check_silence(self, silence: Silence, tree: list[psutil.Process]) -> None:
        lasted_s = silence.listen(sum(map(used_s, tree)))
        if lasted_s >= self._template.silence_s:  # that its threads wait for each other is chance
            detail = f"The trial used no processor for {lasted_s:.0f} s, so it waited for itself, and was ended."
            raise self._killed("timeout", detail, blameless=True)

    def _check_memory(self, tree: list[psutil.Process]) -> None:
        self._taken_bytes = sum(map(resident_bytes, tree))  # what they share counts for each of them
        limit = self._memory_limit_bytes
        if limit is None or self._taken_bytes - self._before_bytes <= limit:
            return
        taken = sum(map(own_bytes, tree)) - self._before_own_bytes  # asked only now, as it takes the kernel a while
        if taken > limit:
            detail = f"The trial took {taken / 2**30:.2f} GiB; {limit / 2**30:.2f} GiB were free for it."
            raise self._killed("out_of_memory", detail)

    def _tree(self) -> list[psutil.Process]:
        try:
            process = psutil.Process(self.pid)
            return [process, *process.children(recursive=True)]
        except psutil.Error:
            return []

    def _hung(self, limit_s: float) -> TrialFailure:
        return self._killed("timeout", f"The trial did not answer within {limit_s:.0f} s and was ended.")

    def _killed(self, outcome: Outcome, detail: str, *, blameless: bool = False) -> TrialFailure:
        self._end(0)
        return TrialFailure(outcome, detail, blameless)

    def _died(self) -> TrialFailure:
        """Return what a trial died of that closed its line without a word."""
        status = self._end(2)
        said = _tail(self._log)
        if status is None:
            return TrialFailure("crashed", _TEMPLATE_DIED, blameless=True)
        if os.WIFSIGNALED(status):
            number = os.WTERMSIG(status)
            if number == signal.SIGKILL and _oom_kills() > self._oom_kills:
                return self._killed_for_memory()
            return TrialFailure("crashed", f"The trial was ended by {_name_of(number)}. {said}".strip())
        code = os.waitstatus_to_exitcode(status)
        return TrialFailure("crashed", f"The trial left with exit code {code} and no answer. {said}".strip())

    def _killed_for_memory(self) -> TrialFailure:
        taken, free = self._taken_bytes - self._before_bytes, self._memory_limit_bytes
        ended = "The kernel ended the trial because the machine ran out of memory"
        if free is None or taken > OWN_FAULT * free:
            return TrialFailure("out_of_memory", f"{ended}.")
        what = f"{free / 2**30:.2f} GiB were free for it, and it had taken {taken / 2**30:.2f} GiB"
        return TrialFailure("out_of_memory", f"{ended}: {what}, so another program took the rest.", blameless=True)

    def _end(self, grace_s: float) -> int | None:
        """End the trial and return its status: 0 where that was done before, None where the template has died."""
        if self._ended:
            return 0
        self._ended = True
        try:
            return self._template.end(self.pid, grace_s)
        except (TrialProcessError, OSError):
            return None  # its trials died with it


_TEMPLATE_DIED = "The process that trials are forked from died, and this trial with it."


def _name_of(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:  # one of the real-time signals
        return f"signal {number}"


def _tail(log: Path) -> str:
    """Return the last words of a log."""
    try:
        with log.open("rb") as file:
            file.seek(max(0, log.stat().st_size - LOG_TAIL_BYTES))
            return file.read().decode(errors="replace").strip()
    except OSError:
        return ""


def _oom_kills() -> int:
    """Return how many processes the kernel has killed for want of memory since it started; 0 where it does not say."""
    try:
        lines = Path("/proc/vmstat").read_text(encoding="ascii").splitlines()
    except OSError:
        return 0
    return next((int(line.split()[1]) for line in lines if line.startswith("oom_kill ")), 0)
