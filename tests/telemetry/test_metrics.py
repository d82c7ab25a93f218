"""`/metrics`: what a server counts and times."""

from __future__ import annotations

import httpx
import pytest
from prometheus_client.parser import text_string_to_metric_families

from daglens.instance import Instance
from daglens.server.telemetry.names import BoundedNames
from daglens.testing.server import LiveServer
from tests.server.conftest import EVENTS, create, opened, until, write


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
    assert value(http, "daglens_storage_threads", storage="run_storage", state="most") >= 1


def test_a_storage_that_fails_is_counted(http, instance, monkeypatch):
    """Apart from calls that it refuses."""

    def fail(*args: object, **kwargs: object) -> None:
        raise RuntimeError("disk on fire")

    monkeypatch.setattr(instance.runs, "page", fail)
    answer = ask(http, "{ runsOrError { __typename } }")
    assert answer.json()["errors"][0]["extensions"]["code"] == "STORAGE_UNAVAILABLE"
    assert value(http, "daglens_storage_calls_total", storage="run_storage", outcome="failed") == 1
    assert value(http, "daglens_errors_total", code="STORAGE_UNAVAILABLE") == 1


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


def test_event_streams_are_a_transport_of_their_own(http, instance):
    """From the moment that the answer turns out to be one."""
    create(instance)
    body = {"query": "{ __typename }"}
    answer = http.post("/graphql", json=body, headers={"accept": "text/event-stream"})
    assert answer.status_code == 200
    assert value(http, "daglens_requests_total", transport="sse", route="/graphql", status="200") == 1
    assert value(http, "daglens_requests_in_progress", transport="sse") == 0
    assert value(http, "daglens_sent_bytes_total", transport="sse") >= len(answer.content)


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
