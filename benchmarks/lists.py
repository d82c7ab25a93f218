"""Lists of events and runs: compiled, by graphql-core's executor, and the floor (rows to dictionaries to orjson).

Run as `python benchmarks/lists.py [--repeats 7] [--seconds 1] [--http] [--url postgresql://…] [--events 1000000]`. Each
round gives each way so many seconds; what is printed is the median (lowest … highest) of the rounds. In process, all
three begin with the rows as a storage gave them, and processor time is what counts. With `--http` a page of 1000 events
comes from PostgreSQL, from a log among so many events, over HTTP, beside a bare Starlette route that reads the same
rows by psycopg2; each server is a process of its own. Without a URL a server is started from the wheel that the tests
use.
"""

from __future__ import annotations

import argparse
import asyncio
import http.client
import json
import multiprocessing
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any, cast

import orjson
import strawberry
from postgres_append import SCHEMA, server
from rates import Comparison, Spread, compare, rate
from strawberry.schema.config import StrawberryConfig

from daglens.schema.compiled import CompiledExecutionContext
from daglens.schema.documents import ParsedOnce, ValidatedOnce
from daglens.schema.event import Event
from daglens.schema.event_objects import EVENT_TYPES, EventRows
from daglens.schema.metadata import METADATA_TYPES
from daglens.schema.run import Run
from daglens.schema.run_configs import RunConfig
from daglens.schema.run_objects import RunRows
from daglens.schema.scalars import SCALARS
from daglens.storage.records import EventDraft, EventRecord, Head, NewRun, RunRecord, RunStatus

EVENT_FIELDS = "runId seq cursor timestamp level message eventType stepKey"
RUN_FIELDS = (
    "runId pipelineName status createdAt startedAt endedAt durationSeconds canTerminate tags { key value } "
    "stats { stepsSucceeded stepsFailed events }"
)
INCARNATION = "0123456789abcdef"
NOW_US = 1_700_000_000_000_000
PAGE = 1000


Way = Callable[[], bytes]
"""Makes one answer."""


@dataclass(frozen=True, slots=True)
class Rounds:
    """How long is measured: so many rounds, in each so many seconds of each way."""

    repeats: int
    seconds: float


def measure(ways: Mapping[str, Way], rounds: Rounds, clock: Callable[[], float] = time.perf_counter) -> Comparison:
    """Answers per second of each way, in turns."""
    measures = {name: partial(rate, int, _calling(way), 1, clock=clock) for name, way in ways.items()}
    return compare(measures, repeats=rounds.repeats, seconds=rounds.seconds)


def _calling(way: Way) -> Callable[[object], object]:
    return lambda _: way()


def lines(found: Comparison) -> Iterator[str]:
    """Milliseconds of an answer, by each way: median (quickest … slowest) of the rounds."""
    for way in found.rates:
        took = Spread.of([1e3 / answers for answers in found.rates[way]])
        yield f"  {way:<10} {took.text('{:.2f}')} ms"


# ---------------------------------------------------------------- in process


@dataclass(frozen=True)
class _Lists:
    events: EventRows
    runs: RunRows


@strawberry.type
class _Query:
    @strawberry.field
    def events(self, info: strawberry.Info) -> list[Event]:
        return cast(list[Event], info.context.events)

    @strawberry.field
    def runs(self, info: strawberry.Info) -> list[Run]:
        return cast(list[Run], info.context.runs)


def _schema(*, compiled: bool) -> strawberry.Schema:
    return strawberry.Schema(
        _Query,
        types=[*EVENT_TYPES, *METADATA_TYPES],
        config=StrawberryConfig(scalar_map=SCALARS),
        extensions=[ParsedOnce, ValidatedOnce],
        execution_context_class=CompiledExecutionContext if compiled else None,
    )


def events_in_process(rounds: Rounds, fields: str = EVENT_FIELDS) -> Comparison:
    """1000 events."""
    rows = [
        ("run-1", seq, None, "LOG_MESSAGE", "extract", 20, f"row {seq} was read", NOW_US + seq * 12_345, "{}")
        for seq in range(1, PAGE + 1)
    ]

    def floor() -> bytes:
        names = ("runId", "seq", "eventId", "eventType", "stepKey", "level", "message", "timestamp", "data")
        return orjson.dumps([dict(zip(names, row, strict=True)) for row in rows])

    records = [EventRecord(*row) for row in rows]
    context = _Lists(EventRows(records, INCARNATION), RunRows([], {}, [], NOW_US))
    return _in_process(f"{{ events {{ {fields} }} }}", context, floor, rounds)


