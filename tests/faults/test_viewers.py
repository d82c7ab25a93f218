"""Viewers that stop, and viewers that vanish."""

from __future__ import annotations

import asyncio
import json
import resource
import socket as sockets
import struct
from pathlib import Path

import pytest
from websockets.asyncio.client import ClientConnection, connect

from daglens.instance import Instance
from daglens.storage.records import EventDraft
from daglens.testing.server import LiveServer
from tests.faults.conftest import Trial
from tests.faults.instances import batch, log_of, opened, served
from tests.server.conftest import EVENTS, TRANSPORT, until
from tests.server.conftest import opened as socket_to

VIEWERS = 1000


@pytest.fixture
def many_files() -> None:
    """Both ends of a thousand sockets are in this process."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft < 4096:
        resource.setrlimit(resource.RLIMIT_NOFILE, (min(4096, hard) if hard > 0 else 4096, hard))


@pytest.mark.fault("viewer_stops")
def test_stops(trial: Trial, tmp_path: Path) -> None:
    """While one viewer reads nothing, others get all at once, and it holds back next to nothing here; later it gets
    every event."""
    total = 4000  # 24 MB, which is more than the buffers of a connection take: those of 8 MB were seen to be
    stops_at = trial.random.randint(1, 200)
    with (
        opened(tmp_path) as instance,
        served(instance) as server,
        socket_to(server, max_queue=1) as slow,
        socket_to(server) as quick,
    ):
        places = {slow: [], quick: []}  # type: ignore[var-annotated]

        def read(viewer: object, count: int) -> list[int]:
            while len(places[viewer]) < count:  # type: ignore[index]
                payload = viewer.result()  # type: ignore[attr-defined]
                places[viewer] += [event["seq"] for event in payload["data"]["runEvents"]["events"]]  # type: ignore[index]
            return places[viewer]  # type: ignore[index]

        instance.append("run", batch("w", 0, stops_at))
        for viewer in (slow, quick):
            viewer.start(EVENTS.replace("{ seq }", "{ seq message }"), variables={"runId": "run"})
            read(viewer, stops_at)
        for _ in range((total - stops_at) // 200 + 1):
            instance.append("run", [EventDraft("LOG_MESSAGE", message="x" * 6000) for _ in range(200)])
        stored = len(log_of(instance))
        assert read(quick, stored) == list(range(1, stored + 1))
        assert server.on_loop(lambda: len(server.hub._runs["run"]._window)) <= 4000
        assert server.on_loop(lambda: min(server.hub._runs["run"].viewers.values())) < stored
        assert read(slow, stored) == list(range(1, stored + 1))
        trial.kept(stored, len(places[slow]))


@pytest.mark.fault("viewers_vanish")
def test_vanish(trial: Trial, tmp_path: Path, many_files: None) -> None:
    """A thousand viewers are cut off at random moments of their subscriptions: nothing of them stays, and the one who
    watches on misses nothing."""
    write_before = trial.random.randint(0, 200)
    with opened(tmp_path) as instance, served(instance) as server, socket_to(server) as watcher:
        instance.append("run", batch("w", 0, write_before))
        watcher.start(EVENTS, variables={"runId": "run"})
        vanish = [trial.random.random() for _ in range(VIEWERS)]
        asyncio.run(come_and_vanish(server, instance, vanish))
        until(lambda: server.on_loop(lambda: server.hub.viewers) == 1)
        instance.append("run", batch("w", write_before + VIEWERS, 1))
        got: list[int] = []
        stored = len(log_of(instance))
        while len(got) < stored:
            got += [event["seq"] for event in watcher.result()["data"]["runEvents"]["events"]]
        assert got == list(range(1, stored + 1))
        until(lambda: server.on_loop(operations) == 1)
        trial.kept(stored, len(got))


async def come_and_vanish(server: LiveServer, instance: Instance, vanish: list[float]) -> None:
    """Open the viewers, fifty at a time; cut some of them when they have just asked, the rest all at once."""
    subscribe = {"type": "subscribe", "id": "1", "payload": {"query": EVENTS, "variables": {"runId": "run"}}}
    room = asyncio.Semaphore(50)

    async def come(chance: float) -> ClientConnection | None:
        async with room:
            viewer = await connect(
                server.socket_url,
                subprotocols=[TRANSPORT],  # type: ignore[list-item]
                compression=None,
                proxy=None,
                open_timeout=60,
            )
            await viewer.send(json.dumps({"type": "connection_init"}))
            await viewer.recv()
            await viewer.send(json.dumps(subscribe))
            if chance < 0.3:
                await cut(viewer)
                return None
            if chance < 0.6:
                await viewer.recv()
            return viewer

    viewers = [viewer for viewer in await asyncio.gather(*map(come, vanish)) if viewer is not None]
    await asyncio.to_thread(instance.append, "run", batch("more", 0, 50))
    await asyncio.gather(*map(cut, viewers))


async def cut(viewer: ClientConnection) -> None:
    """A reset instead of a goodbye, as from a machine that lost its power."""
    sock = viewer.transport.get_extra_info("socket")
    sock.setsockopt(sockets.SOL_SOCKET, sockets.SO_LINGER, struct.pack("ii", 1, 0))
    viewer.transport.abort()
    await viewer.wait_closed()


def operations() -> int:
    """Operations on the running loop."""
    return sum(task.get_name().startswith("daglens-operation") for task in asyncio.all_tasks())
