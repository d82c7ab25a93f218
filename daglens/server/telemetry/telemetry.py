"""What one server measures; everything that has something to tell is handed this object."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from contextlib import AbstractContextManager
from time import perf_counter, time
from types import TracebackType
from typing import Any, Final, Generic, Self, TypeVar

from prometheus_client import CollectorRegistry
from prometheus_client.exposition import generate_latest

from daglens.resolvers.observing import Observer
from daglens.resolvers.threads import Threads
from daglens.server.telemetry.metrics import ALARMING_CODES, CALL_OUTCOMES, SECTIONS, Children, Metrics
from daglens.server.telemetry.names import BoundedNames
from daglens.server.telemetry.request import current_request
from daglens.server.telemetry.state import TRANSPORTS, ServerState, Traffic
from daglens.server.telemetry.tracing import Tracing
from daglens.storage.errors import DaglensError, StorageUnavailable
from daglens.storage.records import EventRecord

S = TypeVar("S")
T = TypeVar("T")

_US: Final = 1_000_000


class Telemetry(Observer):
    """Metrics, names and spans of one server.

    Attributes:
        traffic: By transport.
        state: Reads what isn't counted; told whose server it is once there is one.
        operation_names, codes: What stands for names that others choose.
    """

    def __init__(self, known_operations: Iterable[str] = (), tracing: Tracing | None = None) -> None:
        """`known_operations` always show by their names. `tracing`: by default OpenTelemetry's, where it is there."""
        metrics = self.metrics = Metrics()
        self.tracing = tracing or Tracing.found()
        self.traffic = {transport: Traffic() for transport in TRANSPORTS}
        self.state = ServerState(self.traffic)
        self._state_registry = CollectorRegistry(auto_describe=False)
        self._state_registry.register(self.state)
        self._scrapes = Threads(1, "daglens metrics")
        self.operation_names = BoundedNames(known_operations)
        # Codes are ours and those of plug-ins and authenticators.
        self.codes = BoundedNames(ALARMING_CODES)
        # Found once: asking a metric for its child costs more than counting.
        self.in_progress = {transport: metrics.in_progress.labels(transport) for transport in TRANSPORTS}
        self.requests = Children(metrics.requests)
        self.request_seconds = Children(metrics.request_seconds)
        self.operations = Children(metrics.operations)
        self.operation_seconds = Children(metrics.operation_seconds)
        self.errors = Children(metrics.errors)
        self._sections = {name: _Section(metrics, name) for name in SECTIONS}

    async def text(self) -> bytes:
        """All of `/metrics`, in Prometheus's text format. Asks no storage.

        What was counted is written in a thread: with 100 names of operations that is 4,000 lines and 40 ms, which
        nobody who waits for the loop should notice. One at a time, however many ask.
        """
        counted = await self._scrapes.carry_out(_counted, self.metrics)
        return counted + generate_latest(self._state_registry)

    # ------------------------------------------------------------ Observer

    def storage_call(self, section: str, call: Callable[[S], T]) -> AbstractContextManager[Callable[[S], T]]:
        """See Observer."""
        return _StorageCall(self._sections[section], self.tracing.storage_call(section, call), call)

    def events_read(self, events: Sequence[EventRecord]) -> None:
        """See Observer."""
        if events:
            self.metrics.live_events.inc(len(events))
            # The last one stands for its batch: what came before it was written together with it, or read late.
            self.metrics.live_lag_seconds.observe(max(0.0, time() - events[-1].timestamp_us / _US))

    def error(self, code: Any, error_id: Any) -> None:
        """See Observer."""
        told = str(code)
        self.errors[(self.codes.label(told),)].inc()
        if (record := current_request()) is not None:
            record.note_error(told, str(error_id))


def _counted(metrics: Metrics) -> bytes:
    return metrics.text()


class _Section:
    """What is counted of one storage."""

    __slots__ = ("ended", "seconds", "wait_seconds")

    def __init__(self, metrics: Metrics, name: str) -> None:
        self.seconds = metrics.storage_seconds.labels(name)
        self.wait_seconds = metrics.storage_wait_seconds.labels(name)
        self.ended = {outcome: metrics.storage_calls.labels(name, outcome) for outcome in CALL_OUTCOMES}


class _StorageCall(Generic[S, T]):
    """One call of a storage, from the moment that somebody asks for it. Called in a thread, in the call's place.

    No generator and no closures: there is one for each call, and this costs a third of them.
    """

    __slots__ = ("_asked", "_call", "_section", "_span", "_times")

    def __init__(self, section: _Section, span: AbstractContextManager[Any] | None, call: Callable[[S], T]) -> None:
        self._section = section
        self._span = span
        self._call = call
        self._times: tuple[float, float] | None = None
        self._asked = perf_counter()

    def __enter__(self) -> Self:
        if self._span is not None:
            self._span.__enter__()
        return self

    def __call__(self, storage: S) -> T:
        begun = perf_counter()
        try:
            return self._call(storage)
        finally:
            # In one step: who stops waiting for this thread sees both or none.
            self._times = (begun - self._asked, perf_counter() - begun)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        section = self._section
        section.ended["ok" if error is None else _outcome(error)].inc()
        if (times := self._times) is not None:
            section.wait_seconds.observe(times[0])
            section.seconds.observe(times[1])
        if self._span is not None:
            self._span.__exit__(kind, error, traceback)


def _outcome(error: BaseException) -> str:
    if isinstance(error, StorageUnavailable):
        return "unavailable"
    if isinstance(error, DaglensError):
        return "refused"
    return "failed" if isinstance(error, Exception) else "canceled"
