"""Large requests are read in threads: the event loop, which serves everybody, has next to nothing to do for them."""

from __future__ import annotations

import asyncio
import json
import re
import threading
from typing import Any

import pytest
from graphql.execution.values import get_variable_values

from daglens.instance import Instance
from daglens.schema.build import build_schema
from daglens.schema.large_input import LARGE_BYTES, LargeVariables, marked
from daglens.schema.mutation_inputs import EventInput, TagInput
from daglens.server.connections import Clients, Connection
from daglens.server.graphql_request import BadRequest, parse_json
from daglens.server.large_json import _STEP_BY_STEP, parsed_json
from daglens.testing.server import LiveServer
from tests.server.conftest import LEGACY, TRANSPORT, create
from tests.server.test_limits import HTTP, SSE, answer_of

REPORT = """mutation($runId: ID!, $events: [EventInput!]!) {
  reportEvents(runId: $runId, events: $events) {
    __typename
    ... on ReportEventsSuccess { accepted lastSeq }
    ... on Error { code message }
    ... on InvalidInputError { path }
  }
}"""
EVENT = {"eventType": "STEP_START", "stepKey": "extract", "level": "DEBUG", "timestamp": "2026-11-22T09:30:00Z"}


class Seen:
    """Names of the threads in which something was done, each time."""

    def __init__(self) -> None:
        self.threads: dict[str, list[str]] = {"read": [], "made": [], "given": [], "parsed": []}

    def note(self, what: str) -> None:
        self.threads[what].append(threading.current_thread().name)


@pytest.fixture
def seen(monkeypatch: pytest.MonkeyPatch) -> Seen:
    """Where variables are read, events are made, and given to the resolvers."""
    seen = Seen()
    read, made, given = get_variable_values, EventInput.__init__, EventInput.to_given

    def noting_read(*arguments: Any, **options: Any) -> Any:
        seen.note("read")
        return read(*arguments, **options)

    def noting_made(self: EventInput, **values: Any) -> None:
        seen.note("made")
        made(self, **values)

    def noting_given(self: EventInput) -> Any:
        seen.note("given")
        return given(self)

    monkeypatch.setattr("daglens.schema.large_input.get_variable_values", noting_read)
    monkeypatch.setattr(EventInput, "__init__", noting_made)
    monkeypatch.setattr(EventInput, "to_given", noting_given)
    return seen


@pytest.mark.parametrize("transport", [HTTP, SSE, TRANSPORT, LEGACY])
def test_thousands_of_events(server: LiveServer, instance: Instance, seen: Seen, transport: str) -> None:
    """Thousands of reported events are read, made and checked in threads, on every transport; a few are not."""
    create(instance)
    answer = answer_of(transport, server, REPORT, runId="run", events=[EVENT] * 2000)
    assert answer["data"]["reportEvents"] == {
        "__typename": "ReportEventsSuccess",
        "accepted": 2000,
        "lastSeq": 2000,
    }
    assert len(seen.threads["made"]) == len(seen.threads["given"]) == 2000
    assert set(seen.threads["read"] + seen.threads["made"]) == {"daglens-large-input"}
    assert set(seen.threads["given"]) == {"daglens-reported-events"}
    seen.threads["made"].clear()
    answer = answer_of(transport, server, REPORT, runId="run", events=[EVENT])
    assert answer["data"]["reportEvents"]["lastSeq"] == 2001
    assert seen.threads["made"] == ["daglens-test-server"]


@pytest.mark.parametrize("transport", [HTTP, SSE, TRANSPORT, LEGACY])
@pytest.mark.parametrize(
    ("wrong", "at"),
    [
        ({"eventType": "STEP_START"}, 1500),
        ({"eventType": "STEP_START", "stepKey": "x", "data": {"attempt": 0}}, 3),
        ({"eventType": 5}, 1500),
        ({"eventTypo": "STEP_START"}, 1500),
        ({"eventType": "X", "level": "LOUD"}, 1500),
        ({"eventType": "X", "timestamp": "yesterday"}, 1500),
        (None, 1500),
    ],
    ids=["no step", "bad data", "no text", "misspelt", "no level", "no time", "null"],
)
def test_what_is_wrong_is_told_alike(
    server: LiveServer, instance: Instance, transport: str, wrong: dict[str, Any] | None, at: int
) -> None:
    """An event that can't be taken is told by the same words, whether it comes in a large request or in a small one."""
    create(instance)
    few = answer_of(transport, server, REPORT, runId="run", events=[EVENT] * 2 + [wrong])
    many = answer_of(transport, server, REPORT, runId="run", events=[EVENT] * at + [wrong] + [EVENT] * 1000)
    assert told(many) == told(few)
    assert not instance.events.heads(["run"])