def runs_in_process(rounds: Rounds) -> Comparison:
    """25 runs with tags and counts."""
    runs = [
        RunRecord(
            f"run-{n}", "nightly", RunStatus.SUCCESS, (("team", "core"), ("env", "prod"), ("day", "1"), ("by", "x")),
            "{}", None, None, None, NOW_US + n, NOW_US + n, NOW_US + n, NOW_US + 5 * n, None, None, None, False, 1, "",
        )
        for n in range(25)
    ]  # fmt: skip
    heads = {run.run_id: Head(run.run_id, INCARNATION, 100) for run in runs}

    def floor() -> bytes:
        answer = [
            {**dict(zip(RunRecord._fields, run, strict=True)), "events": heads[run.run_id].last_seq} for run in runs
        ]
        return orjson.dumps(answer)

    context = _Lists(EventRows([], None), RunRows(runs, heads, [RunConfig({}, "")] * len(runs), NOW_US))
    return _in_process(f"{{ runs {{ {RUN_FIELDS} }} }}", context, floor, rounds)


def _in_process(document: str, context: _Lists, floor: Way, rounds: Rounds) -> Comparison:
    compiled, default = _schema(compiled=True), _schema(compiled=False)
    with asyncio.Runner() as runner:
        # Not by runner.run: putting the handler of Ctrl-C back, Python makes a repr of the whole answer, for 3 ms.
        loop = runner.get_loop()

        def answer(schema: strawberry.Schema) -> bytes:
            result = loop.run_until_complete(schema.execute(document, context_value=context))
            assert result.errors is None
            return orjson.dumps(result.data)

        assert answer(compiled) == answer(default)
        ways = {"floor": floor, "compiled": lambda: answer(compiled), "default": lambda: answer(default)}
        return measure(ways, rounds, time.thread_time)


# ---------------------------------------------------------------- over HTTP, from PostgreSQL


def events_over_http(rounds: Rounds, url: str | None, events: int, fields: str = EVENT_FIELDS) -> Comparison:
    """A page of 1000 events, from the middle of one log of 10,000 among `events`."""
    with server(url) as address:
        incarnation = _store(address, events)
        document = (
            f'query Page($after: Cursor) {{ runEventsOrError(runId: "run-1", limit: {PAGE}, after: $after) '
            f"{{ ... on EventPage {{ nodes {{ {fields} }} cursor hasMore }} }} }}"
        )
        body = json.dumps({"query": document, "variables": {"after": f"e1.{incarnation}.4000"}})
        with _process(_serve_daglens, address) as daglens, _process(_serve_floor, address) as bare:
            headers = {"content-type": "application/json"}
            ways = {
                "floor": lambda: _answer(bare, "GET", "/events", None, {}),
                "daglens": lambda: _answer(daglens, "POST", "/graphql", body, headers),
            }
            found = json.loads(ways["daglens"]())["data"]["runEventsOrError"]["nodes"]
            assert [event["seq"] for event in found] == [event["seq"] for event in json.loads(ways["floor"]())]
            return measure(ways, rounds)


