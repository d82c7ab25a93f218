"""A server under the load of a busy team for minutes: no error, nothing lost, and no memory that grows.

Run as `python benchmarks/soak.py [--storage sqlite postgres] [--minutes 10] [--clients 1000] [--requests 200]
[--events 2000] [--runs 20] [--batch 10]`. Processes: one `daglens serve`; one client that holds all WebSockets (raw
frames), `clients / runs` of them on each run; one that sends `requests` a second, lists, runs and pages of events in
turn; one that appends `events` a second to the storage as recorders do, `batch` per append. A line per minute; then
what was broken, if anything was. Lag is from just before the append to the arrival, by one clock; the time of a request
counts from when it was due. Exit code 0: nothing was broken; 1: something was. Linux only: /proc is read.

Broken is: an error or a closed socket; a subscriber that did not get every seq of its run, each once; less than 95 % of
the events or of the requests that were asked for, as then the load was another; from 3 minutes on, memory (resident) at
the end above 1.1 × that at minute 2.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from live import PATIENCE_S, QUERY, Client, cpu_s, home_of, serving
from machine import Noise, described
from soak_load import raise_open_files, run_ids

HERE = Path(__file__).parent
MINUTE_S = 60.0
MEMORY_FROM = 2
MOST_GROWTH = 1.1
LEAST_SHARE = 0.95


@dataclass(frozen=True)
class Load:
    """What the server bears.

    Attributes:
        requests, events: A second.
        batch: Events per append.
    """

    clients: int
    requests: float
    events: float
    runs: int
    batch: int


@dataclass(frozen=True)
class Minute:
    """What one minute came to.

    Attributes:
        resident_mib, own_mib: Memory of the server at its end: all that is resident, and without what files back.
        core: Share of one core that the server took.
        lag_ms, request_ms: p50, p99 and the longest.
        errors: What requests were answered beside results.
        lost, doubled: Events that viewers missed, or got again.
        gone: Viewers whose socket has been closed.
    """

    number: int
    seconds: float
    resident_mib: float
    own_mib: float
    core: float
    appended: int
    slowest_append_ms: float
    delivered: int
    lag_ms: tuple[float, float, float]
    requests: int
    request_ms: tuple[float, float, float]
    errors: tuple[str, ...]
    lost: int
    doubled: int
    gone: int

    def __str__(self) -> str:
        lag, asked = ("/".join(f"{ms:.0f}" for ms in figures) for figures in (self.lag_ms, self.request_ms))
        return (
            f"{self.number:>6}{self.resident_mib:>9.1f}{self.own_mib:>9.1f}{self.core:>7.2f}"
            f"{self.appended / self.seconds:>9.0f}{self.slowest_append_ms:>9.0f}{self.delivered / self.seconds:>11.0f}"
            f"{lag:>15}{self.requests / self.seconds:>8.0f}{asked:>13}"
            f"{len(self.errors):>8}{self.lost:>6}{self.doubled:>8}{self.gone:>6}"
        )


HEAD = (
    f"{'minute':>6}{'RSS MiB':>9}{'own MiB':>9}{'core':>7}{'app./s':>9}{'slowest':>9}{'deliv./s':>11}"
    f"{'lag ms':>15}{'req./s':>8}{'ms':>13}{'errors':>8}{'lost':>6}{'doubled':>8}{'gone':>6}"
)


class Process:
    """A process of soak_load.py."""

    def __init__(self, *command: str) -> None:
        self._process = subprocess.Popen(
            [sys.executable, str(HERE / "soak_load.py"), *command],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        self._line()

    def take(self) -> dict[str, Any]:
        """What it did since the last time."""
        assert self._process.stdin is not None
        self._process.stdin.write("take\n")
        self._process.stdin.flush()
        answer: dict[str, Any] = json.loads(self._line())
        return answer

    def end(self) -> dict[str, Any]:
        """End it; what it says then."""
        lines = self._process.communicate()[0].split("\n")
        answer: dict[str, Any] = json.loads(lines[-2]) if len(lines) > 1 else {}
        return answer

    def _line(self) -> str:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            raise SystemExit("A process that makes the load has ended; what it said stands above.")
        return line


def memory_mib(pid: int) -> tuple[float, float]:
    """Resident memory of a process: all of it, and what belongs to no file."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    kib = {name: int(rest.split()[0]) for name, _, rest in (line.partition(":") for line in lines) if "kB" in rest}
    return kib["VmRSS"] / 1024, kib["RssAnon"] / 1024


