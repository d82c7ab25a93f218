"""A real server in a thread of the test: uvicorn on a free port of 127.0.0.1."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, TypeVar

from daglens.server.app import create_app
from daglens.server.serve import listen, make_server, url_of
from daglens.server.settings import ServerSettings

if TYPE_CHECKING:
    from starlette.applications import Starlette

    from daglens.instance import Instance
    from daglens.resolvers.live import LiveHub

T = TypeVar("T")

_LOOK_S = 0.02


class LiveServer:
    """A server that answers.

    Attributes:
        url: As `http://127.0.0.1:40123`, without a slash at its end.
        app: The application, which runs on the server's own event loop.
    """

    def __init__(self, url: str, app: Starlette, loop: asyncio.AbstractEventLoop) -> None:
        self.url = url
        self.app = app
        self._loop = loop

    @property
    def socket_url(self) -> str:
        """Where WebSockets are opened."""
        return f"ws{self.url.removeprefix('http')}/graphql"

    @property
    def hub(self) -> LiveHub:
        """The live hub; look at it with `on_loop`."""
        hub: LiveHub = self.app.state.served.hub
        return hub

    def on_loop(self, call: Callable[[], T]) -> T:
        """What `call` gives on the server's event loop."""

        async def answer() -> T:
            return call()

        return asyncio.run_coroutine_threadsafe(answer(), self._loop).result()


@contextmanager
def serve_in_thread(
    instance: Instance, settings: ServerSettings | None = None, *, port: int = 0
) -> Iterator[LiveServer]:
    """Serve an instance, which stays the caller's to close, until the end of the block. `port` 0: any free one."""
    listening = listen("127.0.0.1", port)
    try:
        app = create_app(instance, settings)
        loops: list[asyncio.AbstractEventLoop] = []
        ready = threading.Event()

        def note() -> None:
            loops.append(asyncio.get_running_loop())
            ready.set()

        server = make_server(app, settings or ServerSettings(), ready=note)
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]}, name="daglens-test-server")
        thread.start()
        while not ready.wait(_LOOK_S):
            if not thread.is_alive():
                raise RuntimeError("The server ended before it answered; its log says why.")
        try:
            yield LiveServer(url_of(listening), app, loops[0])
        finally:
            server.should_exit = True
            thread.join()
    finally:
        listening.close()