def _store(url: str, events: int) -> str:
    import psycopg2

    from daglens.config.secrets import Secret
    from daglens.storage.postgres import PostgresConfig, PostgresEventLogStorage, PostgresRunStorage

    with psycopg2.connect(url) as raw:
        raw.cursor().execute(f"DROP SCHEMA IF EXISTS {SCHEMA} CASCADE")
    raw.close()
    config = PostgresConfig(postgres_url=Secret(url), schema_name=SCHEMA)
    runs = PostgresRunStorage.from_config(config, Path())
    log = PostgresEventLogStorage.from_config(config, Path())
    of_run = 10_000
    runs.add(NewRun("run-1", "nightly"))
    for first in range(0, of_run, PAGE):
        log.append(
            "run-1",
            [EventDraft("LOG_MESSAGE", "extract", message=f"row {n} was read") for n in range(first, first + PAGE)],
        )
    incarnation = log.heads(["run-1"])["run-1"].incarnation
    runs.close()
    log.close()
    columns = "seq, event_id, event_type, step_key, level, timestamp_us, message, data"
    raw = psycopg2.connect(url)
    raw.autocommit = True
    cursor = raw.cursor()
    # The others' events stand before and behind the log's own, as if all had been recorded at once.
    cursor.execute(
        f"INSERT INTO {SCHEMA}.events (run_key, {columns}) SELECT key, {columns} FROM {SCHEMA}.events, "
        f"generate_series(1000001, 1000000 + %s) AS key",
        (max(0, events // of_run - 1),),
    )
    cursor.execute(f"VACUUM ANALYZE {SCHEMA}.events")
    raw.close()
    return incarnation


def _serve_daglens(url: str, told: Connection) -> None:
    from dataclasses import replace

    from daglens.config.secrets import Secret
    from daglens.instance import Instance
    from daglens.server.app import create_app
    from daglens.server.serve import listen, make_server
    from daglens.server.settings import ServerSettings
    from daglens.storage.postgres import PostgresConfig, PostgresEventLogStorage, PostgresRunStorage

    config = PostgresConfig(postgres_url=Secret(url), schema_name=SCHEMA)
    runs = PostgresRunStorage.from_config(config, Path())
    log = PostgresEventLogStorage.from_config(config, Path())
    with Instance.ephemeral() as instance:
        listening = listen("127.0.0.1", 0)
        app = create_app(replace(instance, runs=runs, events=log), ServerSettings())
        told.send(listening.getsockname()[1])
        make_server(app, ServerSettings(), ready=lambda: None).run(sockets=[listening])


def _serve_floor(url: str, told: Connection) -> None:
    import psycopg2
    import uvicorn
    from anyio import to_thread
    from starlette.applications import Starlette
    from starlette.requests import Request
    from starlette.responses import Response
    from starlette.routing import Route

    from daglens.server.serve import listen

    raw = psycopg2.connect(url)
    raw.autocommit = True
    names = ("seq", "eventId", "eventType", "stepKey", "level", "message", "timestamp", "data")

    def read() -> bytes:
        cursor = raw.cursor()
        cursor.execute(
            f"SELECT seq, event_id, event_type, step_key, level, message, timestamp_us, data FROM {SCHEMA}.events "
            f"WHERE run_key = (SELECT run_key FROM {SCHEMA}.event_heads WHERE run_id = %s) AND seq > %s "
            "ORDER BY seq LIMIT %s",
            ("run-1", 4000, PAGE),
        )
        return orjson.dumps([dict(zip(names, row, strict=True)) for row in cursor.fetchall()])

    async def answer(request: Request) -> Response:
        return Response(await to_thread.run_sync(read), media_type="application/json")

    listening = listen("127.0.0.1", 0)
    told.send(listening.getsockname()[1])
    app = Starlette(routes=[Route("/events", answer)])
    uvicorn.Server(uvicorn.Config(app, access_log=False, log_config=None)).run(sockets=[listening])


@contextmanager
def _process(serve: Callable[[str, Connection], None], url: str) -> Iterator[http.client.HTTPConnection]:
    """A connection to a server in a process of its own."""
    context = multiprocessing.get_context("spawn")
    here, there = context.Pipe()
    child = context.Process(target=serve, args=(url, there), daemon=True)
    child.start()
    try:
        if not here.poll(60):
            raise RuntimeError("The server did not get ready.")
        client = http.client.HTTPConnection("127.0.0.1", here.recv(), timeout=60)
        yield client
        client.close()
    finally:
        child.terminate()
        child.join()


def _answer(client: http.client.HTTPConnection, method: str, path: str, body: str | None, headers: Any) -> bytes:
    client.request(method, path, body, headers)
    response = client.getresponse()
    text = response.read()
    assert response.status == 200, text
    return text


# ---------------------------------------------------------------- table


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=7)
    parser.add_argument("--seconds", type=float, default=1.0, help="of each way in each round")
    parser.add_argument("--http", action="store_true")
    parser.add_argument("--url")
    parser.add_argument("--events", type=int, default=1_000_000)
    given = parser.parse_args()
    rounds = Rounds(given.repeats, given.seconds)
    typed = f"__typename {EVENT_FIELDS} ... on LogMessageEvent {{ logger }}"
    for title, found in (
        ("1000 events, 8 fields", events_in_process(rounds)),
        ("1000 events, 8 fields, and 2 that depend on the type", events_in_process(rounds, typed)),
        ("25 runs, 10 fields", runs_in_process(rounds)),
    ):
        print(title, *lines(found), sep="\n")
        print(f"  compiled is {found.ratio('compiled', 'default').text('{:.1f}')} x as fast as default")
        print(f"  compiled takes {found.ratio('floor', 'compiled').text('{:.2f}')} x the floor\n")
    if given.http:
        found = events_over_http(rounds, given.url, given.events)
        print(f"1000 events over HTTP, from PostgreSQL with {given.events} events", *lines(found), sep="\n")
        print(f"  daglens takes {found.ratio('floor', 'daglens').text('{:.2f}')} x the floor")


if __name__ == "__main__":
    main()
