"""Asking for a plan: of the daemon where one lives, of the store where none does. No library but pydantic is needed."""

from __future__ import annotations

import re
import socket
from contextlib import suppress
from decimal import Decimal
from http.client import HTTPConnection, HTTPException
from threading import Timer
from typing import TypeVar
from urllib.parse import urlencode, urlsplit

from pydantic import ValidationError

from .. import errors
from ..errors import AutotuneError, DaemonError, NoPlanError, UsageError
from ..search.additions import NOTHING_ADDED, Additions
from ..search.workload import Workload
from ..value import Value
from .choose import Answer, Wish
from .daemon.state import LOOPBACK_URL, read_state
from .daemon.wire import ANSWER_LIMIT_BYTES, Health, MachineNow, PlanList, Question, Refusal

TIMEOUT_S = 1.0

V = TypeVar("V", bound=Value)


class Client:
    """The daemon, asked by hand. Every method raises DaemonError if it does not answer within `timeout_s`."""

    def __init__(self, url: str | None = None, timeout_s: float = TIMEOUT_S) -> None:
        """Take the daemon at `url`, such as http://127.0.0.1:8377; without one, the daemon of this user that lives.

        Raises UsageError if the url leads to another machine, where nothing of this one is to go.
        """
        if url is not None and not re.match(LOOPBACK_URL, url.rstrip("/")):
            raise UsageError(
                f"The daemon is on this machine, at an address like http://127.0.0.1:8377, and {url!r} was given: "
                f"reach that of another machine through `ssh -L`."
            )
        self._url = url
        self._timeout_s = timeout_s

    def plan(self, model: str, **query: str | float | None) -> Answer:
        """Return the plan for now.

        query: width, height, steps, guidance, batch, frames (what the pipeline will be called with), max_memory (bytes,
        or text such as "3GiB"), revision, adapters and distilled (as a scope names them, with commas
        between). What is None is not asked.

        Raises NoPlanError if there is none, UsageError for a parameter that cannot be meant, and StoreError if the
        daemon cannot read its store.
        """
        return self._get("/v1/plan", Answer, {"model": model, **query})

    def plans(self) -> PlanList:
        """Return every plan in short. Raises StoreError."""
        return self._get("/v1/plans", PlanList)

    def machine(self) -> MachineNow:
        """Return the machine, and what is free on it now."""
        return self._get("/v1/machine", MachineNow)

    def health(self) -> Health:
        """Return what the daemon says of itself."""
        return self._get("/v1/health", Health)

    def _get(self, path: str, kind: type[V], query: dict[str, str | float | None] | None = None) -> V:
        url = self._url or _living()
        said = {name: _said(value) for name, value in (query or {}).items() if value is not None}
        status, content = _fetch(url, f"{path}?{urlencode(said)}" if said else path, self._timeout_s)
        try:
            if status == 200:
                return kind.model_validate_json(content)
            refusal = Refusal.model_validate_json(content)
        except ValidationError as error:
            raise DaemonError(
                f"What answers at {url} is no daemon of this version of autotune (status {status}): "
                f"stop it and start `autotune serve` again, or give another url."
            ) from error
        raise _ERRORS.get(refusal.error, DaemonError)(refusal.message)


def plan(  # noqa: PLR0913 - so much may be said of what is wanted
    model: str,
    *,
    max_memory_bytes: int | None = None,
    workload: Workload | Wish | None = None,
    revision: str | None = None,
    url: str | None = None,
    added: Additions = NOTHING_ADDED,
) -> Answer:
    """Return the plan for now: from the daemon if one lives and answers in time, else straight from the store.

    max_memory_bytes: take no more than this, even if more is free.
    workload: what the pipeline will be called with, or parts of it; None is what was tuned last.
    revision: that of the model's files, if it is to be compared with the one that was tuned.
    url: ask the daemon there and nobody else.
    added: the adapters that the model is used with, and the distilled variants that a plan may have.

    Raises NoPlanError if there is no plan, StoreError if the store cannot be read, and DaemonError only with a `url`.
    """
    wish = workload if isinstance(workload, Wish) else Wish(**workload.model_dump()) if workload else Wish()
    if url is not None or read_state() is not None:
        query = {
            **wish.model_dump(),
            "max_memory": max_memory_bytes,
            "revision": revision,
            "adapters": ",".join(added.adapter_keys) or None,
            "distilled": ",".join(added.distilled_keys) or None,
        }
        try:
            return Client(url).plan(model, **query)
        except NoPlanError:
            raise
        except AutotuneError:
            if url is not None:
                raise
    question = Question(
        model=model,
        wish=wish,
        revision=revision,
        max_memory_bytes=max_memory_bytes,
        adapters=added.adapter_keys,
        distilled=added.distilled_keys,
    )
    return _from_store(question)


def _from_store(question: Question) -> Answer:
    from ..probes.machine import probe
    from ..store.store import Store
    from .daemon.ask import answer, free_by_device

    machine = probe()
    with Store.read() as store:
        return answer(store, question, machine, free_by_device(machine))


_ERRORS = {
    name: kind
    for name, kind in vars(errors).items()
    if isinstance(kind, type) and issubclass(kind, AutotuneError) and kind is not AutotuneError
}


def _living() -> str:
    listening = read_state()
    if listening is None:
        raise DaemonError("No daemon lives on this machine: start one with `autotune serve`.")
    return listening.url


def _said(value: str | float) -> str:
    return f"{Decimal(repr(value)):f}" if isinstance(value, float) else str(value)


def _fetch(url: str, path: str, timeout_s: float) -> tuple[int, bytes]:
    """Return status and content. Proxies of the environment are not asked, and no redirect is followed.

    Raises DaemonError: also where it answers so slowly, byte by byte, that each byte is in time and the whole is not.
    """
    address = urlsplit(url)
    connection = HTTPConnection(address.hostname or "", address.port, timeout=timeout_s)
    try:
        connection.connect()
        alarm = Timer(timeout_s, _hang_up, (connection.sock,))
        alarm.daemon = True
        alarm.start()
        try:
            connection.request("GET", path, headers={"Accept": "application/json"})
            response = connection.getresponse()
            content = response.read(ANSWER_LIMIT_BYTES + 1)
        finally:
            alarm.cancel()
    except (OSError, HTTPException, ValueError) as error:
        why = str(error) or type(error).__name__
        raise DaemonError(
            f"No daemon answers at {url} within {timeout_s:g} s ({why}): start one with `autotune serve`."
        ) from error
    finally:
        connection.close()
    if len(content) > ANSWER_LIMIT_BYTES:
        raise DaemonError(f"What answers at {url} says more than {ANSWER_LIMIT_BYTES} bytes: it is no daemon of ours.")
    return response.status, content


def _hang_up(connected: socket.socket) -> None:
    with suppress(OSError):  # closed meanwhile, which is as good
        connected.shutdown(socket.SHUT_RDWR)
