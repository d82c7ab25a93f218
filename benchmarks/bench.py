"""All benchmarks, in one table: `make bench`, or `python benchmarks/bench.py [--quick] [--only CASE …]`.

Each figure stands beside its floor in the same run, measured in turns, and beside the peer's where an environment with
dagster-webserver is named by --peer or $DAGLENS_BENCH_PEER. `--quick` takes a few minutes once the data is made: 1k
runs, two rounds. In full it is 1k and 10k runs of 100 events, five rounds, and up to 1000 viewers.
"""

from __future__ import annotations

import argparse
import contextlib
import functools
import os
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field

import data
import http_servers as servers
import live
import machine
import over_http
import peer_append
import postgres_append
import sqlite_append
import start_up
from rates import Comparison, Spread
from table import Row, markdown


@dataclass
class Bench:
    """One run of the benchmarks.

    Attributes:
        sizes: Numbers of runs.
        peer: The peer's Python.
    """

    sizes: Sequence[int]
    repeats: int
    seconds: float
    viewers: Sequence[int]
    peer: str | None
    stack: contextlib.ExitStack
    noise: machine.Noise = field(default_factory=machine.Noise)

    @functools.cached_property
    def postgres(self) -> str:
        """The PostgreSQL server, started when it is first needed."""
        return self.stack.enter_context(data.postgres())

    @functools.cached_property
    def load(self) -> servers.Load:
        """The clients."""
        return self.stack.enter_context(servers.Load())

    def homes(self, backend: data.Backend, runs: int) -> data.Homes:
        """The instances of one storage and size, made if they are missing.

        On SQLite the peer is there at the smallest size only: it keeps a file of 200 kB for each run.
        """
        with_peer = self.peer if backend == "postgres" or runs == min(self.sizes) else None
        if backend == "sqlite":
            return data.sqlite_homes(runs, with_peer)
        return data.postgres_homes(self.postgres, runs, with_peer)

    # ------------------------------------------------------------ the groups of cases

    def http(self, only: Sequence[str]) -> Iterator[Row]:
        """Requests over HTTP, and how they grow with the data."""
        backends: tuple[data.Backend, ...] = ("sqlite", "postgres")
        for backend in backends:
            for runs in self.sizes:
                homes = self.homes(backend, runs)
                with over_http.started(homes, self.peer) as addresses:
                    for case in over_http.cases(runs):
                        if not only or case.name in only:
                            self.noise.look()
                            seen = over_http.measure(
                                case, addresses, self.load, repeats=self.repeats, seconds=self.seconds
                            )
                            yield _http_row(case.title, homes, seen)
        if len(self.sizes) > 1:
            for backend in backends:
                yield from self._growth(backend, only)

    def _growth(self, backend: data.Backend, only: Sequence[str]) -> Iterator[Row]:
        """The rate with the most data over that with the least, in turns: what else the machine does falls on both."""
        few, many = min(self.sizes), max(self.sizes)
        with servers.daglens(self.homes(backend, few)) as less, servers.daglens(self.homes(backend, many)) as more:
            for case, large in zip(over_http.cases(few), over_http.cases(many), strict=True):
                if not only or case.name in only:
                    self.noise.look()
                    asked = {"less": (less, case.ours), "more": (more, large.ours)}
                    seen = over_http.in_turns(asked, self.load, repeats=self.repeats, seconds=self.seconds)
                    yield Row(
                        f"{case.title}: growth",
                        f"{backend}, {few:,} → {many:,} runs",
                        f"{seen.ratio('more', 'less').text('{:.2f}')} of the rate",
                    )

    def append(self, only: Sequence[str]) -> Iterator[Row]:
        """Events appended by one writer."""
        for per_commit in (1, 100):
            for durability in sqlite_append.DURABILITIES:
                self.noise.look()
                seen = sqlite_append.sqlite_append(
                    durability, per_commit, repeats=self.repeats, seconds=self.seconds / 2
                )
                yield Row(
                    f"append, {per_commit} per commit", f"sqlite, {durability}", _events(seen.rate("daglens")),
                    seen.ratio("daglens", "raw"),
                )  # fmt: skip
            self.noise.look()
            bench = postgres_append.Bench(self.postgres.format("postgres"), "full", 0)
            seen = postgres_append.postgres_append(bench, per_commit, repeats=self.repeats, seconds=self.seconds / 2)
            bench.close()
            yield Row(
                f"append, {per_commit} per commit", "postgres, full", _events(seen.rate("daglens")),
                seen.ratio("daglens", "execute_values", "COPY"),
            )  # fmt: skip
        if self.peer is not None:
            yield from self._append_beside_peer(self.peer)

    def _append_beside_peer(self, python: str) -> Iterator[Row]:
        self.noise.look()
        seen = peer_append.on_sqlite(python, repeats=self.repeats, seconds=self.seconds / 2)
        for durability in sqlite_append.DURABILITIES:
            way = f"daglens {durability}"
            yield Row(
                "append, 1 per commit, beside the peer", f"sqlite, {durability}", _events(seen.rate(way)),
                times_peer=seen.ratio(way, "dagster"),
            )  # fmt: skip
        seen = peer_append.on_postgres(
            python, self.postgres.format("postgres"), repeats=self.repeats, seconds=self.seconds / 2
        )
        for named, theirs in (("", "dagster"), (" and its engine pooled", "dagster pooled")):
            yield Row(
                f"append, 1 per commit, beside the peer{named}", "postgres, full", _events(seen.rate("daglens")),
                times_peer=seen.ratio("daglens", theirs),
            )  # fmt: skip

    def live(self, only: Sequence[str]) -> Iterator[Row]:
        """Viewers of one run at 100 events a second."""
        for storage in ("sqlite", "postgres"):
            for viewers in self.viewers:
                self.noise.look()
                found = live.measure(storage, viewers, seconds=4 * self.seconds)
                floor = next(each for each in found if each.phase == "floor")
                for each in found:
                    if each.phase in ("live", "again"):
                        ratio = floor.us_per_message / each.us_per_message
                        yield Row(
                            f"{viewers} viewers, {each.phase}", f"{storage}, 100 events/s",
                            f"p50 {each.p50_ms:.0f} ms, p99 {each.p99_ms:.0f} ms, {each.core:.2f} of a core, "
                            f"{each.us_per_event:.1f} µs/event, lost {each.lost}",
                            Spread(ratio, ratio, ratio),
                        )  # fmt: skip

    def start(self, only: Sequence[str]) -> Iterator[Row]:
        """Start-up and memory of the installed wheel."""
        self.noise.look()
        commands = start_up.installed()
        ours = start_up.serving(commands, self.repeats)
        theirs = start_up.peer_serving(self.peer, self.repeats) if self.peer is not None else None
        faster = theirs.first_answer_s.median / ours.first_answer_s.median if theirs is not None else None
        less = theirs.idle_mib.median / ours.idle_mib.median if theirs is not None else None
        yield Row("serve: first answer", "empty", f"{ours.first_answer_s.text('{:.2f}')} s", None, _just(faster))
        yield Row("serve: idle memory", "empty", f"{ours.idle_mib.text('{:.0f}')} MiB", None, _just(less))
        found = start_up.recording(commands, self.repeats)
        told = f"{found['added'].text('{:.0f}')} ms, of which Python alone takes {found['python'].text('{:.0f}')} ms"
        yield Row("record: added to a command", "empty", told)


