"""How long the installed wheel takes to start, what it adds to a command, and how much memory an idle server has.

Run as `python benchmarks/start_up.py [--peer PYTHON] [--repeats 10]`. daglens is installed from this checkout into an
environment of its own, byte code and all, as a user has it; the dev environment compiles what was edited at each start.
The floor of `daglens record` is Python itself, doing nothing. Linux only: memory is read from /proc.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import http_servers as servers
from data import QUIET, cache_folder
from rates import Spread

ROOT = Path(__file__).parent.parent
VERSION = servers.post("{ version }", {})


@dataclass(frozen=True)
class Started:
    """Starts of one server.

    Attributes:
        first_answer_s: From the start of its process to its first answer.
        idle_mib: Memory (resident) after that answer.
    """

    first_answer_s: Spread
    idle_mib: Spread


def environment() -> dict[str, str]:
    """This process's, without what would make Python compile anew at each start."""
    return {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"} | QUIET


def installed() -> Path:
    """The folder of commands of an environment that has this checkout's wheel."""
    folder = cache_folder() / "venv"
    python = folder / "bin" / "python"
    if not python.exists():
        subprocess.run([sys.executable, "-m", "venv", folder], check=True)
        subprocess.run([python, "-m", "pip", "install", "--quiet", ROOT], check=True, env=environment())
    else:
        again = ("--no-deps", "--force-reinstall", str(ROOT))
        subprocess.run([python, "-m", "pip", "install", "--quiet", *again], check=True, env=environment())
    return python.parent


def starts(command: Callable[[int], Sequence[str]], variables: dict[str, str], repeats: int) -> Started:
    """Starts a server over and over, after a warm-up; `command` makes its command of a port."""
    seconds, mib = [], []
    for _ in range(1 + repeats):
        port = servers.free_port()
        begun = time.perf_counter()
        process = subprocess.Popen(
            command(port), env=environment() | variables, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        try:
            servers.wait_for(port, process)
            servers.ask(servers.Address("server", port, process.pid), VERSION)
            seconds.append(time.perf_counter() - begun)
            mib.append(resident_mib(process.pid))
        finally:
            process.terminate()
            process.wait()
    return Started(Spread.of(seconds[1:]), Spread.of(mib[1:]))


def resident_mib(pid: int) -> float:
    """Memory of a process."""
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1]) / 1024
    raise RuntimeError("This system doesn't tell the memory of a process.")


def serving(commands: Path, repeats: int) -> Started:
    """`daglens serve` on a local instance."""
    with tempfile.TemporaryDirectory() as home:
        return starts(
            lambda port: [str(commands / "daglens"), "serve", "--instance-home", home, "--port", str(port)],
            {},
            repeats,
        )


def peer_serving(python: str, repeats: int) -> Started:
    """The peer's web server on a local instance."""
    with tempfile.TemporaryDirectory() as home:
        (Path(home) / "dagster.yaml").touch()
        return starts(
            lambda port: [python, "-m", "dagster_webserver", "-p", str(port), "--empty-workspace"],
            {"DAGSTER_HOME": home},
            repeats,
        )


def recording(commands: Path, repeats: int) -> dict[str, Spread]:
    """Milliseconds of `true` by itself, of Python doing nothing, and of `true` under `daglens record`, in turns."""
    with tempfile.TemporaryDirectory() as home:
        record = [str(commands / "daglens"), "record", "--instance-home", home, "--pipeline", "p", "--step", "s"]
        ways = {
            "command": ["true"],
            "python": [str(commands / "python"), "-c", ""],
            "recorded": [*record, "--", "true"],
        }
        times: dict[str, list[float]] = {name: [] for name in ways}
        for _ in range(1 + repeats):
            for name, way in ways.items():
                begun = time.perf_counter()
                subprocess.run(way, check=True, env=environment())
                times[name].append((time.perf_counter() - begun) * 1e3)
    found = {name: Spread.of(each[1:]) for name, each in times.items()}
    added = [recorded - bare for recorded, bare in zip(times["recorded"], times["command"], strict=True)]
    return found | {"added": Spread.of(added[1:])}


def lines(peer: str | None, repeats: int) -> Iterator[str]:
    """The table."""
    commands = installed()
    ours = serving(commands, repeats)
    yield f"daglens serve: {_told(ours)}"
    if peer is not None:
        theirs = peer_serving(peer, repeats)
        yield f"peer: {_told(theirs)}"
    found = recording(commands, repeats)
    yield (
        f"daglens record adds {found['added'].text('{:.0f}')} ms to a command; Python alone takes "
        f"{found['python'].text('{:.0f}')} ms"
    )


def _told(started: Started) -> str:
    return f"first answer after {started.first_answer_s.text('{:.2f}')} s, idle {started.idle_mib.median:.0f} MiB"


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--peer", metavar="PYTHON", default=os.environ.get("DAGLENS_BENCH_PEER"))
    parser.add_argument("--repeats", type=int, default=10)
    given = parser.parse_args()
    for line in lines(given.peer, given.repeats):
        print(line, flush=True)


if __name__ == "__main__":
    main()
