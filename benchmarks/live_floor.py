"""The floor of a live feed: a bare ASGI application that sends ready text to every socket. Run by `live.py`.

Same server, same WebSocket settings, same pace; no GraphQL, no storage, no cursors, nobody who reads slowly.
"""

from __future__ import annotations

import asyncio
import contextlib
import sys
from collections.abc import Awaitable, Callable
from typing import Any

import uvicorn

from daglens.server.serve import listen, url_of

PAYLOAD = ""
PACE_S = 0.05
sockets: dict[Callable[[dict[str, Any]], Awaitable[None]], str] = {}


async def tick() -> None:
    """Send to all, again and again, at the pace of a feed with many viewers."""
    loop = asyncio.get_running_loop()
    while True:
        begun = loop.time()
        for send, head in list(sockets.items()):
            with contextlib.suppress(OSError):
                await send({"type": "websocket.send", "text": head + PAYLOAD})
        await asyncio.sleep(max(0.0, begun + PACE_S - loop.time()))


async def app(scope: Any, receive: Any, send: Any) -> None:
    """One socket."""
    assert scope["type"] == "websocket"
    await receive()
    await send({"type": "websocket.accept", "subprotocol": "graphql-transport-ws"})
    await receive()
    await send({"type": "websocket.send", "text": '{"type":"connection_ack"}'})
    id = (await receive())["text"].split('"id": "')[1].split('"')[0]
    sockets[send] = '{"type":"next","id":"' + id + '",'
    while (await receive())["type"] != "websocket.disconnect":
        pass
    sockets.pop(send, None)


async def serve() -> None:
    """Serve until told to end."""
    config = uvicorn.Config(app, access_log=False, log_config=None, lifespan="off", ws_per_message_deflate=False)
    server = uvicorn.Server(config)
    listening = listen("127.0.0.1", 0)
    print(url_of(listening), flush=True)
    asyncio.get_running_loop().create_task(tick())
    await server.serve(sockets=[listening])


if __name__ == "__main__":
    PAYLOAD = sys.stdin.readline().rstrip("\n")
    try:
        import uvloop
    except ImportError:
        asyncio.run(serve())
    else:
        uvloop.run(serve())