def soak(storage: str, minutes: float, load: Load, minute_s: float = MINUTE_S) -> tuple[list[Minute], list[str]]:
    """Each minute's figures, printed as they come, and what was broken."""
    client = Client()
    done: list[Minute] = []
    runs = ["--runs", str(load.runs)]
    try:
        with home_of(storage) as home, serving(home, "--limit", "max_connections=0") as (pid, port):
            writer = Process("write", str(home), *runs, "--rate", str(load.events), "--batch", str(load.batch))
            try:
                for number, name in enumerate(run_ids(load.runs)):
                    count = load.clients // load.runs + (number < load.clients % load.runs)
                    client("open", run_id=name, port=port, query=QUERY, count=count)
                asking = Process("ask", str(port), *runs, "--rate", str(load.requests))
                try:
                    # What came before is counted with none: opening took its time, the load goes on from here.
                    start = client("reach", seq=0, patience_s=0, clear=True)
                    client("reset")
                    for process in (writer, asking):
                        process.take()
                    begun = time.perf_counter()
                    for number in range(1, round(minutes) + 1):
                        before = cpu_s(pid), time.perf_counter()
                        time.sleep(max(0.0, begun + number * minute_s - before[1]))
                        figures = client("reach", seq=0, patience_s=0, clear=True)
                        done.append(_minute(number, pid, before, figures, writer.take(), asking.take()))
                        print(done[-1], flush=True)
                finally:
                    asking.end()
            finally:
                last = writer.end()
            end = client("reach", seq=last["seq"], patience_s=PATIENCE_S)
            client("close")
    finally:
        client.close()
    return done, broken(done, load, [start, end])


def _minute(
    number: int,
    pid: int,
    before: tuple[float, float],
    seen: dict[str, Any],
    written: dict[str, Any],
    asked: dict[str, Any],
) -> Minute:
    seconds = time.perf_counter() - before[1]
    resident, own = memory_mib(pid)
    return Minute(
        number,
        seconds,
        resident,
        own,
        (cpu_s(pid) - before[0]) / seconds,
        written["appended"],
        written["slowest_ms"],
        seen["events"],
        (seen["p50_ms"], seen["p99_ms"], seen["most_ms"]),
        asked["count"],
        (asked["p50_ms"], asked["p99_ms"], asked["most_ms"]),
        tuple(asked["errors"]),
        seen["lost"],
        seen["doubled"],
        seen["gone"],
    )


def broken(minutes: list[Minute], load: Load, beside: list[dict[str, Any]]) -> list[str]:
    """What is not as it has to be, a sentence each. `beside`: what viewers counted before and after the minutes."""
    said = []
    errors = [error for minute in minutes for error in minute.errors]
    if errors:
        said.append(f"{len(errors)} requests failed, the first: {errors[0]}")
    lost = sum(minute.lost for minute in minutes) + sum(part["lost"] for part in beside)
    doubled = sum(minute.doubled for minute in minutes) + sum(part["doubled"] for part in beside)
    missing, gone = beside[-1]["missing"], beside[-1]["gone"]
    if lost or missing or doubled:
        said.append(f"Subscribers missed {lost} events, {missing} more at the end, and got {doubled} twice.")
    if gone:
        said.append(f"{gone} sockets were closed.")
    seconds = sum(minute.seconds for minute in minutes)
    for what, done, asked in (
        ("events were appended", sum(minute.appended for minute in minutes) / seconds, load.events),
        ("requests were answered", sum(minute.requests for minute in minutes) / seconds, load.requests),
    ):
        if done < LEAST_SHARE * asked:
            said.append(f"Only {done:.0f} {what} a second, not {asked:.0f}.")
    if len(minutes) > MEMORY_FROM:
        growth = minutes[-1].resident_mib / minutes[MEMORY_FROM - 1].resident_mib
        if growth > MOST_GROWTH:
            said.append(f"Memory grew to {growth:.2f} × that of minute {MEMORY_FROM}; {MOST_GROWTH} × is allowed.")
    return said


def main() -> None:
    """Measure, print, and tell by the exit code."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--storage", nargs="+", choices=("sqlite", "postgres"), default=["sqlite", "postgres"])
    parser.add_argument("--minutes", type=int, default=10)
    parser.add_argument("--clients", type=int, default=1000)
    parser.add_argument("--requests", type=float, default=200.0, help="a second")
    parser.add_argument("--events", type=float, default=2000.0, help="a second")
    parser.add_argument("--runs", type=int, default=20)
    parser.add_argument("--batch", type=int, default=10, help="events per append")
    parser.add_argument("--minute", type=float, default=MINUTE_S, help="seconds that a minute has, to try it quickly")
    given = parser.parse_args()
    raise_open_files()
    load = Load(given.clients, given.requests, given.events, given.runs, given.batch)
    noise, failed = Noise(), False
    print(described())
    for storage in given.storage:
        noise.look()
        print(
            f"\n{storage}: {load.clients} WebSockets on {load.runs} runs, {load.requests:g} requests/s, "
            f"{load.events:g} events/s, {load.batch} per append; times are p50/p99/most\n{HEAD}",
            flush=True,
        )
        minutes, said = soak(storage, given.minutes, load, given.minute)
        noise.look()
        growth = ""
        if len(minutes) > MEMORY_FROM:
            ratio = minutes[-1].resident_mib / minutes[MEMORY_FROM - 1].resident_mib
            growth = f" Memory at the end: {ratio:.3f} × that of minute {MEMORY_FROM}."
        total = sum(minute.delivered for minute in minutes)
        verdict = "BROKEN" if said else "ok: no error, nothing lost, nothing twice"
        print(f"{storage}: {verdict}; {total:,} events delivered.{growth}", *said, sep="\n  ", flush=True)
        failed |= bool(said)
    print(f"\n{noise.text()}")
    sys.exit(1 if failed else 0)


if __name__ == "__main__":
    main()
