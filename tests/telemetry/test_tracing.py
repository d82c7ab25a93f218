"""Spans of operations and of their storage calls."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator

import pytest
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import SpanKind, StatusCode

from daglens.instance import Instance
from daglens.server.telemetry.tracing import OpenTelemetryTracing
from daglens.testing.server import LiveServer
from tests.server.conftest import EVENTS, create, opened, until, write

TRACE, PARENT = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"
RUNS = "query Mine { runsOrError { __typename ... on RunPage { nodes { runId } } } }"


@pytest.fixture
def exporter(server: LiveServer) -> Iterator[InMemorySpanExporter]:
    """Has the spans of the server."""
    provider = TracerProvider()
    kept = InMemorySpanExporter()
    provider.add_span_processor(SimpleSpanProcessor(kept))
    server.app.state.served.telemetry.tracing = OpenTelemetryTracing(provider)
    yield kept
    provider.shutdown()


def spans(exporter: InMemorySpanExporter, name: str) -> list[ReadableSpan]:
    """Those of this name that have ended."""
    return [span for span in exporter.get_finished_spans() if span.name == name]


def test_an_operation_and_its_storage_calls_stand_below_the_caller_s_span(exporter, http, instance):
    """By W3C's `traceparent`; the storage's span stands below the operation's."""
    create(instance)
    headers = {"traceparent": f"00-{TRACE}-{PARENT}-01", "x-request-id": "seven"}
    http.post("/graphql", json={"query": RUNS}, headers=headers)
    until(lambda: spans(exporter, "query Mine") != [])
    (operation,) = spans(exporter, "query Mine")
    assert operation.kind is SpanKind.SERVER
    assert operation.parent is not None and operation.context is not None
    assert f"{operation.context.trace_id:032x}" == TRACE and f"{operation.parent.span_id:016x}" == PARENT
    assert operation.attributes is not None and operation.attributes["daglens.request.id"] == "seven"
    calls = spans(exporter, "run_storage")
    assert calls
    assert {call.parent.span_id for call in calls if call.parent is not None} == {operation.context.span_id}


def test_queries_over_sockets_have_them_too(exporter, server, instance):
    """And the socket's own handshake names the trace."""
    create(instance)
    with opened(server, additional_headers={"traceparent": f"00-{TRACE}-{PARENT}-01"}) as socket:
        socket.start(RUNS)
        socket.results()
    until(lambda: spans(exporter, "query Mine") != [])
    (operation,) = spans(exporter, "query Mine")
    assert operation.context is not None
    assert f"{operation.context.trace_id:032x}" == TRACE
    assert {call.context.trace_id for call in spans(exporter, "run_storage") if call.context is not None} == {
        operation.context.trace_id
    }


def test_what_goes_wrong_marks_the_span(exporter, http):
    """Without what the error said: that may be anything."""
    http.post("/graphql", json={"query": "query Mine { nothing }"}, headers={"traceparent": "nonsense"})
    until(lambda: spans(exporter, "unknown unknown") != [])
    (operation,) = spans(exporter, "unknown unknown")
    assert operation.status.status_code is StatusCode.ERROR
    assert operation.parent is None and not operation.events


def test_feeds_make_no_spans_of_their_own(exporter, server: LiveServer, instance: Instance):
    """A subscription has one span, when it has ended; the polls that serve all viewers have none."""
    create(instance)
    with opened(server) as socket:
        socket.start(f"subscription Live {EVENTS.removeprefix('subscription')}", variables={"runId": "run"})
        socket.result()
        write(instance, 3)
        while not socket.result()["data"]["runEvents"]["events"]:
            pass
    until(lambda: spans(exporter, "subscription Live") != [])
    assert spans(exporter, "event_log_storage") == []


def test_without_the_package_nothing_of_it_is_loaded():
    """And with its API alone, spans go nowhere; `Tracing.found` tells."""
    code = """
import sys
sys.modules["opentelemetry"] = None
from daglens.instance import Instance
from daglens.server.app import create_app
with Instance.ephemeral() as instance:
    print(type(create_app(instance).state.served.telemetry.tracing).__name__)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "Tracing\n"
