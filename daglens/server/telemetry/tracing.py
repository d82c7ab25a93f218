"""Spans of OpenTelemetry, where its API is installed (`pip install daglens[otel]`); else nothing, and nothing loaded.

Only the API is used: which exporter, sampling and address, whoever starts the server says by the SDK, usually as
`opentelemetry-instrument daglens serve`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, nullcontext
from typing import TYPE_CHECKING, Any

from daglens import __version__

if TYPE_CHECKING:
    from opentelemetry.trace import Tracer, TracerProvider


class OperationSpan:
    """The span of one operation; this one is none."""

    def current(self) -> AbstractContextManager[Any]:
        """What is done inside stands below it."""
        return nullcontext()

    def end(self, name: str, kind: str, outcome: str, request_id: str | None) -> None:
        """The operation has ended; only now it is sure how it is called."""


NO_SPAN = OperationSpan()


class Tracing:
    """Makes no spans; `found()` gives what does."""

    @classmethod
    def found(cls) -> Tracing:
        """OpenTelemetry's, when its API can be imported."""
        try:
            from opentelemetry import trace
        except ImportError:
            return cls()
        return OpenTelemetryTracing(trace.get_tracer_provider())

    def begin_operation(self, headers: Mapping[str, str]) -> OperationSpan:
        """A span below the one that `traceparent` names."""
        return NO_SPAN

    def storage_call(self, section: str, call: Callable[..., Any]) -> AbstractContextManager[Any] | None:
        """What stands around a call of a storage: a span when it is done for an operation that has one."""
        return None


class OpenTelemetryTracing(Tracing):
    """Makes spans by OpenTelemetry."""

    def __init__(self, provider: TracerProvider) -> None:
        from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

        self._tracer: Tracer = provider.get_tracer("daglens", __version__)
        self._propagator = TraceContextTextMapPropagator()

    def begin_operation(self, headers: Mapping[str, str]) -> OperationSpan:
        """See Tracing."""
        from opentelemetry import trace

        # A middleware of whoever runs the server may have begun a span for the request.
        parent = self._propagator.extract(headers) if not trace.get_current_span().is_recording() else None
        return _OpenTelemetrySpan(self._tracer.start_span("graphql", context=parent, kind=trace.SpanKind.SERVER))

    def storage_call(self, section: str, call: Callable[..., Any]) -> AbstractContextManager[Any] | None:
        """See Tracing."""
        from opentelemetry import trace

        # What a feed reads, it reads for nobody in particular, several times a second.
        if not trace.get_current_span().is_recording():
            return None
        names = {"daglens.storage": section, "code.function.name": f"{call.__module__}.{call.__qualname__}"}
        return self._tracer.start_as_current_span(section, kind=trace.SpanKind.CLIENT, attributes=names)


class _OpenTelemetrySpan(OperationSpan):
    def __init__(self, span: Any) -> None:
        self._span = span

    def current(self) -> AbstractContextManager[Any]:
        from opentelemetry import trace

        return trace.use_span(self._span, record_exception=False, set_status_on_exception=False)

    def end(self, name: str, kind: str, outcome: str, request_id: str | None) -> None:
        from opentelemetry import trace

        self._span.update_name(f"{kind} {name}")
        self._span.set_attribute("graphql.operation.name", name)
        self._span.set_attribute("graphql.operation.type", kind)
        if request_id is not None:
            self._span.set_attribute("daglens.request.id", request_id)
        if outcome != "ok":
            self._span.set_status(trace.StatusCode.ERROR, outcome)
        self._span.end()
