"""Metrics of several workers on one port: whichever is asked tells those of all, each sample with its worker's number.

prometheus_client's own way for several processes keeps files, one more for each process that ever ran, and leaves out
gauges that are read when they are asked for, as are most of ours. So the worker that is asked asks the others.
"""

from __future__ import annotations

import asyncio
import logging
import re
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from pathlib import Path

log = logging.getLogger("daglens.server")

TIMEOUT_S = 2.0
"""So long another worker may take; who doesn't answer is left out."""

_SAMPLE = re.compile(rb"([a-zA-Z_:][a-zA-Z0-9_:]*)(\{?)")


class Neighbours:
    """The workers of one server, this one among them. They reach each other by sockets in a folder of theirs."""

    def __init__(self, folder: Path, number: int) -> None:
        """`number`: of this worker."""
        self._folder = folder
        self._number = number

    @asynccontextmanager
    async def told(self, text: Callable[[], Awaitable[bytes]]) -> AsyncIterator[None]:
        """Tell the others this worker's metrics while the context is open."""

        async def tell(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            try:
                writer.write(await text())
            finally:
                writer.close()

        path = self._folder / str(self._number)
        # Of one that died, and had this number.
        path.unlink(missing_ok=True)
        try:
            listening = await asyncio.start_unix_server(tell, path)
        except OSError as error:
            log.warning("/metrics leaves out worker %d, unless it is the one that is asked: %s", self._number, error)
            yield
            return
        try:
            yield
        finally:
            listening.close()

    async def texts(self, own: bytes) -> dict[int, bytes]:
        """What all workers tell that answer, by their numbers; `own` is of this one."""
        numbers = sorted(int(path.name) for path in self._folder.iterdir() if int(path.name) != self._number)
        found = await asyncio.gather(*(self._ask(number) for number in numbers))
        texts = {number: text for number, text in zip(numbers, found, strict=True) if text}
        return dict(sorted({**texts, self._number: own}.items()))

    async def _ask(self, number: int) -> bytes:
        try:
            async with asyncio.timeout(TIMEOUT_S):
                reader, writer = await asyncio.open_unix_connection(self._folder / str(number))
                try:
                    return await reader.read()
                finally:
                    writer.close()
        except (OSError, TimeoutError):
            return b""


def merged(texts: Mapping[int, bytes]) -> bytes:
    """One text in Prometheus's format out of several; each sample has the label `worker` besides its own."""
    families: dict[bytes, tuple[list[bytes], list[bytes]]] = {}
    for number, text in texts.items():
        label = b'worker="%d"' % number
        said: list[bytes] = []
        samples: list[bytes] = []
        for line in text.splitlines():
            if line.startswith(b"#"):
                said, samples = families.setdefault(line.split(b" ", 3)[2], ([], []))
                if line not in said:
                    said.append(line)
            elif sample := _SAMPLE.match(line):
                name, brace = sample.groups()
                rest = line[sample.end() :]
                samples.append(name + b"{" + label + (b"," + rest if brace else b"}" + rest))
    return b"".join(line + b"\n" for said, samples in families.values() for line in (*said, *samples))
