"""`make demo`: serves, then records, goes on serving, and Ctrl-C ends both cleanly."""

from __future__ import annotations

import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.packaging.child import child_environment, program

SCRIPT = Path(__file__).parents[2] / "scripts" / "demo.py"

# A `daglens` that says what it was called with and how it was ended.
SERVE = """
import http.server, signal, sys
class Health(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200); self.end_headers()
    def log_message(self, *arguments): pass
def stop(*_):
    print("serve ended", flush=True); sys.exit(0)
signal.signal(signal.SIGINT, stop)
print("serve started", flush=True)
http.server.HTTPServer(("127.0.0.1", int(sys.argv[sys.argv.index("--port") + 1])), Health).serve_forever()
"""
DEMO_THAT_ENDS = "print('demo recorded', flush=True)"
DEMO_THAT_LASTS = """
import signal, sys
def stop(*_):
    print("demo canceled", flush=True); sys.exit(1)
signal.signal(signal.SIGINT, stop)
print("demo started", flush=True)
signal.pause()
"""

Start = Callable[..., subprocess.Popen[str]]


@pytest.fixture
def port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])


@pytest.fixture
def start(tmp_path: Path, port: int) -> Iterator[Start]:
    """Starts the script beside a `daglens` whose two commands are these Python texts."""
    started: list[subprocess.Popen[str]] = []

    def start(serve: str, demo: str) -> subprocess.Popen[str]:
        # The script takes the `daglens` beside its own Python.
        folder = tmp_path / "bin"
        folder.mkdir()
        (folder / "python").symlink_to(sys.executable)
        (folder / "serve.py").write_text(serve)
        (folder / "demo.py").write_text(demo)
        program(folder, "daglens", f'exec "{sys.executable}" "{folder}/$1.py" "$@"')
        script = subprocess.Popen(
            [str(folder / "python"), str(SCRIPT), "--port", str(port)],
            env=child_environment(),
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        started.append(script)
        return script

    yield start
    for script in started:
        if script.poll() is None:
            script.terminate()
        script.communicate(timeout=60)


def read_until(script: subprocess.Popen[str], words: str) -> list[str]:
    """The lines up to the one with these words."""
    assert script.stdout
    lines: list[str] = []
    for line in script.stdout:
        lines.append(line.strip())
        if words in line:
            return lines
    raise AssertionError(f"never said {words!r}, but: {lines}")


def test_serves_before_and_after_the_recording(start: Start, port: int) -> None:
    """The address is said once the server answers; after the recording the server is still there; Ctrl-C ends it."""
    script = start(SERVE, DEMO_THAT_ENDS)
    said = read_until(script, "Still serving")
    order = [next(i for i, line in enumerate(said) if words in line) for words in ("serve started", "Open", "demo rec")]
    assert order == sorted(order)
    assert any(f"Open http://127.0.0.1:{port}" in line for line in said)
    with socket.create_connection(("127.0.0.1", port), timeout=10):
        pass
    script.send_signal(signal.SIGINT)
    rest, _ = script.communicate(timeout=60)
    assert "serve ended" in rest
    assert "Traceback" not in rest
    assert script.returncode == 0


@pytest.mark.parametrize("ending", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_ending_while_recording(ending: signal.Signals, start: Start) -> None:
    """The pipeline is canceled first, while the server still shows it; then the server ends."""
    script = start(SERVE, DEMO_THAT_LASTS)
    read_until(script, "demo started")
    script.send_signal(ending)
    rest, _ = script.communicate(timeout=60)
    assert rest.split("\n")[:2] == ["demo canceled", "serve ended"]
    assert script.returncode == 0


def test_port_in_use(start: Start, port: int) -> None:
    """Another program's server is not taken for ours: a sentence names the port and how to choose another."""
    with socket.create_server(("127.0.0.1", port)):
        script = start(SERVE, DEMO_THAT_ENDS)
        said, _ = script.communicate(timeout=60)
    assert script.returncode == 1
    assert f"127.0.0.1:{port} already" in said
    assert f"make demo PORT={port + 1}" in said
    assert "serve started" not in said


def test_server_that_fails(start: Start) -> None:
    """Its own words are shown, nothing is recorded, and the exit code says that it failed."""
    script = start("print('dagster.yaml:3: unknown key'); raise SystemExit(2)", DEMO_THAT_ENDS)
    said, _ = script.communicate(timeout=60)
    assert script.returncode == 1
    assert "dagster.yaml:3: unknown key" in said
    assert "demo recorded" not in said


def test_failed_recording_ends_the_server(start: Start) -> None:
    """A demo that fails shows its exit code; no server is left behind."""
    script = start(SERVE, "raise SystemExit(7)")
    said, _ = script.communicate(timeout=60)
    assert script.returncode == 7
    assert "serve ended" in said
