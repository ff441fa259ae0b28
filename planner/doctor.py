"""What may keep autotune from working here, or make it unsafe: found, explained, and mended where that can be done."""

from __future__ import annotations

import re
import shutil
import stat
from collections.abc import Callable, Iterable, Iterator
from importlib import metadata
from pathlib import Path
from typing import Literal

from ..errors import AutotuneError, DaemonError, StoreError, UnfitError
from ..probes.machine import Machine, probe
from ..store.backups import copies_of
from ..store.places import cache_dir, data_dir, state_dir
from ..store.repair import Repaired, damage_of, newest_sound_copy, repair
from ..store.store import FILE_NAME, Store
from ..value import Value
from .client import Client
from .daemon import state as daemon_state
from .daemon import token as daemon_token
from .lock import the_only_tuner

State = Literal["good", "warning", "problem"]

FLOORS = {
    "torch": ("2.10", "weights_only=True could be got around (CVE-2025-32434, CVE-2026-24747)"),
    "diffusers": ("0.38", "code of a repository ran though that was switched off (CVE-2026-44513, CVE-2026-44827)"),
    "transformers": ("5.3", "a config.json could run code (CVE-2026-4372)"),
    "starlette": ("1.10", "the size of a request has no limit"),
    "fastapi": ("0.165", "a body is read whatever type it says it is"),
}
"""The oldest version of each library that is safe to use here, and what older ones do."""

LEAST_BYTES = 100 * 2**20
"""Less free space than this, and the next copy of the store may not fit."""
LITTLE_BYTES = 2 * 2**30
"""Less than this, and a recipe that converts or quantizes a model may fail."""


class Finding(Value):
    """One thing that was looked at. `says` is a sentence; `exit_code` is 0 unless it is a problem."""

    check: str
    state: State
    says: str
    exit_code: int = 0


class Diagnosis(Value):
    """All that was looked at, and what a repair did."""

    schema_version: int = 1
    findings: tuple[Finding, ...]
    repaired: Repaired | None = None

    @property
    def exit_code(self) -> int:
        """That of the first problem, 0 where there is none."""
        return next((found.exit_code for found in self.findings if found.exit_code), 0)


def diagnose(*, probe: Callable[[], Machine] = probe, version_of: Callable[[str], str] = metadata.version) -> Diagnosis:
    """Return what is good here and what is not; nothing is changed, and nothing is raised."""
    looks: tuple[Callable[[], Iterable[Finding]], ...] = (
        _store,
        _copies,
        _modes,
        _disk,
        lambda: _versions(version_of),
        _daemon,
        _token,
        lambda: _machine(probe),
    )
    return Diagnosis(findings=tuple(found for look in looks for found in look()))


def mend() -> Repaired | None:
    """Bring the store back to its last good state, make private what others can read, and return what the store lost.

    Raises BusyError while somebody tunes, and StoreError where the store cannot be brought back.
    """
    for path in _open_to_others():
        path.chmod(stat.S_IMODE(path.stat().st_mode) & 0o700)
    with the_only_tuner():
        return repair(_store_file())


def _store() -> Iterator[Finding]:
    path = _store_file()
    try:
        damage = damage_of(path)
        if damage:
            yield from (_problem("store", sentence, StoreError) for sentence in damage)
        elif not path.exists():
            yield _good("store", f"There is no store yet: the first search makes {path}.")
        else:
            with Store.read(path) as store:
                runs = store.runs()
            models, trials = len({run.scope.model for run in runs}), sum(len(run.trials) for run in runs)
            yield _good("store", f"{path} is sound: {len(runs)} runs of {models} models, {trials} trials.")
    except StoreError as error:
        yield _problem("store", str(error), StoreError)


def _copies() -> Iterator[Finding]:
    path = _store_file()
    copies = copies_of(path)
    sound = newest_sound_copy(path)
    if sound:
        yield _good("copies", f"{len(copies)} copies of the store; the newest that is sound is {sound}.")
    elif copies:
        yield _warning("copies", f"None of the {len(copies)} copies of the store is sound: the next search makes one.")
    elif path.exists():
        yield _warning("copies", "There is no copy of the store yet: a search that is finished makes one.")


