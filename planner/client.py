"""Asking for a plan: of the daemon where one lives, of the store where none does. No library but pydantic is needed."""

from __future__ import annotations

from contextlib import closing, suppress
from decimal import Decimal
from typing import TYPE_CHECKING, TypeVar
from urllib.parse import quote, urlencode

from pydantic import TypeAdapter, ValidationError

from .. import errors
from ..errors import AutotuneError, DaemonError, NoPlanError, UsageError
from ..search.additions import NOTHING_ADDED, Additions
from ..search.workload import Workload
from ..store.outcome import Ending
from ..value import Value
from .choose import Answer, Wish
from .daemon.address import UNIX, check_address
from .daemon.state import Listening, read_state
from .daemon.wire import (
    MOST_DETAIL,
    Door,
    Health,
    MachineNow,
    PlanList,
    Prediction,
    Question,
    Refusal,
    Report,
    Reported,
)

if TYPE_CHECKING:
    from .jobs.client import Jobs

TIMEOUT_S = 1.0

V = TypeVar("V")


class Daemon:
    """Where a daemon is, and how it is asked."""

    def __init__(self, url: str | None, timeout_s: float) -> None:
        """Take the daemon at `url`; without one, the daemon of this user that lives."""
        self._url = url
        self._timeout_s = timeout_s

    @property
    def url(self) -> str:
        """Where the daemon is. Raises DaemonError if none was named, and none lives."""
        return self._url or _living().address

    @property
    def page_url(self) -> str:
        """Where a browser finds the daemon's pages: it cannot open a socket in a folder. Raises DaemonError."""
        return self._url if self._url and not self._url.startswith(UNIX) else _living().url

    def get(self, path: str, kind: type[V] | TypeAdapter[V], query: dict[str, str | float | None] | None = None) -> V:
        """Return what a route says."""
        said = {name: _said(value) for name, value in (query or {}).items() if value is not None}
        return self._exchange(kind, f"{path}?{urlencode(said)}" if said else path)

    def post(self, path: str, kind: type[V], content: Value | None = None) -> V:
        """Return what a route says that changes something. The token is read from the state folder."""
        return self._exchange(kind, path, content.model_dump_json().encode() if content else b"{}")

    def _exchange(self, kind: type[V] | TypeAdapter[V], path: str, body: bytes | None = None) -> V:
        from .daemon.fetch import fetch  # HTTP and TLS take longer to import than the store takes to answer

        url = self.url
        status, content = fetch(url, path, self._timeout_s, body)
        try:
            if status == 200:
                return (
                    TypeAdapter(kind).validate_json(content) if isinstance(kind, type) else kind.validate_json(content)
                )
            refusal = Refusal.model_validate_json(content)
        except ValidationError as error:
            raise DaemonError(
                f"What answers at {url} is no daemon of this version of autotune (status {status}): "
                f"stop it and start `autotune serve` again, or give another url."
            ) from error
        raise _ERRORS.get(refusal.error, DaemonError)(refusal.message)


class Client:
    """The daemon, asked by hand. Every method raises DaemonError if it does not answer within `timeout_s`."""

    def __init__(self, url: str | None = None, timeout_s: float = TIMEOUT_S) -> None:
        """Take the daemon at `url`; without one, the daemon of this user that lives.

        url: such as http://127.0.0.1:8377, or unix:/path/of/socket.

        Raises UsageError if the url leads to another machine, where nothing of this one is to go.
        """
        if url is not None:
            check_address(url)
        self._daemon = Daemon(url, timeout_s)

    def plan(self, model: str, **query: str | float | None) -> Answer:
        """Return the plan for now, as it was measured.

        query: width, height, steps, guidance, batch, frames (what the pipeline will be called with), max_memory (bytes,
        or text such as "3GiB"), min_quality (the share of the baseline's score that is kept), device, revision,
        adapters and distilled (as a scope names them, with commas between). What is None is not asked.

        Raises NoPlanError if there is none that was measured, UsageError for a parameter that cannot be meant, and
        StoreError if the daemon cannot read its store.
        """
        answer = self.ask(model, **query)
        if isinstance(answer, Prediction):
            raise NoPlanError(answer.asked)
        return answer

    def ask(self, model: str, **query: str | float | None) -> Answer | Prediction:
        """Return the plan for now, or the one that is predicted where none was measured. Else as `plan`."""
        return self._daemon.get("/v1/plan", _MEASURED_OR_NOT, {"model": model, **query})

    def report(self, plan_id: str, outcome: Ending, **measured: str | float | None) -> Reported:
        """Say what became of a call with a plan, and return what follows.

        measured: latency_ms, peak_bytes (the most that was taken on the plan's device), free_bytes (what was free there
        when the call began) and detail (the library's own words), as far as they are known.

        The token is read from the state folder. Raises NoPlanError if there is no such plan, UsageError for what cannot
        be meant, and StoreError if the daemon cannot keep it.
        """
        path = f"/v1/plans/{quote(plan_id, safe='')}/outcome"
        return self._daemon.post(path, Reported, report_of(outcome, **measured))

    @property
    def jobs(self) -> Jobs:
        """The daemon's jobs."""
        from .jobs.client import Jobs

        return Jobs(self._daemon)

    def plans(self) -> PlanList:
        """Return every plan in short. Raises StoreError."""
        return self._daemon.get("/v1/plans", PlanList)

    def machine(self) -> MachineNow:
        """Return the machine, and what is free on it now."""
        return self._daemon.get("/v1/machine", MachineNow)

    def health(self) -> Health:
        """Return what the daemon says of itself."""
        return self._daemon.get("/v1/health", Health)

    def door(self, path: str = "/") -> str:
        """Return the address that opens a page in a browser, once and soon, with the token of this user.

        Raises DaemonError.
        """
        code = self._daemon.post("/v1/doors", Door).code
        return f"{self._daemon.page_url}{path}#code={code}"


