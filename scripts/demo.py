"""What `make demo` does once daglens is installed: serve, record the demo pipeline, go on serving until Ctrl-C.

Server and pipeline are given no instance, so both find the same one, as anybody's `daglens` commands would.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from types import FrameType

READY_WITHIN_S = 60.0
STOP_WITHIN_S = 15.0
HOST = "127.0.0.1"
ENDING_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


def main() -> int:
    parser = argparse.ArgumentParser(description="Serve on 127.0.0.1, record the demo pipeline, go on serving.")
    parser.add_argument("--port", type=int, default=3000)
    port: int = parser.parse_args().port
    address = f"http://{HOST}:{port}"

    if _in_use(port):
        print(f"Something else listens on {address} already. Another port: make demo PORT={port + 1}", file=sys.stderr)
        return 1
    for ending in ENDING_SIGNALS:
        signal.signal(ending, _interrupt)
    daglens = str(Path(sys.executable).with_name("daglens"))
    with contextlib.ExitStack() as running:
        try:
            server = running.enter_context(_started(daglens, "serve", "--port", str(port)))
            if not _ready(server, address):
                print("The server did not get ready; what it said is above.", file=sys.stderr)
                return 1
            print(f"\nOpen {address} and watch: the demo pipeline is being recorded now.\n", flush=True)
            pipeline = running.enter_context(_started(daglens, "demo"))
            if (code := pipeline.wait()) != 0:
                print(f"`daglens demo` ended with exit code {code}.", file=sys.stderr)
                return code
            print(f"\nRecorded. Still serving at {address} until Ctrl-C. The command is {daglens}", flush=True)
            return server.wait()
        except KeyboardInterrupt:
            for ending in ENDING_SIGNALS:
                signal.signal(ending, signal.SIG_IGN)
            return 0


def _interrupt(signum: int, frame: FrameType | None) -> None:
    raise KeyboardInterrupt


@contextlib.contextmanager
def _started(*command: str) -> Iterator[subprocess.Popen[bytes]]:
    """A child that has ended by the end of the block."""
    # A group of its own, so that Ctrl-C reaches it through this script only: the pipeline ends first, as canceled,
    # and the server is still there to show it.
    child = subprocess.Popen(command, process_group=0)
    try:
        yield child
    finally:
        if child.poll() is None:
            os.killpg(child.pid, signal.SIGINT)
        try:
            child.wait(STOP_WITHIN_S)
        except subprocess.TimeoutExpired:
            os.killpg(child.pid, signal.SIGKILL)
            child.wait()


def _in_use(port: int) -> bool:
    # Asked before the server starts: the ready check below would take another program's answer for ours.
    with socket.socket() as probe:
        return probe.connect_ex((HOST, port)) == 0


def _ready(server: subprocess.Popen[bytes], address: str) -> bool:
    # Straight to the server, whatever proxy the environment names.
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    give_up_at = time.monotonic() + READY_WITHIN_S
    while server.poll() is None and time.monotonic() < give_up_at:
        try:
            with opener.open(f"{address}/healthz", timeout=5):
                return True
        except OSError:
            time.sleep(0.1)
    return False


if __name__ == "__main__":
    sys.exit(main())
