"""`/metrics`: what a server counts and times."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import httpx
import pytest
from prometheus_client.metrics import MetricWrapperBase
from prometheus_client.parser import text_string_to_metric_families
from websockets.exceptions import InvalidStatus

from daglens.config.settings import Limits
from daglens.instance import Instance
from daglens.server.documents.manifest import Manifest, manifest_text
from daglens.server.telemetry.names import BoundedNames
from daglens.testing.server import LiveServer
from tests.server.conftest import EVENTS, PATIENCE_S, create, opened, until, write


def value(client: httpx.Client, name: str, **labels: str) -> float:
    """The sum of a sample's values that have these labels."""
    answer = client.get("/metrics")
    assert answer.status_code == 200
    assert answer.headers["content-type"].startswith("text/plain")
    return sum(
        sample.value
        for family in text_string_to_metric_families(answer.text)
        for sample in family.samples
        if sample.name == name and labels.items() <= sample.labels.items()
    )


def ask(client: httpx.Client, query: str, **request: object) -> httpx.Response:
    """One operation by POST."""
    return client.post("/graphql", json={"query": query, **request})


def test_requests_are_counted_by_transport_route_and_status(http):
    """Each answer is counted under its route's name, whatever the address held; what has no route as `none`."""
    ask(http, "{ __typename }")
    http.get("/runs/some-run/artifacts/x")
    http.get("/nothing/here")
    http.get("/healthz", headers={"host": "evil.example"})
    assert value(http, "daglens_requests_total", route="/graphql", status="200", transport="http") == 1
    assert value(http, "daglens_requests_total", route="/runs/*", status="404") == 1
    assert value(http, "daglens_requests_total", route="none", status="404") == 1
    assert value(http, "daglens_requests_total", route="none", status="403") == 1
    assert value(http, "daglens_request_seconds_count", route="/graphql") == 1
    assert value(http, "daglens_errors_total", code="NOT_FOUND") == 2
    assert value(http, "daglens_errors_total", code="FORBIDDEN") == 1
    # The one that asks is being answered itself.
    assert value(http, "daglens_requests_in_progress", transport="http") == 1


def test_operations_are_counted_by_name_kind_and_outcome(http):
    """Names come from the documents; what isn't valid is nobody's."""
    ask(http, "query Mine { __typename }")
    ask(http, "query Mine { __typename }")
    ask(http, "{ __typename }")
    ask(http, "query Wrong { nothing }")
    ask(http, 'mutation Bad { createRun(input: {pipelineName: ""}) { __typename } }')
    assert value(http, "daglens_operations_total", operation="Mine", type="query", outcome="ok") == 2
    assert value(http, "daglens_operations_total", operation="anonymous", type="query", outcome="ok") == 1
    assert value(http, "daglens_operations_total", operation="Wrong") == 0
    assert value(http, "daglens_operations_total", outcome="rejected") >= 1
    assert value(http, "daglens_operation_seconds_count", operation="Mine", type="query") == 2
    assert value(http, "daglens_errors_total", code="GRAPHQL_VALIDATION_FAILED") == 1


@pytest.mark.parametrize("document", ["query A { version }", "subscription A { runs { __typename } }", "{ version"])
def test_what_is_not_executed_is_rejected(server: LiveServer, http: httpx.Client, document: str) -> None:
    """Over every transport, whether the document has no such operation or is none; and so is a kind of operation that
    is served elsewhere. Nobody has canceled anything."""
    asked = {"query": document, "operationName": "B"}
    http.post("/graphql", json=asked)
    http.post("/graphql", json=asked, headers={"accept": "text/event-stream"})
    with opened(server) as socket:
        socket.start(document, operationName="B")
        assert socket.receive()["type"] == "error"
    http.get("/graphql", params={"query": "mutation { deleteRuns(runIds: []) { __typename } }"})
    until(lambda: value(http, "daglens_operations_total", type="unknown", outcome="rejected") == 4)
    assert value(http, "daglens_operations_total", outcome="canceled") == 0


