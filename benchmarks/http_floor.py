"""The floor of the HTTP benchmarks: a bare Starlette application that reads the same rows by the raw driver.

Run as `http_floor.py sqlite FILE FOLDER RUNS` or `http_floor.py postgres URL FOLDER RUNS`: prints its address, serves
until it is terminated. Same server settings as `daglens serve`; eight threads with a connection each, as there. Rows
become dictionaries and then JSON by orjson; nothing is parsed, checked, converted or chosen.
"""

from __future__ import annotations

import sqlite3
import sys
import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import dataset
import orjson
import psycopg2
import uvicorn
from anyio import CapacityLimiter, to_thread
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

Rows = Sequence[tuple[Any, ...]]
THREADS = 8
RUN = ("runId", "pipelineName", "status", "createdAt", "startedAt", "endedAt")
RUN_COLUMNS = "r.run_id, r.pipeline_name, r.status, r.created_at_us, r.started_at_us, r.ended_at_us"
EVENT = ("seq", "eventId", "eventType", "stepKey", "level", "message", "timestamp", "data")
EVENT_COLUMNS = "seq, event_id, event_type, step_key, level, message, timestamp_us, data"
NEWEST = "ORDER BY r.created_at_us DESC, r.run_id DESC LIMIT 25"


class Database:
    """Reads by the raw driver, on a connection of the thread's own."""

    def __init__(self, kind: str, place: str) -> None:
        self._kind = kind
        self._place = place
        self._schema = "" if kind == "sqlite" else "daglens."
        self._of_thread = threading.local()

    def rows(self, sql: str, *values: Any) -> Rows:
        """Rows of a statement written with `?` and `{schema}`."""
        sql = sql.replace("{schema}", self._schema)
        if self._kind == "sqlite":
            return self._connection(lambda: sqlite3.connect(self._place)).execute(sql, values).fetchall()  # type: ignore[no-any-return]
        cursor = self._connection(lambda: psycopg2.connect(self._place)).cursor()
        cursor.execute(sql.replace("?", "%s"), values)
        return cursor.fetchall()  # type: ignore[no-any-return]

    def _connection(self, connect: Callable[[], Any]) -> Any:
        found = getattr(self._of_thread, "connection", None)
        if found is None:
            found = self._of_thread.connection = connect()
            if self._kind != "sqlite":
                found.autocommit = True
        return found


def application(database: Database, folder: Path, runs: int) -> Starlette:
    """The routes, one for each case."""
    limiter = CapacityLimiter(THREADS)
    long_run = dataset.run_id(dataset.long_run(runs))
    log_file = folder / "storage" / long_run / "compute_logs" / f"{dataset.LOG_STEP}.out"

    def with_tags(rows: Rows) -> bytes:
        marks = ", ".join("?" * len(rows))
        tags: dict[str, list[dict[str, str]]] = {}
        for run_id, key, value in database.rows(
            f"SELECT run_id, key, value FROM {{schema}}run_tags WHERE run_id IN ({marks})", *(row[0] for row in rows)
        ):
            tags.setdefault(run_id, []).append({"key": key, "value": value})
        return orjson.dumps([{**dict(zip(RUN, row, strict=True)), "tags": tags[row[0]]} for row in rows])

    def page() -> bytes:
        return with_tags(database.rows(f"SELECT {RUN_COLUMNS} FROM {{schema}}runs r {NEWEST}"))

    def one() -> bytes:
        return with_tags(database.rows(f"SELECT {RUN_COLUMNS} FROM {{schema}}runs r WHERE r.run_id = ?", long_run))

    def filtered() -> bytes:
        return with_tags(
            database.rows(
                f"SELECT {RUN_COLUMNS} FROM {{schema}}runs r WHERE r.status = ? AND EXISTS (SELECT 1 FROM "
                f"{{schema}}run_tags t WHERE t.run_id = r.run_id AND t.key = ? AND t.value = ?) {NEWEST}",
                "FAILURE", "team", dataset.TEAMS[0],
            )
        )  # fmt: skip

    def events() -> bytes:
        rows = database.rows(
            f"SELECT {EVENT_COLUMNS} FROM {{schema}}events WHERE run_key = (SELECT run_key FROM {{schema}}event_heads "
            "WHERE run_id = ?) AND seq > ? ORDER BY seq LIMIT 1000",
            long_run, 0,
        )  # fmt: skip
        return orjson.dumps([dict(zip(EVENT, row, strict=True)) for row in rows])

    def log() -> bytes:
        return orjson.dumps({"data": log_file.read_bytes().decode()})

    def route(name: str, read: Callable[[], bytes]) -> Route:
        async def answer(request: Request) -> Response:
            return Response(await to_thread.run_sync(read, limiter=limiter), media_type="application/json")

        return Route(f"/{name}", answer)

    return Starlette(
        routes=[
            route("page", page),
            route("one", one),
            route("filtered", filtered),
            route("events", events),
            route("log", log),
        ]
    )


class Announced(uvicorn.Server):
    """Prints its address when it answers."""

    async def startup(self, sockets: Any = None) -> None:
        """See uvicorn."""
        await super().startup(sockets)
        port = self.servers[0].sockets[0].getsockname()[1]
        print(f"http://127.0.0.1:{port}", flush=True)


def main() -> None:
    """Serve."""
    from daglens.server.serve import settle_garbage

    kind, place, folder, runs = sys.argv[1:]
    app = application(Database(kind, place), Path(folder), int(runs))
    settle_garbage()
    Announced(
        uvicorn.Config(
            app, port=0, access_log=False, log_config=None, lifespan="on", proxy_headers=False, server_header=False,
            timeout_keep_alive=75,
        )
    ).run()  # fmt: skip


if __name__ == "__main__":
    main()
