"""Counts and times operations, by a hook around the execution of each, whatever transport brought it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import suppress
from time import perf_counter
from typing import Any

from strawberry.exceptions import StrawberryGraphQLError
from strawberry.extensions import SchemaExtension

from daglens.server.telemetry.names import ANONYMOUS
from daglens.server.telemetry.request import current_request
from daglens.server.telemetry.telemetry import Telemetry

SUBSCRIPTION = "subscription"
UNKNOWN = "unknown"


def measuring(telemetry: Telemetry) -> Callable[[], SchemaExtension]:
    """What makes the hook of one operation."""
    return lambda: _Measured(telemetry)


class _Measured(SchemaExtension):
    def __init__(self, telemetry: Telemetry) -> None:
        self._telemetry = telemetry
        self._kind = UNKNOWN
        self._begun = False
        self._failed = False

    def on_operation(self) -> Iterator[None]:
        """Called by strawberry around everything that is done for an operation."""
        self._record = current_request()
        self._span = self._telemetry.tracing.begin_operation(self._record.trace if self._record is not None else {})
        began = perf_counter()
        outcome = "canceled"
        try:
            yield
            outcome = self._outcome()
        except (Exception, GeneratorExit) as error:
            # Strawberry raises where the document has no such operation, or one of a kind not served here; and whoever
            # was given the one result of what isn't executed may ask for no other.
            if not self._begun:
                outcome = "rejected"
            elif isinstance(error, Exception):
                outcome = "errors"
            raise
        finally:
            self._end(outcome, perf_counter() - began)

    def on_execute(self) -> Iterator[None]:
        """Called by strawberry around the execution; of a subscription, around its beginning."""
        self._kind = self._kind_of_operation()
        self._begun = True
        if self._kind == SUBSCRIPTION:
            # Its code runs in whatever task asks for its next result: there nothing can be left behind.
            self._telemetry.metrics.subscriptions.inc()
            yield
        else:
            with self._span.current():
                yield

    def on_stream_result(self, result: Any) -> Iterator[None]:
        """Called by strawberry around each result of a stream."""
        self._failed = self._failed or bool(getattr(result, "errors", None))
        yield

    def _outcome(self) -> str:
        if not self._begun:
            return "rejected"
        failed = self._failed or bool(getattr(self.execution_context.result, "errors", None))
        return "errors" if failed else "ok"

    def _end(self, outcome: str, seconds: float) -> None:
        given = self.execution_context.operation_name if self._begun else None
        # The names of what isn't valid are nobody's.
        name = self._telemetry.operation_names.label(given) if self._begun else UNKNOWN
        if self._kind == SUBSCRIPTION:
            self._telemetry.metrics.subscriptions.dec()
        elif self._begun:
            self._telemetry.operation_seconds[(name, self._kind)].observe(seconds)
        self._telemetry.operations[(name, self._kind, outcome)].inc()
        request_id = None
        if self._record is not None:
            request_id = self._record.id
            self._record.note_operation(given or ANONYMOUS)
        self._span.end(name, self._kind, outcome, request_id)

    def _kind_of_operation(self) -> str:
        with suppress(RuntimeError, StrawberryGraphQLError):
            return str(self.execution_context.operation_type.value)
        return UNKNOWN
