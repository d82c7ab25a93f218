"""Clients for the HTTP benchmarks: keep-alive connections that send one request over and over, in this process.

Each line on standard input is a command as JSON: `host`, `port`, `request` (the whole request as text), `clients` and
`seconds`. Each line on standard output answers one: `count`, `per_second`, `p50_ms`, `p99_ms`, `bytes` of a body. The
answers are counted and measured, not parsed: what is to be measured is the server.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import sys
import time
from typing import cast

with contextlib.suppress(ImportError):
    import uvloop

    asyncio.set_event_loop_policy(uvloop.EventLoopPolicy())


PATIENCE_S = 60.0


class Client(asyncio.Protocol):
    """One connection: the next request goes out when the answer to the last is whole."""

    def __init__(self, request: bytes, until: float) -> None:
        self.times: list[float] = []
        self.body_bytes = 0
        self.ended: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._request = request
        self._until = until
        self._head = b""
        self._missing: int | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Send the first request."""
        self._transport = cast(asyncio.Transport, transport)  # uvloop's is none by its class
        self._send()

    def _send(self) -> None:
        self._sent = time.perf_counter()
        self._transport.write(self._request)

    def data_received(self, data: bytes) -> None:
        """Count what comes; at the end of an answer send the next request."""
        try:
            self._take(data)
        except Exception as error:
            self._fail(error)

    def _take(self, data: bytes) -> None:
        if self._missing is None:
            self._head += data
            head, found, body = self._head.partition(b"\r\n\r\n")
            if not found:
                return
            self._head = b""
            self._missing = self.body_bytes = self._length(head)
            self._missing -= len(body)
        else:
            self._missing -= len(data)
        if self._missing <= 0:
            self._missing = None
            now = time.perf_counter()
            self.times.append(now - self._sent)
            if now < self._until:
                self._send()
            else:
                self._transport.close()

    def _length(self, head: bytes) -> int:
        if not head.startswith(b"HTTP/1.1 200 "):
            raise RuntimeError(head.decode())
        for line in head.split(b"\r\n"):
            name, _, value = line.partition(b":")
            if name.lower() == b"content-length":
                return int(value)
        raise RuntimeError(f"An answer without content-length: {head.decode()}")

    def connection_lost(self, error: Exception | None) -> None:
        """Tell the end."""
        if time.perf_counter() < self._until:
            self._fail(error or ConnectionResetError("The server closed the connection."))
        elif not self.ended.done():
            self.ended.set_result(None)

    def _fail(self, error: Exception) -> None:
        if not self.ended.done():
            self.ended.set_exception(error)
        self._transport.abort()


async def load(host: str, port: int, request: str, clients: int, seconds: float) -> dict[str, float]:
    """Let so many clients work for so long."""
    loop = asyncio.get_running_loop()
    begun = time.perf_counter()
    made = [
        await loop.create_connection(lambda: Client(request.encode(), begun + seconds), host, port)
        for _ in range(clients)
    ]
    await asyncio.wait_for(asyncio.gather(*(client.ended for _, client in made)), seconds + PATIENCE_S)
    passed = time.perf_counter() - begun
    times = sorted(one for _, client in made for one in client.times)
    return {
        "count": len(times),
        "per_second": len(times) / passed,
        "p50_ms": 1e3 * times[len(times) // 2],
        "p99_ms": 1e3 * times[len(times) * 99 // 100],
        "bytes": made[0][1].body_bytes,
    }


def main() -> None:
    """Serve commands until the input ends."""
    for line in sys.stdin:
        print(json.dumps(asyncio.run(load(**json.loads(line)))), flush=True)


if __name__ == "__main__":
    main()