def _just(ratio: float | None) -> Spread | None:
    return Spread(ratio, ratio, ratio) if ratio is not None else None


def _events(spread: Spread) -> str:
    return f"{spread.text()} events/s"


def _http_row(title: str, homes: data.Homes, seen: Comparison) -> Row:
    theirs = [name for name in seen.rates if name.startswith("peer")]
    return Row(
        title,
        f"{homes.backend}, {homes.runs:,} runs, {homes.events:,} events",
        f"{seen.rate('daglens').text()} requests/s",
        seen.ratio("daglens", "floor"),
        seen.ratio("daglens", *theirs) if theirs else None,
    )


HTTP = tuple(case.name for case in over_http.cases(1))
GROUPS = ("http", "append", "live", "start")


def main() -> int:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--only", nargs="+", metavar="CASE", choices=[*GROUPS, *HTTP], default=[])
    parser.add_argument("--peer", metavar="PYTHON", default=os.environ.get("DAGLENS_BENCH_PEER"))
    parser.add_argument("--runs", type=int, nargs="+", metavar="N", help="sizes of the data, smallest first")
    parser.add_argument("--rounds", type=int, metavar="N")
    parser.add_argument("--seconds", type=float, metavar="S", help="of each way in each round")
    given = parser.parse_args()
    python = peer_append.peer_python(given.peer)
    if given.peer and python is None:
        print(
            f"{given.peer} has no dagster with dagster-postgres: nothing is measured beside the peer.", file=sys.stderr
        )
    with contextlib.ExitStack() as stack:
        bench = Bench(
            sizes=given.runs or ((1_000,) if given.quick else (1_000, 10_000)),
            repeats=given.rounds or (2 if given.quick else 5),
            seconds=given.seconds or (0.5 if given.quick else 2.0),
            viewers=(1, 100) if given.quick else (1, 100, 1000),
            peer=python,
            stack=stack,
        )
        groups: dict[str, Callable[[Sequence[str]], Iterator[Row]]] = {
            "http": bench.http, "append": bench.append, "live": bench.live, "start": bench.start,
        }  # fmt: skip
        cases = [name for name in given.only if name in HTTP]
        chosen = [name for name in GROUPS if not given.only or name in given.only or (name == "http" and cases)]
        print(f"{machine.described()}; median (lowest … highest) of {bench.repeats} rounds\n", flush=True)

        def rows() -> Iterator[Row]:
            for name in chosen:
                yield from groups[name](cases)

        for line in markdown(rows()):
            print(line, flush=True)
        bench.noise.look()
        print(f"\n{bench.noise.text()}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