def told(answer: dict[str, Any]) -> str:
    """What an answer says, whichever event it speaks of."""
    text = re.sub(r'"errorId": "[^"]*"', "", json.dumps(answer))
    return re.sub(r"(events\.| at \[)\d+", r"\1N", text)


async def test_large_json(monkeypatch: pytest.MonkeyPatch) -> None:
    """JSON of very many values is read in a thread and in steps of Python: equal values, equal refusals. What has few
    values is read at once, however long."""
    seen: list[str] = []
    read: Any = _STEP_BY_STEP.scan_once

    def noting(text: str, begin: int) -> Any:
        seen.append(threading.current_thread().name)
        return read(text, begin)

    monkeypatch.setattr(_STEP_BY_STEP, "scan_once", noting)
    many = [{"a": [1, 2.5, -0.0, 10**30, "\u00e9\U0001f600", True, None, {}, []]}] * 20_000
    for text in (json.dumps(many), json.dumps(many).encode()):
        assert await parsed_json(text, "The body") == many
    assert seen == ["daglens-large-json"] * 2
    for bad in ("[" * 200_000, json.dumps(many)[:-1], json.dumps(many)[:-1] + ",NaN]", json.dumps(many) + "]"):
        with pytest.raises(BadRequest) as refused:
            await parsed_json(bad, "The body")
        with pytest.raises(BadRequest) as expected:
            parse_json(bad, "The body")
        assert refused.value.hint == expected.value.hint
    assert len(seen) == 6
    assert await parsed_json(json.dumps("x" * 1_000_000), "The body") == "x" * 1_000_000
    assert len(seen) == 6


async def test_the_loop_goes_on_while_json_is_read() -> None:
    """While megabytes of brackets are read, the event loop has its turn again and again."""
    reading = asyncio.create_task(parsed_json("[" + "[]," * 400_000 + "1]", "The body"))
    turns = 0
    while not reading.done():
        await asyncio.sleep(0)
        turns += 1
    assert len(reading.result()) == 400_001
    assert turns > 10


async def test_whoever_sends_much_json_makes_others_wait_for_one(monkeypatch: pytest.MonkeyPatch) -> None:
    """What one client sends at once, over however many connections, is read one by one, with others' in between."""
    clients = Clients()
    order: list[str] = []
    begun, go_on = threading.Event(), threading.Event()
    read: Any = _STEP_BY_STEP.scan_once

    def noting(text: str, begin: int) -> Any:
        order.append(text[2])
        begun.set()
        go_on.wait(60)
        return read(text, begin)

    monkeypatch.setattr(_STEP_BY_STEP, "scan_once", noting)

    def reading(mark: str, client: str) -> asyncio.Task[Any]:
        connection = Connection(clients)
        connection.count_for(client)
        return asyncio.create_task(parsed_json(f'["{mark}"' + ",0" * 200_000 + "]", "The body", connection))

    first, given_up, *others = [reading(mark, "address a") for mark in "1234"]
    await asyncio.sleep(0)
    other = reading("b", "address b")
    await asyncio.to_thread(begun.wait, 60)
    given_up.cancel()
    go_on.set()
    await asyncio.gather(first, *others, other)
    assert order == ["1", "b", "3", "4"]
    assert given_up.cancelled()


def test_which_variables_are_large() -> None:
    """Those of a request of more than 64 KiB."""
    assert type(marked({"a": 1}, LARGE_BYTES)) is dict
    assert type(marked({"a": 1}, LARGE_BYTES + 1)) is LargeVariables
    assert marked(None, LARGE_BYTES + 1) is None


async def test_defaults_are_nobodys_own() -> None:
    """A list that an input type has by default is another one for each request."""
    schema = build_schema()
    kind: Any = schema._schema.type_map["CreateRunInput"]
    shared = [TagInput(key="team", value="core")]
    made = kind.out_type({"pipelineName": "nightly", "tags": shared})
    assert made.tags == shared and made.tags is not shared
