"""Memory of a server whose viewers come and go: what a closed connection leaves is given back, and how soon.

Run as `python benchmarks/churn.py [--rounds 25] [--sockets 200]`. Each round opens so many sockets, each with a
subscription, and closes them. Prints the server's memory after each, and in the end how often Python looked for
garbage. Linux only: memory is read from /proc.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import re
import tempfile
from pathlib import Path
from urllib.request import urlopen

from live import serving
from websockets.asyncio.client import connect
from websockets.typing import Subprotocol

from daglens.instance import Instance
from daglens.storage.records import EventDraft, NewRun

SUBSCRIPTION = (
    'subscription { runEvents(runId: "run") { __typename ... on RunEventsBatch { events { seq message } cursor } } }'
)


async def watch(port: int, first: asyncio.Semaphore, over: asyncio.Event) -> None:
    """One socket: its first batch, and then until all have theirs."""
    address = f"ws://127.0.0.1:{port}/graphql"
    protocol = Subprotocol("graphql-transport-ws")
    async with connect(address, subprotocols=[protocol], compression=None, proxy=None) as socket:
        await socket.send(json.dumps({"type": "connection_init"}))
        await socket.recv()
        await socket.send(json.dumps({"id": "1", "type": "subscribe", "payload": {"query": SUBSCRIPTION}}))
        await socket.recv()
        first.release()
        await over.wait()


async def one_round(port: int, sockets: int) -> None:
    """Open all, and close all."""
    first, over = asyncio.Semaphore(0), asyncio.Event()
    async with asyncio.TaskGroup() as viewers:
        for _ in range(sockets):
            viewers.create_task(watch(port, first, over))
        for _ in range(sockets):
            await first.acquire()
        over.set()


def memory_mib(process: int) -> float:
    """Resident memory of a process."""
    found = re.search(r"VmRSS:\s+(\d+) kB", Path(f"/proc/{process}/status").read_text())
    assert found is not None
    return int(found[1]) / 1024


def main() -> None:
    """See the module."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--rounds", type=int, default=25)
    parser.add_argument("--sockets", type=int, default=200)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        home = Path(folder)
        with Instance.open(home=home) as instance:
            instance.create_run(NewRun("run", "nightly"))
            instance.append("run", [EventDraft("LOG_MESSAGE", message=f"line {n}") for n in range(30)])
        with serving(home) as (process, port):
            print(f"at the start: {memory_mib(process):.1f} MiB")
            for number in range(1, given.rounds + 1):
                asyncio.run(one_round(port, given.sockets))
                print(f"{number * given.sockets:>6} sockets closed: {memory_mib(process):.1f} MiB", flush=True)
            text = urlopen(f"http://127.0.0.1:{port}/metrics").read().decode()
            print(*re.findall(r"^python_gc_collections_total.*$", text, re.MULTILINE), sep="\n")


if __name__ == "__main__":
    main()