def _modes() -> Iterator[Finding]:
    found = list(_open_to_others())
    for path in found:
        mode = stat.S_IMODE(path.stat().st_mode)
        says = f"{path} is open to other users (mode {mode:04o}): `autotune doctor --repair` makes it private."
        yield _problem("modes", says, StoreError)
    if not found:
        yield _good("modes", "Nobody else can read the store, its copies, or the token.")


def _open_to_others() -> Iterator[Path]:
    folders = [data_dir(make=False), state_dir(make=False), _store_file().parent / "backups"]
    files = [_store_file(), *copies_of(_store_file()), *(state_dir(make=False) / name for name in _PRIVATE)]
    for path in (*folders, *files):
        if path.exists() and stat.S_IMODE(path.stat().st_mode) & 0o077:
            yield path


def _disk() -> Iterator[Finding]:
    for name, folder in (("data", data_dir(make=False)), ("cache", cache_dir(make=False))):
        there = next(path for path in (folder, *folder.parents) if path.exists())
        free_bytes = shutil.disk_usage(there).free
        room = f"{free_bytes / 2**30:.1f} GiB are free for the {name} ({folder})"
        if free_bytes < LEAST_BYTES:
            yield _problem("disk", f"Only {room}: make space, or set AUTOTUNE_HOME.", StoreError)
        elif free_bytes < LITTLE_BYTES:
            yield _warning("disk", f"Only {room}: recipes that convert or quantize a model may fail.")
        else:
            yield _good("disk", f"{room}.")


def _versions(version_of: Callable[[str], str]) -> Iterator[Finding]:
    found = dict(_installed(version_of))
    for name, version in found.items():
        floor, why = FLOORS[name]
        if _numbers(version) < _numbers(floor):
            says = f"{name} {version} is older than {floor}, and not safe: {why}. Upgrade it: pip install -U {name}."
            yield _problem("versions", says, UnfitError)
    for name in FLOORS.keys() - found.keys():
        yield _problem("versions", f"{name} is not installed: pip install {name}.", UnfitError)
    if all(_numbers(found.get(name, "")) >= _numbers(floor) for name, (floor, _) in FLOORS.items()):
        yield _good("versions", ", ".join(f"{name} {version}" for name, version in found.items()) + ".")


def _installed(version_of: Callable[[str], str]) -> Iterator[tuple[str, str]]:
    for name in FLOORS:
        try:
            yield name, version_of(name)
        except metadata.PackageNotFoundError:
            continue


def _numbers(version: str) -> tuple[int, ...]:
    return tuple(int(number) for number in re.findall(r"\d+", version.partition("+")[0])[:3])


def _daemon() -> Iterator[Finding]:
    listening = daemon_state.read_state()
    if listening is None:
        yield _good("daemon", "No daemon lives here; apps read the store themselves.")
        return
    try:
        health = Client(listening.address).health()
    except AutotuneError as error:
        yield _problem("daemon", f"{error} Its process is {listening.pid}.", DaemonError)
        return
    yield _good("daemon", f"autotune {health.version} answers at {listening.address} as process {health.pid}.")
    for sentence in health.problems:
        yield _warning("daemon", f"The daemon says: {sentence}")


def _token() -> Iterator[Finding]:
    file = state_dir(make=False) / daemon_token.FILE_NAME
    if not file.exists():
        yield _good("token", "There is no token yet: the first daemon makes it.")
    elif len(daemon_token.read_token()) < daemon_token.LEAST_CHARACTERS:
        yield _problem("token", f"{file} holds no token: remove the file, and the daemon makes a new one.", StoreError)
    else:
        yield _good("token", "The token is there.")


def _machine(probe: Callable[[], Machine]) -> Iterator[Finding]:
    machine = probe()
    devices = ", ".join(gpu.name for gpu in machine.accelerators) or "no GPU"
    yield _good("machine", f"{machine.cpu.model_name}, {devices}.")
    for note in machine.notes:
        yield _warning("machine", note)


_PRIVATE = (daemon_token.FILE_NAME, daemon_state.FILE_NAME)


def _store_file() -> Path:
    return data_dir(make=False) / FILE_NAME


def _good(check: str, says: str) -> Finding:
    return Finding(check=check, state="good", says=says)


def _warning(check: str, says: str) -> Finding:
    return Finding(check=check, state="warning", says=says)


def _problem(check: str, says: str, kind: type[AutotuneError]) -> Finding:
    return Finding(check=check, state="problem", says=says, exit_code=kind.exit_code)