def test_clients_cannot_make_labels_without_end(http):
    """So many names of operations show; further ones, and those that are no names, are `other`."""
    for number in range(150):
        ask(http, f"query Q{number} {{ __typename }}")
    assert value(http, "daglens_operations_total", outcome="ok") == 150
    assert value(http, "daglens_operations_total", operation="other", outcome="ok") == 50


def test_known_names_always_show():
    """However many others came before."""
    names = BoundedNames(["Runs"], room=1)
    assert [names.label(name) for name in ("a", "b", "Runs", "a", None, "x y")] == [
        *("a", "other", "Runs", "a", "anonymous", "other")
    ]


def test_storage_calls_are_counted_and_timed(http, instance):
    """With the wait for a thread apart."""
    create(instance)
    ask(http, "{ runsOrError { __typename } }")
    assert value(http, "daglens_storage_calls_total", storage="run_storage", outcome="ok") >= 1
    assert value(http, "daglens_storage_call_seconds_count", storage="run_storage") >= 1
    assert value(http, "daglens_storage_wait_seconds_count", storage="run_storage") >= 1
    assert value(http, "daglens_storage_threads_limit", storage="run_storage") >= 1


def test_a_storage_that_fails_is_counted(http, instance, monkeypatch):
    """Apart from calls that it refuses."""

    def fail(*args: object, **kwargs: object) -> None:
        raise RuntimeError("disk on fire")

    monkeypatch.setattr(instance.runs, "page", fail)
    answer = ask(http, "{ runsOrError { __typename } }")
    assert answer.json()["errors"][0]["extensions"]["code"] == "STORAGE_UNAVAILABLE"
    assert value(http, "daglens_storage_calls_total", storage="run_storage", outcome="failed") == 1
    assert value(http, "daglens_errors_total", code="STORAGE_UNAVAILABLE") == 1


def test_a_refused_handshake_is_counted_by_its_status(server: LiveServer, http):
    """A socket of a page from elsewhere: 403, as over HTTP, with the request's id in the answer."""
    with pytest.raises(InvalidStatus) as refused, opened(server, origin="https://elsewhere.example"):
        pass
    assert refused.value.response.headers["x-request-id"]
    until(lambda: value(http, "daglens_requests_total", transport="websocket", route="none", status="403") == 1)
    assert value(http, "daglens_errors_total", code="FORBIDDEN") == 1


def test_viewers_and_what_is_sent_to_them(server: LiveServer, http, instance: Instance):
    """Sockets, subscriptions, runs watched, events read once, messages and bytes; all back at zero afterwards."""
    create(instance)
    with opened(server) as first, opened(server) as second:
        for viewer in (first, second):
            viewer.start(EVENTS, variables={"runId": "run"})
            viewer.result()
        write(instance, 3)
        for viewer in (first, second):
            while not viewer.result()["data"]["runEvents"]["events"]:
                pass
        assert value(http, "daglens_requests_in_progress", transport="websocket") == 2
        assert value(http, "daglens_live_viewers") == 2
        assert value(http, "daglens_live_watched", what="runs") == 1
        assert value(http, "daglens_live_events_read_total") == 3
        assert value(http, "daglens_live_lag_seconds_count") >= 1
        # Each socket: connection_ack, an empty batch, at least one with events.
        assert value(http, "daglens_sent_messages_total", transport="websocket") >= 6
        assert value(http, "daglens_sent_bytes_total", transport="websocket") > 500
        assert value(http, "daglens_received_bytes_total", transport="websocket") > 300
    until(lambda: value(http, "daglens_requests_in_progress", transport="websocket") == 0)
    until(lambda: value(http, "daglens_live_viewers") == 0)
    until(lambda: value(http, "daglens_subscriptions_in_progress") == 0)
    assert value(http, "daglens_requests_total", transport="websocket", route="websocket /graphql", status="1000") == 2


