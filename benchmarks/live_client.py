"""Many viewers in one process, as light as they can be: what is measured is the server.

Run by `benchmarks/live.py`, which sends one JSON command per line and gets one answer each.
"""

from __future__ import annotations

import asyncio
import json
import re
import sys
import time
from base64 import b64encode
from collections import Counter
from typing import Any

SEQS = re.compile(rb'"seq":(\d+)')
MESSAGES = re.compile(rb'"message":"(\d+)"')
CURSOR = re.compile(rb'"cursor":"e1\.([0-9a-f]{16})\.\d+"')
HANDSHAKES = 50
"""Connections being opened at once."""


class Parsed:
    """One result, looked into once however many viewers get it."""

    def __init__(self, payload: bytes) -> None:
        self.seqs = [int(seq) for seq in SEQS.findall(payload)]
        self.sent_ns = [int(sent) for sent in MESSAGES.findall(payload)]
        self.dense = self.seqs == list(range(self.seqs[0], self.seqs[0] + len(self.seqs))) if self.seqs else True


class Viewers:
    """All viewers, and what they have counted."""

    def __init__(self) -> None:
        self.parsed: dict[bytes, Parsed] = {}
        self.lags: Counter[int] = Counter()
        self.lost = self.doubled = self.messages = self.events = self.bytes = 0
        self.live_from_ns = 0
        self.open: list[Viewer] = []
        self.incarnation = b""
        self.sample = b""

    def take(self, viewer: Viewer, payload: bytes) -> None:
        """Count one message. `payload` is the part that does not name the viewer."""
        found = self.parsed.get(payload)
        if found is None:
            if len(self.parsed) > 500:
                self.parsed.clear()
            found = self.parsed[payload] = Parsed(payload)
            if not self.incarnation and (named := CURSOR.search(payload)):
                self.incarnation = named[1]
        self.messages += 1
        self.bytes += len(payload)
        if not found.seqs:
            return
        self.sample = payload
        self.events += len(found.seqs)
        first = found.seqs[0]
        if not found.dense or first > viewer.seq + 1:
            self.lost += max(1, first - viewer.seq - 1)
        elif first <= viewer.seq:
            self.doubled += viewer.seq + 1 - first
        viewer.seq = found.seqs[-1]
        now = time.time_ns()
        for sent in found.sent_ns:
            if sent >= self.live_from_ns:
                self.lags[(now - sent) // 100_000] += 1

    def reset(self) -> None:
        """Begin to count anew, lags only of what is written from now on."""
        self.clear()
        self.live_from_ns = time.time_ns()

    def clear(self) -> None:
        """Begin to count anew."""
        self.lags.clear()
        self.lost = self.doubled = self.messages = self.events = self.bytes = 0

    def lag_ms(self, share: float) -> float:
        """A percentile of the time from an event's writing to its arrival."""
        left = sum(self.lags.values()) * share
        for tenths in sorted(self.lags):
            left -= self.lags[tenths]
            if left <= 0:
                return tenths / 10
        return 0.0


class Viewer(asyncio.Protocol):
    """One WebSocket with one subscription."""

    def __init__(self, viewers: Viewers, number: int, query: str, run_id: str, after: str | None, seq: int) -> None:
        self.viewers = viewers
        self.seq = seq
        self.begun: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.ended: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._buffer = bytearray()
        self._upgraded = False
        self._id = f"viewer-{number}"
        self._operation = {"query": query, "variables": {"runId": run_id, "after": after}}

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport: asyncio.Transport = transport  # type: ignore[assignment]
        key = b64encode(bytes(16)).decode()
        host = "{}:{}".format(*transport.get_extra_info("peername")[:2])
        self.transport.write(
            f"GET /graphql HTTP/1.1\r\nHost: {host}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            f"Sec-WebSocket-Key: {key}\r\nSec-WebSocket-Version: 13\r\n"
            "Sec-WebSocket-Protocol: graphql-transport-ws\r\n\r\n".encode()
        )

    def connection_lost(self, error: Exception | None) -> None:
        if not self.begun.done():
            self.begun.set_exception(error or ConnectionError(bytes(self._buffer[:200])))
        self.ended.set_result(None)

    def data_received(self, data: bytes) -> None:
        buffer = self._buffer
        buffer += data
        if not self._upgraded:
            end = buffer.find(b"\r\n\r\n")
            if end < 0:
                return
            if not buffer.startswith(b"HTTP/1.1 101"):
                self.transport.close()
                return
            del buffer[: end + 4]
            self._upgraded = True
            self._send({"type": "connection_init"})
            self._send({"type": "subscribe", "id": self._id, "payload": self._operation})
        while len(buffer) >= 2:
            size, start = buffer[1], 2
            if size == 126:
                size, start = int.from_bytes(buffer[2:4], "big"), 4
            elif size == 127:
                size, start = int.from_bytes(buffer[2:10], "big"), 10
            if len(buffer) < start + size:
                return
            kind, body = buffer[0] & 15, bytes(buffer[start : start + size])
            del buffer[: start + size]
            if kind == 1:
                self._message(body)
            elif kind == 9:
                self._frame(0x8A, body)

    def _message(self, body: bytes) -> None:
        if b'"type":"next"' in body[:40]:
            self.viewers.take(self, body[body.index(b'"payload":') :])
            if not self.begun.done():
                self.begun.set_result(None)
        elif b'"connection_ack"' not in body:
            raise RuntimeError(f"unexpected: {body[:300]!r}")

    def _send(self, message: dict[str, Any]) -> None:
        self._frame(0x81, json.dumps(message).encode())

    def _frame(self, head: int, body: bytes) -> None:
        # Masked with zeros: the rules want a mask, not a secret one.
        size = bytes([0x80 | len(body)]) if len(body) < 126 else b"\xfe" + len(body).to_bytes(2, "big")
        self.transport.write(bytes([head]) + size + bytes(4) + body)


async def open_viewers(viewers: Viewers, command: dict[str, Any]) -> dict[str, Any]:
    """Open `count` viewers, each from an own place of the first `through` events when that is given."""
    loop = asyncio.get_running_loop()
    begun = time.perf_counter()
    gate = asyncio.Semaphore(HANDSHAKES)
    count, through = command["count"], command.get("through", 0)

    async def one(number: int) -> None:
        seq = 1 + number * (through - 1) // count if through else 0
        after = f"e1.{viewers.incarnation.decode()}.{seq}" if seq else None
        async with gate:
            viewer = Viewer(viewers, number, command["query"], command["run_id"], after, seq)
            viewers.open.append(viewer)
            await loop.create_connection(lambda: viewer, "127.0.0.1", command["port"])
            await viewer.begun

    await asyncio.gather(*(one(number) for number in range(count)))
    return {"seconds": time.perf_counter() - begun}


async def answer(viewers: Viewers, command: dict[str, Any]) -> dict[str, Any]:
    """Carry out one command."""
    kind = command["do"]
    if kind == "open":
        return await open_viewers(viewers, command)
    if kind == "reset":
        viewers.reset()
    elif kind == "reach":
        deadline = time.monotonic() + command["patience_s"]
        while min((viewer.seq for viewer in viewers.open), default=command["seq"]) < command["seq"]:
            if time.monotonic() > deadline:
                break
            await asyncio.sleep(0.01)
        behind = [command["seq"] - viewer.seq for viewer in viewers.open if viewer.seq < command["seq"]]
        counted = {
            "missing": sum(behind),
            "gone": sum(viewer.ended.done() for viewer in viewers.open),
            "lost": viewers.lost,
            "doubled": viewers.doubled,
            "messages": viewers.messages,
            "events": viewers.events,
            "bytes": viewers.bytes,
            "p50_ms": viewers.lag_ms(0.5),
            "p99_ms": viewers.lag_ms(0.99),
            "most_ms": viewers.lag_ms(1.0),
            "sample": viewers.sample.decode(),
        }
        if command.get("clear"):
            viewers.clear()
        return counted
    elif kind == "seq":
        return {"seq": max((viewer.seq for viewer in viewers.open), default=0)}
    elif kind == "close":
        for viewer in viewers.open:
            viewer.transport.abort()
        await asyncio.gather(*(viewer.ended for viewer in viewers.open))
        viewers.open.clear()
    return {}


async def main() -> None:
    """Take commands until there are no more."""
    loop = asyncio.get_running_loop()
    commands = asyncio.StreamReader()
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(commands), sys.stdin)
    viewers = Viewers()
    while line := await commands.readline():
        print(json.dumps(await answer(viewers, json.loads(line))), flush=True)


if __name__ == "__main__":
    try:
        import uvloop
    except ImportError:
        asyncio.run(main())
    else:
        uvloop.run(main())
