"""`daglens serve` and other commands as programs of their own, as users have them."""

from __future__ import annotations

import itertools
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import httpx

from tests.recorder.conftest import environment

PATIENCE_S = 120.0


class Server:
    """A running `daglens serve` on an instance's folder.

    Attributes:
        url: As `http://127.0.0.1:40123`, without a slash at its end.
    """

    def __init__(self, home: Path, log: Path, *options: str) -> None:
        self._log = log
        with log.open("w") as written:
            self._program = subprocess.Popen(
                [sys.executable, "-u", "-m", "daglens.cli", "serve", "--port", "0", *options],
                env=environment(home),
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=written,
                text=True,
            )
        assert self._program.stdout is not None
        words = (word for line in self._program.stdout for word in line.split())
        url = next((word for word in words if word.startswith("http://")), None)
        assert url is not None, self.log
        self.url = url

    @property
    def log(self) -> str:
        """What it has written to its standard error."""
        return self._log.read_text()

    def ask(self, query: str, **variables: Any) -> Any:
        """The data of a GraphQL answer, which has no errors."""
        answer = httpx.post(f"{self.url}/graphql", json={"query": query, "variables": variables}, timeout=PATIENCE_S)
        found = answer.json()
        assert "errors" not in found, found
        return found["data"]

    @property
    def live_mode(self) -> str:
        """How it learns of events that others wrote."""
        found = self.ask("{ instance { eventLogStorage { liveMode } } }")
        mode: str = found["instance"]["eventLogStorage"]["liveMode"]
        return mode

    def kill(self) -> None:
        """`kill -9`, if it still runs."""
        if self._program.poll() is None:
            self._end(signal.SIGKILL)

    def stop(self) -> None:
        """Ask it to end, as a service manager does; it ends well."""
        if self._program.poll() is None:
            assert self._end(signal.SIGTERM) == 0, self.log

    def _end(self, number: signal.Signals) -> int:
        self._program.send_signal(number)
        code = self._program.wait(PATIENCE_S)
        assert self._program.stdout is not None
        self._program.stdout.close()
        return code


Serve = Callable[..., Server]


@contextmanager
def servers(folder: Path) -> Iterator[Serve]:
    """Starts servers, called with an instance's folder and options; their logs are kept below `folder`."""
    numbers = itertools.count()
    with ExitStack() as ending:

        def serve(home: Path, *options: str) -> Server:
            log = folder / f"serve-{next(numbers)}.log"
            ending.callback(lambda: print(log.read_text()))  # shown when the test fails
            server = Server(home, log, *options)
            ending.callback(server.kill)
            ending.callback(server.stop)
            return server

        yield serve


def command(home: Path, *args: str) -> str:
    """Run a `daglens` command on an instance; what it printed, when it ended well."""
    done = subprocess.run(
        [sys.executable, "-m", "daglens.cli", *args],
        env=environment(home),
        capture_output=True,
        text=True,
        timeout=PATIENCE_S,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "Traceback" not in done.stderr
    return done.stdout


def until(holds: Callable[[], Any], what: str) -> Any:
    """Wait for what other programs bring about; what `holds` gave at last."""
    give_up_at = time.monotonic() + PATIENCE_S
    while not (found := holds()):
        assert time.monotonic() < give_up_at, f"never happened: {what}"
        time.sleep(0.02)
    return found