def plan(  # noqa: PLR0913 - so much may be said of what is wanted
    model: str,
    *,
    max_memory_bytes: int | None = None,
    workload: Workload | Wish | None = None,
    revision: str | None = None,
    url: str | None = None,
    added: Additions = NOTHING_ADDED,
    min_quality: float | None = None,
    device: str | None = None,
) -> Answer:
    """Return the plan for now: from the daemon if one lives and answers in time, else straight from the store.

    max_memory_bytes: take no more than this, even if more is free.
    workload: what the pipeline will be called with, or parts of it; None is what was tuned last.
    revision: that of the model's files, if it is to be compared with the one that was tuned.
    url: ask the daemon there and nobody else.
    added: the adapters that the model is used with, and the distilled variants that a plan may have.
    min_quality: the share of the baseline's score that must surely be kept, such as 0.99.
    device: take no other, such as "cpu" or "cuda:0".

    Raises NoPlanError if there is no plan, StoreError if the store cannot be read, and DaemonError only with a `url`.
    """
    wish = workload if isinstance(workload, Wish) else Wish(**workload.model_dump()) if workload else Wish()
    if url is not None or read_state() is not None:
        query = {
            **wish.model_dump(),
            "max_memory": max_memory_bytes,
            "min_quality": min_quality,
            "device": device,
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
        min_quality=min_quality,
        device=device,
        adapters=added.adapter_keys,
        distilled=added.distilled_keys,
    )
    return _from_store(question)


def report(plan_id: str, outcome: Ending, **measured: str | float | None) -> Reported:
    """Say what became of a call with a plan: to the daemon if one lives and answers in time, else to the store itself.

    The arguments are those of `Client.report`. Raises NoPlanError, UsageError and StoreError.
    """
    said = report_of(outcome, **measured)
    if read_state() is not None:
        with suppress(DaemonError):
            return Client().report(plan_id, **said.model_dump())
    from ..store.store import Store
    from .daemon.feedback import keep_report

    with Store.open() as store:
        return keep_report(store, plan_id, said)


def report_of(outcome: Ending, **measured: str | float | None) -> Report:
    """Return the report that says so; of a long `detail` the beginning. Raises UsageError for what cannot be meant."""
    if isinstance(detail := measured.get("detail", ""), str):
        measured["detail"] = " ".join(detail.split())[:MOST_DETAIL]
    try:
        return Report.model_validate({"outcome": outcome, **measured})
    except ValidationError as error:
        wrong = error.errors()[0]
        msg = f"A report cannot say {wrong['loc'][0]}={wrong['input']!r}: {wrong['msg']}."
        raise UsageError(msg) from error


def _from_store(question: Question) -> Answer:
    from ..probes.machine import probe
    from ..store.store import Store
    from .daemon.ask import answer
    from .daemon.gauge import Gauge

    machine = probe()
    with Store.read() as store, closing(Gauge()) as free_memory:
        return answer(store, question, machine, free_memory(machine))


_ERRORS = {
    name: kind
    for name, kind in vars(errors).items()
    if isinstance(kind, type) and issubclass(kind, AutotuneError) and kind is not AutotuneError
}


def _living() -> Listening:
    listening = read_state()
    if listening is None:
        raise DaemonError("No daemon lives on this machine: start one with `autotune serve`.")
    return listening


_MEASURED_OR_NOT: TypeAdapter[Answer | Prediction] = TypeAdapter(Answer | Prediction)


def _said(value: str | float) -> str:
    return f"{Decimal(repr(value)):f}" if isinstance(value, float) else str(value)