def test_sockets_that_the_server_closes(serve: Callable[..., LiveServer]) -> None:
    """They count by their codes: what is too large, and what the server has no room for."""
    server = serve(limits=Limits(max_body_bytes=100_000, max_client_bytes=90_000))
    with httpx.Client(base_url=server.url, timeout=PATIENCE_S) as client:
        for size, code in ((100_001, "1009"), (95_000, "1013")):
            with opened(server) as socket:
                socket.send("x" * size)
                assert socket.close_code() == int(code)
            until(lambda: value(client, "daglens_requests_total", transport="websocket", status=code) == 1)  # noqa: B023
        assert value(client, "daglens_requests_total", status="other") == 0


def test_event_streams_are_a_transport_of_their_own(http, instance):
    """From the moment that the answer turns out to be one."""
    create(instance)
    body = {"query": "{ __typename }"}
    answer = http.post("/graphql", json=body, headers={"accept": "text/event-stream"})
    assert answer.status_code == 200
    assert value(http, "daglens_requests_total", transport="sse", route="/graphql", status="200") == 1
    assert value(http, "daglens_requests_in_progress", transport="sse") == 0
    assert value(http, "daglens_sent_bytes_total", transport="sse") >= len(answer.content)
    assert value(http, "daglens_received_bytes_total", transport="sse") == len(answer.request.content)
    assert value(http, "daglens_received_bytes_total", transport="http") == 0


def test_two_servers_of_one_process_share_no_numbers(serve):
    """A registry each."""
    with httpx.Client(base_url=serve().url) as one, httpx.Client(base_url=serve().url) as other:
        ask(one, "{ __typename }")
        assert value(one, "daglens_requests_total", route="/graphql") == 1
        assert value(other, "daglens_requests_total", route="/graphql") == 0


def test_upkeep_is_counted(http):
    """By how its rounds ended."""
    until(lambda: value(http, "daglens_upkeep_rounds_total", outcome="ok") >= 1)


@pytest.mark.parametrize("name", ["process_resident_memory_bytes", "daglens_lists_total", "daglens_info"])
def test_process_and_executor_are_there(http, name):
    """Standard names for the process; the executor's counters."""
    assert name in http.get("/metrics").text


def test_what_somebody_is_woken_by_is_there_before_it_happens(http):
    """With 0: of a counter that appears with its first failure, Prometheus's `rate` and `increase` see no rise."""
    text = http.get("/metrics").text
    for section in ("run_storage", "event_log_storage", "compute_logs", "local_artifact_storage"):
        for outcome in ("failed", "unavailable", "refused", "canceled"):
            assert f'daglens_storage_calls_total{{outcome="{outcome}",storage="{section}"}} 0.0\n' in text
    assert 'daglens_upkeep_rounds_total{outcome="failed"} 0.0\n' in text
    assert 'daglens_retention_rounds_total{outcome="failed"} 0.0\n' in text
    assert 'daglens_errors_total{code="INTERNAL"} 0.0\n' in text


def test_bytes_are_bytes(server: LiveServer, http):
    """Of a text that isn't ASCII as many are counted as went over the wire."""
    with opened(server) as socket:
        before = value(http, "daglens_received_bytes_total", transport="websocket")
        message = json.dumps({"type": "ping", "payload": {"said": "żółw" * 25}}, ensure_ascii=False)
        socket.connection.send(message)
        assert socket.receive()["type"] == "pong"
        received = value(http, "daglens_received_bytes_total", transport="websocket") - before
    assert received == len(message.encode()) > len(message)


def test_a_scrape_holds_nobody_up(server: LiveServer, http, monkeypatch):
    """While thousands of lines are written for one who asks, others are answered."""
    begun, go_on = threading.Event(), threading.Event()
    metrics = server.app.state.served.telemetry.metrics
    text: Callable[[], bytes] = metrics.text

    def slow() -> bytes:
        begun.set()
        assert go_on.wait(60)
        return text()

    monkeypatch.setattr(metrics, "text", slow)
    with ThreadPoolExecutor(1) as scraper:
        scrape = scraper.submit(lambda: httpx.get(f"{server.url}/metrics", timeout=60).text)
        try:
            assert begun.wait(60)
            assert ask(http, "{ __typename }").json() == {"data": {"__typename": "Query"}}
        finally:
            go_on.set()
        assert "daglens_requests_total" in scrape.result(60)


