"""The two other loads of `benchmarks/soak.py`, each in a process of its own: writers of events, and requests.

`soak_load.py write HOME` and `soak_load.py ask PORT`. Each line on standard input is answered by a line of JSON with
what was done since the last; the end of the input ends the process. Both keep to a schedule: what is late is done as
soon as it can be, and the time of a request counts from when it was due, so that a server that stands still can't hide
it.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import itertools
import json
import resource
import select
import sys
import time
from pathlib import Path

REQUESTS = (
    (
        "query Page { runsOrError(limit: 25) { ... on RunPage { nodes { runId pipelineName status createdAt "
        "tags { key value } stats { events } } cursor hasMore } ... on Error { code message } } }"
    ),
    (
        "query One($runId: ID!) { runOrError(runId: $runId) { ... on Run { runId status stats { events } "
        "stepStats { stepKey status } } ... on Error { code message } } }"
    ),
    (
        "query Events($runId: ID!) { runEventsOrError(runId: $runId, limit: 100) { ... on EventPage { "
        "nodes { seq timestamp level message eventType stepKey } cursor hasMore } ... on Error { code message } } }"
    ),
    (
        "query Last($runId: ID!) { runOrError(runId: $runId) { ... on Run { runId stats { events } "
        "computeLogs { stepKey } } ... on Error { code message } } }"
    ),
)
"""What a person with the list, a run and its events open asks for."""
CONNECTIONS = 16
PATIENCE_S = 60.0


def run_ids(count: int) -> list[str]:
    """Names of the runs."""
    return [f"soak-{number:03}" for number in range(count)]


def write(home: Path, runs: int, rate: float, batch: int) -> None:
    """Append `batch` events at a time to one run after the other. Every run has as many in the end: whole rounds."""
    from daglens.instance import Instance
    from daglens.storage.records import EventDraft, NewRun

    names = run_ids(runs)
    with Instance.open(home=home) as instance:
        for name in names:
            instance.create_run(NewRun(name, "soak", tags=(("load", "soak"),)))
            instance.append(name, [EventDraft("RUN_START")])
        print("ready", flush=True)
        begun, appended, told, slowest_s = time.perf_counter(), 0, 0, 0.0
        ending = False
        for name in itertools.cycle(names):
            if name == names[0] and ending:
                break
            wait_s = begun + appended / rate - time.perf_counter()
            if not ending and select.select([sys.stdin], [], [], max(0.0, wait_s))[0]:
                if sys.stdin.readline():
                    answer = {"appended": appended - told, "slowest_ms": slowest_s * 1e3, "behind_s": max(0.0, -wait_s)}
                    print(json.dumps(answer), flush=True)
                    told, slowest_s = appended, 0.0
                else:
                    ending = True
            before = time.perf_counter()
            sent = str(time.time_ns())
            instance.append(name, [EventDraft("LOG_MESSAGE", "extract", message=sent) for _ in range(batch)])
            slowest_s = max(slowest_s, time.perf_counter() - before)
            appended += batch
    print(json.dumps({"appended": appended, "seq": 1 + appended // runs}), flush=True)


class Asking:
    """Requests over a few connections, and what has come of them."""

    def __init__(self, port: int, runs: int, rate: float) -> None:
        self._port = port
        self._names = run_ids(runs)
        self._rate = rate
        self._numbers = itertools.count()
        self._times: list[float] = []
        self._errors: list[str] = []

    async def connection(self, begun: float) -> None:
        """Send what is due by one connection, over and over; a broken one is an error, and another is opened."""
        while True:
            reader, writer = await asyncio.open_connection("127.0.0.1", self._port)
            try:
                while True:
                    number = next(self._numbers)
                    due = begun + number / self._rate
                    await asyncio.sleep(max(0.0, due - time.perf_counter()))
                    async with asyncio.timeout(PATIENCE_S):
                        await self._ask(number, reader, writer)
                    self._times.append(time.perf_counter() - due)
            except (OSError, EOFError, ValueError, TimeoutError) as error:
                self._errors.append(f"{type(error).__name__}: {error}"[:300])
            finally:
                writer.transport.abort()

    async def _ask(self, number: int, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        query = REQUESTS[number % len(REQUESTS)]
        variables = {"runId": self._names[number // len(REQUESTS) % len(self._names)]}
        body = json.dumps({"query": query, "variables": variables if "$runId" in query else {}}).encode()
        head = f"POST /graphql HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: {len(body)}\r\n"
        writer.write(f"{head}Content-Type: application/json\r\n\r\n".encode() + body)
        answer = (await reader.readuntil(b"\r\n\r\n")).lower()
        size = int(answer.partition(b"content-length:")[2].split(b"\r\n", 1)[0])
        text = await reader.readexactly(size)
        # Every error, of the request and of a field's union, has a code; nothing else that is asked for has one.
        if b" 200 " not in answer[:13] or b'"errors"' in text or b'"code"' in text:
            self._errors.append(text.decode()[:300])

    def take(self) -> dict[str, object]:
        """What has come since the last time."""
        times, errors = sorted(self._times), self._errors
        self._times, self._errors = [], []
        at = [times[min(len(times) - 1, int(len(times) * share))] * 1e3 if times else 0.0 for share in (0.5, 0.99, 1)]
        return {"count": len(times), "p50_ms": at[0], "p99_ms": at[1], "most_ms": at[2], "errors": errors}


async def ask(port: int, runs: int, rate: float) -> None:
    """Ask until the input ends."""
    loop = asyncio.get_running_loop()
    commands = asyncio.StreamReader()
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(commands), sys.stdin)
    asking = Asking(port, runs, rate)
    begun = time.perf_counter()
    tasks = [asyncio.create_task(asking.connection(begun)) for _ in range(CONNECTIONS)]
    print("ready", flush=True)
    while await commands.readline():
        broken = [task for task in tasks if task.done()]
        for task in broken:
            task.result()
        print(json.dumps(asking.take()), flush=True)
    for task in tasks:
        task.cancel()
    await asyncio.wait(tasks)


def raise_open_files() -> None:
    """As many sockets as this process may have."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))


def main() -> None:
    """Do one of the two."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("load", choices=("write", "ask"))
    parser.add_argument("where", help="the instance's folder, or the server's port")
    parser.add_argument("--runs", type=int, required=True)
    parser.add_argument("--rate", type=float, required=True)
    parser.add_argument("--batch", type=int, default=1)
    given = parser.parse_args()
    with contextlib.suppress(KeyboardInterrupt):
        if given.load == "write":
            write(Path(given.where), given.runs, given.rate, given.batch)
        else:
            asyncio.run(ask(int(given.where), given.runs, given.rate))


if __name__ == "__main__":
    main()
