"""The live list of runs over real sockets: changes made by other processes, clients that break off and come back."""

from __future__ import annotations

import os
import subprocess
import sys
from contextlib import ExitStack
from pathlib import Path
from socket import SHUT_RDWR
from typing import Any

import pytest

from daglens.instance import Instance
from daglens.storage.records import NewRun
from daglens.testing.server import LiveServer
from tests.server.conftest import LEGACY, TRANSPORT, Serve, Socket, create, opened, until, write

RUNS = "subscription($filter: RunsFilter, $after: Cursor) { runs(filter: $filter, after: $after, limit: 100) { \
__typename ... on RunsBatch { changed { runId status tags { value } stats { events } } unmatched deleted cursor \
caughtUp } ... on Error { code } } }"
WRITER = Path(__file__).with_name("run_writer.py")
ROOT = Path(__file__).resolve().parents[2]


class Listed:
    """What a client shows: the runs of a subscription, by id."""

    def __init__(self, socket: Socket, id: str = "1", **variables: Any) -> None:
        self.socket = socket
        self.id = id
        self.runs: dict[str, str] = {}
        self.cursor = ""
        socket.start(RUNS, id=id, variables=variables)

    def take(self) -> dict[str, Any]:
        """The next batch."""
        payload = self.socket.result(self.id)
        assert "errors" not in payload
        batch: dict[str, Any] = payload["data"]["runs"]
        self.runs |= {run["runId"]: run["status"] for run in batch["changed"]}
        for run_id in (*batch["unmatched"], *batch["deleted"]):
            self.runs.pop(run_id, None)
        self.cursor = batch["cursor"]
        return batch

    def until_shows(self, runs: dict[str, str]) -> None:
        """Take batches until it shows these."""
        while self.runs != runs:
            self.take()


def write_elsewhere(home: Path) -> None:
    """Run the writer to its end."""
    dropped = {"PYTHONUNBUFFERED", "PYTHONDONTWRITEBYTECODE"}
    env = {k: v for k, v in os.environ.items() if k not in dropped} | {"PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        [sys.executable, str(WRITER), str(home)], env=env, capture_output=True, text=True, timeout=60, check=False
    )
    assert (done.returncode, done.stdout) == (0, "done\n"), done.stderr


def expected(*, started_only: bool = False) -> dict[str, str]:
    """What the writer leaves."""
    runs = {f"there-{n}": "STARTED" if n % 2 else "SUCCESS" for n in range(10) if n != 8}
    return {run_id: status for run_id, status in runs.items() if status == "STARTED" or not started_only}


@pytest.mark.parametrize("protocol", [TRANSPORT, LEGACY])
def test_another_process_writes(serve: Serve, tmp_path: Path, protocol: str) -> None:
    """Viewers of a server see what another process creates, moves and deletes, each by its filter; a client that was
    away meanwhile gets the same by its cursor, from another server."""
    with Instance.open(home=tmp_path / "home") as instance:
        with opened(serve(instance), protocol) as socket:
            away = Listed(socket)
            assert away.take()["changed"] == []
        with opened(serve(instance), protocol) as socket:
            everything = Listed(socket, "1")
            everything.take()
            write_elsewhere(tmp_path / "home")
            everything.until_shows(expected())
        with opened(serve(instance), protocol) as socket:
            started = Listed(socket, "2", after=away.cursor, filter={"statuses": ["STARTED"]})
            batch = started.take()
            assert started.runs == expected(started_only=True)
            assert (batch["deleted"], sorted(batch["unmatched"])) == (["there-8"], [f"there-{n}" for n in (0, 2, 4, 6)])
            assert [run["stats"]["events"] for run in batch["changed"]] == [1] * 5
            instance.append("there-1", [])
            write(instance, 1, "there-1", "RUN_FAILURE")
            assert started.take()["unmatched"] == ["there-1"]


def test_hundred_killed_viewers(server: LiveServer, instance: Instance) -> None:
    """A hundred viewers whose connections break off leave nothing on the server (weaknesses 7)."""
    create(instance)
    with ExitStack() as stack:
        lists = [Listed(stack.enter_context(opened(server))) for _ in range(100)]
        for shown in lists:
            shown.until_shows({"run": "NOT_STARTED"})
        assert server.on_loop(lambda: (server.hub.viewers, server.hub.feeds)) == (100, 1)
        write(instance, 1, event_type="RUN_START")
        for shown in lists[::2]:
            shown.until_shows({"run": "STARTED"})
        for shown in lists:
            shown.socket.connection.socket.shutdown(SHUT_RDWR)
        until(lambda: server.on_loop(lambda: (server.hub.viewers, server.hub.feeds)) == (0, 0))
        until(lambda: server.on_loop(live_tasks) == 0)


def live_tasks() -> int:
    """Tasks of feeds and operations on the running loop."""
    import asyncio

    return sum(task.get_name().startswith(("daglens-operation", "daglens-live")) for task in asyncio.all_tasks())


def test_reader_that_stops(server: LiveServer, instance: Instance) -> None:
    """A client that stops reading stops only its own feed; later it has every run in its latest state."""
    total = 3000
    with opened(server, max_queue=1) as slow, opened(server) as quick:
        lists = [Listed(slow), Listed(quick)]
        for shown in lists:
            shown.take()
        filler = (("filler", "x" * 4000),)
        for n in range(total):
            instance.create_run(NewRun(f"r{n}", "p", tags=filler))
        there = {f"r{n}": "NOT_STARTED" for n in range(total)}
        lists[1].until_shows(there)
        window = server.on_loop(lambda: len(server.hub._run_lists[None]._window))
        assert window <= server.app.state.served.settings.live.window_runs
        lists[0].until_shows(there)
