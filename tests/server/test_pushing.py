"""What a WebSocket is sent without waiting."""

from __future__ import annotations

import asyncio
import socket as sockets

from daglens.instance import Instance
from daglens.server.pushing import PushingProtocol
from daglens.testing.server import LiveServer
from tests.server.conftest import PATIENCE_S, opened
from tests.server.test_draining import stoppable


def test_nothing_is_pushed_to_who_has_gone(instance: Instance) -> None:
    """From the moment that a connection is lost, before the application has heard of it, a push says that it can't."""
    pushed: list[bool] = []
    with stoppable(instance) as running:
        with opened(LiveServer(running.url, None, None)) as socket:  # type: ignore[arg-type]
            (protocol,) = (one for one in running.server.server_state.connections if isinstance(one, PushingProtocol))
            lost = asyncio.Event()
            tell = protocol.connection_lost

            def later() -> None:
                pushed.append(protocol.push(b"{}"))
                lost.set()

            def note(exc: Exception | None) -> None:
                tell(exc)
                pushed.append(protocol.push(b"{}"))
                # uvloop gives up its handle after this.
                running.loop.call_soon(later)

            protocol.connection_lost = note  # type: ignore[method-assign]
            # Without a word.
            socket.connection.socket.shutdown(sockets.SHUT_RDWR)
        asyncio.run_coroutine_threadsafe(lost.wait(), running.loop).result(PATIENCE_S)
    assert pushed == [False, False]
