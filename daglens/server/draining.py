"""How a server ends: whoever has connected is answered, and nobody is cut off who could still have been."""

from __future__ import annotations

import asyncio
import contextlib
import signal
import socket
import threading
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Final

import uvicorn

_MOST_WAITING: Final = 2048
"""Connections that a listening socket keeps until they are accepted."""
_LAST_REQUESTS_S: Final = 0.5
"""How long connections that are open have to bring a request that is under way already."""
_LAST_WORDS_S: Final = 1.0
_LOOK_S: Final = 0.02


class DrainingServer(uvicorn.Server):
    """A uvicorn server that says when it answers, that has answered all who had connected when it stops, and that ends
    as if asked to.

    uvicorn itself closes the listening socket and all connections without a request at once. Those that wait to be
    accepted, and those whose request has come but not been read, are then reset: a client can't tell whether what it
    asked for was done.
    """

    def __init__(self, config: uvicorn.Config, *, ready: Callable[[], None], drain: Callable[[], None]) -> None:
        super().__init__(config)
        self._ready = ready
        self._drain = drain
        self._accepting: set[asyncio.Task[Any]] = set()
        self.on_shutdown: Callable[[], None] = lambda: None

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """See uvicorn."""
        await super().startup(sockets)
        self._ready()

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """See uvicorn."""
        self.on_shutdown()
        self._drain()
        # With its answer each is told to connect anew.
        state = self.server_state
        state.default_headers = [*state.default_headers, (b"connection", b"close")]
        await self._stop_listening(sockets or ())
        await self._take_last_requests()
        self._let_go_of_idle()
        await super().shutdown(sockets)
        # Clients that don't read have had their time; what is still to be written to them would hold the loop for ever.
        for connection in list(self.server_state.connections):
            connection.transport.abort()
        if self.server_state.tasks and not self.force_exit:
            # Those that were cut off notice it now.
            await asyncio.wait(self.server_state.tasks, timeout=_LAST_WORDS_S)

    async def _stop_listening(self, sockets: Sequence[socket.socket]) -> None:
        """Close the listening sockets, and take the connections that wait in them."""
        waiting: list[socket.socket] = []
        for listening in sockets:
            # Where there is no descriptor left, those that wait are reset; the server has to end all the same.
            with contextlib.suppress(OSError):
                waiting.append(listening.dup())
        for server in self.servers:
            server.close()
        for listening in sockets:
            listening.close()
        # uvloop gives up its descriptors in its next round. Until the copy is closed, whoever connects waits.
        await asyncio.sleep(0)
        accepted: list[socket.socket] = []
        for listening in waiting:
            # Nothing in between: who connects after the last look, and before the end, is reset.
            with listening, contextlib.suppress(OSError):
                listening.setblocking(False)
                while len(accepted) < _MOST_WAITING:
                    accepted.append(listening.accept()[0])
        loop = asyncio.get_running_loop()
        for connection in accepted:
            connection.setblocking(False)
            task = loop.create_task(self._take(connection), name="daglens-last connection")
            self._accepting.add(task)
            task.add_done_callback(self._accepting.discard)

    async def _take(self, connection: socket.socket) -> None:
        # Whoever has gone meanwhile, or speaks no TLS, isn't missed.
        with contextlib.suppress(OSError):
            await asyncio.get_running_loop().connect_accepted_socket(self._protocol, connection, ssl=self.config.ssl)

    def _protocol(self) -> asyncio.Protocol:
        return self.config.http_protocol_class(  # type: ignore[call-arg]
            config=self.config, server_state=self.server_state, app_state=self.lifespan.state
        )

    async def _take_last_requests(self) -> None:
        """Wait a moment for the requests of those who are connected."""
        loop = asyncio.get_running_loop()
        until = loop.time() + _LAST_REQUESTS_S
        # uvicorn's connections tell nobody that they end.
        while loop.time() < until and (  # noqa: ASYNC110
            self._accepting or any(map(_may_ask, self.server_state.connections))
        ):
            await asyncio.sleep(_LOOK_S)
        for task in self._accepting:
            task.cancel()

    def _let_go_of_idle(self) -> None:
        """With TLS a client has to agree to the end of its connection. One that keeps it for later, and reads nothing
        meanwhile, as pools of Python's clients do, would hold up the server for all the time there is."""
        loop = asyncio.get_running_loop()
        for connection in self.server_state.connections if self.config.is_ssl else ():
            transport = connection.transport
            if hasattr(connection, "cycle") and _may_ask(connection) and not transport.is_closing():
                loop.call_later(_LAST_WORDS_S, _end_written, transport)

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Take SIGTERM and SIGINT as requests to end. uvicorn would raise them again once it has ended, and SIGTERM
        would then take the process before the instance is closed."""
        if threading.current_thread() is not threading.main_thread():
            yield
            return
        before = {sign: signal.signal(sign, self.handle_exit) for sign in (signal.SIGTERM, signal.SIGINT)}
        try:
            yield
        finally:
            for sign, handler in before.items():
                signal.signal(sign, handler)


def _end_written(transport: Any) -> None:
    if not transport.get_write_buffer_size():
        transport.abort()


def _may_ask(connection: Any) -> bool:
    """Whether a connection of uvicorn's waits for a request or answers a WebSocket's handshake. One that is open is
    closed by a frame that says what to do."""
    if not hasattr(connection, "cycle"):
        return not connection.handshake_complete
    return connection.cycle is None or bool(connection.cycle.response_complete)