def test_a_request_looks_up_no_metric_twice(http, monkeypatch):
    """What counts a request was found by the first one like it: asking a metric for its child costs three times what
    counting does."""
    asked: list[tuple[object, ...]] = []
    labels = MetricWrapperBase.labels

    def counted(self: MetricWrapperBase, *values: object, **named: object) -> object:
        asked.append(values)
        return labels(self, *values, **named)

    ask(http, "query Mine { runsOrError { __typename } }")
    monkeypatch.setattr(MetricWrapperBase, "labels", counted)
    ask(http, "query Mine { runsOrError { __typename } }")
    assert [values for values in asked if values not in {("ok",), ("failed",)}] == []


def test_a_plug_in_that_tells_nothing_of_itself(serve, instance):
    """What a storage says of its pool and its mode is left out when it raises; all else is told."""

    class Raising:
        def __getattr__(self, name: str) -> object:
            return getattr(instance.runs, name)

        def connections(self) -> object:
            raise RuntimeError("planted")

        def statements(self) -> object:
            raise RuntimeError("planted")

    with httpx.Client(base_url=serve(replace(instance, runs=Raising())).url) as client:
        assert value(client, "daglens_info") == 1


def test_statements_of_sqlite_are_counted_and_timed(serve, tmp_path):
    """By file, as those of PostgreSQL by server."""
    with Instance.open(home=tmp_path) as on_disk, httpx.Client(base_url=serve(on_disk).url) as client:
        create(on_disk)
        before = value(client, "daglens_statements_total")
        ask(client, "{ runsOrError { __typename } }")
        (database,) = {
            sample.labels["database"]
            for family in text_string_to_metric_families(client.get("/metrics").text)
            for sample in family.samples
            if sample.name == "daglens_statement_seconds_total"
        }
        assert database.startswith(str(tmp_path))
        assert value(client, "daglens_statements_total", database=database) > before
        assert value(client, "daglens_statement_seconds_total", database=database) > 0


TRUSTED = (
    "fragment F on Query { version } query Trusted { ...F } query AlsoTrusted($a: Boolean!) { ...F @include(if: $a) }"
)


def test_names_of_trusted_documents_always_show(serve, tmp_path):
    """However many names other clients have sent before: those of the manifest, of one that is read later too."""
    file = tmp_path / "documents.json"
    file.write_text(manifest_text({"one": TRUSTED}))
    with httpx.Client(base_url=serve(documents=file, documents_mode="log").url, timeout=60) as client:
        for number in range(101):
            ask(client, f"query Q{number} {{ __typename }}")
        ask(client, TRUSTED, operationName="AlsoTrusted", variables={"a": True})
        assert value(client, "daglens_operations_total", operation="AlsoTrusted", outcome="ok") == 1
        file.write_text(manifest_text({"one": TRUSTED, "two": "query Later { version }"}))
        ask(client, "query Later { version }")
        ask(client, "query Late { version }")
        assert value(client, "daglens_operations_total", operation="Later", outcome="ok") == 1
        assert value(client, "daglens_operations_total", operation="Late") == 0


def test_names_in_documents():
    """All operations of a text, wherever they stand; a field, a fragment or a description is none of them."""
    texts = {
        "a": TRUSTED,
        "b": "# query No\nsubscription\n  Sub @x {a}mutation Mut{b(queryName:1)}",
        "c": "{ version }",
    }
    assert sorted(Manifest.of(texts).operation_names()) == ["AlsoTrusted", "Mut", "Sub", "Trusted"]


def test_known_names_have_a_bound():
    """A file of any length makes no labels without end, and what can't be a name makes none."""
    names = BoundedNames(room=0)
    names.know(f"Q{number}" for number in range(2000))
    names.know(["x" * 65, "Later"])
    shown = {names.label(name) for name in (*(f"Q{number}" for number in range(2000)), "x" * 65, "Later")}
    assert len(shown) == 1001 and "Later" not in shown
