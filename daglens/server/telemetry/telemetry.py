"""What one server measures; everything that has something to tell is handed this object."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from time import perf_counter, time
from typing import Any, Final, TypeVar

from daglens.resolvers.observing import Observer
from daglens.server.telemetry.metrics import Metrics
from daglens.server.telemetry.names import BoundedNames
from daglens.server.telemetry.request import current_request
from daglens.server.telemetry.state import TRANSPORTS, ServerState, Traffic
from daglens.server.telemetry.tracing import Tracing
from daglens.storage.errors import DaglensError, StorageUnavailable
from daglens.storage.records import EventRecord

S = TypeVar("S")
T = TypeVar("T")

SECTIONS: Final = ("run_storage", "event_log_storage", "compute_logs", "local_artifact_storage")
_US: Final = 1_000_000


class Telemetry(Observer):
    """Metrics, names and spans of one server.

    Attributes:
        traffic: By transport.
        state: Reads what isn't counted; told whose server it is once there is one.
        operation_names, codes: What stands for names that others choose.
    """

    def __init__(self, known_operations: Sequence[str] = (), tracing: Tracing | None = None) -> None:
        """`known_operations` always show by their names. `tracing`: by default OpenTelemetry's, where it is there."""
        self.metrics = Metrics()
        self.tracing = tracing or Tracing.found()
        self.traffic = {transport: Traffic() for transport in TRANSPORTS}
        self.state = ServerState(self.traffic)
        self.metrics.registry.register(self.state)
        self.operation_names = BoundedNames(known_operations)
        # Codes are ours and those of plug-ins and authenticators.
        self.codes = BoundedNames()
        metrics = self.metrics
        self._storage_seconds = {name: metrics.storage_seconds.labels(name) for name in SECTIONS}
        self._storage_wait_seconds = {name: metrics.storage_wait_seconds.labels(name) for name in SECTIONS}
        self._storage_ok = {name: metrics.storage_calls.labels(name, "ok") for name in SECTIONS}

    # ------------------------------------------------------------ Observer

    @contextmanager
    def _measured(self, section: str, call: Callable[[S], T]) -> Iterator[Callable[[S], T]]:
        asked = perf_counter()
        times: list[float] = []

        def timed(storage: S) -> T:
            begun = perf_counter()
            try:
                return call(storage)
            finally:
                # In one step: who stops waiting for this thread sees both or none.
                times.extend((begun - asked, perf_counter() - begun))

        with self.tracing.storage_call(section, call):
            try:
                yield timed
            except BaseException as error:
                self.metrics.storage_calls.labels(section, _outcome(error)).inc()
                raise
            else:
                self._storage_ok[section].inc()
            finally:
                if times:
                    self._storage_wait_seconds[section].observe(times[0])
                    self._storage_seconds[section].observe(times[1])

    def storage_call(self, section: str, call: Callable[[S], T]) -> AbstractContextManager[Callable[[S], T]]:
        """See Observer."""
        return self._measured(section, call)

    def events_read(self, events: Sequence[EventRecord]) -> None:
        """See Observer."""
        if events:
            self.metrics.live_events.inc(len(events))
            # The last one stands for its batch: what came before it was written together with it, or read late.
            self.metrics.live_lag_seconds.observe(max(0.0, time() - events[-1].timestamp_us / _US))

    def error(self, code: Any, error_id: Any) -> None:
        """See Observer."""
        told = str(code)
        self.metrics.errors.labels(self.codes.label(told)).inc()
        if (record := current_request()) is not None:
            record.note_error(told, str(error_id))


def _outcome(error: BaseException) -> str:
    if isinstance(error, StorageUnavailable):
        return "unavailable"
    if isinstance(error, DaglensError):
        return "refused"
    return "failed" if isinstance(error, Exception) else "canceled"
