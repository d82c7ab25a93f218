"""Capture takes over a process's descriptors, so most of it is tried in a process of its own."""

from __future__ import annotations

import os
import subprocess
import sys
import textwrap
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).parents[3]

PROLOGUE = """
import os, subprocess, sys, threading, time
from daglens.recorder import capture

LOGS = os.environ["LOGS"]

def open_step(key, **more):
    return capture.open_step(key, f"{LOGS}/{key}.out", f"{LOGS}/{key}.err", **more)

def shared_log():
    return capture.SharedLog(lambda: (f"{LOGS}/(process).out", f"{LOGS}/(process).err"))

def fd(number, text):
    os.write(number, text.encode())
"""


def environment(logs: Path) -> dict[str, str]:
    """What a child gets: our package, and none of the variables that would hide a lost buffer."""
    kept = {key: value for key, value in os.environ.items() if not key.startswith(("PYTHON", "PYTEST", "COV"))}
    return kept | {"PYTHONPATH": str(REPOSITORY), "LOGS": str(logs)}


@dataclass
class Outcome:
    """A finished script: its exit code, its console, and its logs by name, e.g. `a.out`."""

    returncode: int
    stdout: str
    stderr: str
    logs: Path

    def log(self, name: str) -> str:
        return (self.logs / name).read_text()


@pytest.fixture
def logs(tmp_path: Path) -> Path:
    folder = tmp_path / "logs"
    folder.mkdir()
    return folder


@pytest.fixture
def script(tmp_path: Path) -> Callable[..., list[str]]:
    """Write a script (after PROLOGUE); the command that runs it."""

    def write(source: str) -> list[str]:
        path = tmp_path / "script.py"
        path.write_text(PROLOGUE + textwrap.dedent(source))
        return [sys.executable, str(path)]

    return write


@pytest.fixture
def run(script: Callable[..., list[str]], logs: Path) -> Callable[..., Outcome]:
    """Run a script to its end; it has to end well unless `code` says otherwise."""

    def run(source: str, *, code: int = 0, folder: Path = logs, **variables: str) -> Outcome:
        done = subprocess.run(
            script(source),
            env=environment(folder) | variables,
            capture_output=True,
            text=True,
            errors="surrogateescape",
            timeout=60,
            check=False,
        )
        assert done.returncode == code, done.stderr
        return Outcome(done.returncode, done.stdout, done.stderr, folder)

    return run


@dataclass(frozen=True)
class SmallDisk:
    """A file system of 32 MiB; `setup` is what a script runs first where it is only imitated."""

    folder: Path
    setup: str


IMITATED = """
from daglens.recorder import capture_process, capture_file, streams
def _free(_):
    used = sum(os.path.getsize(os.path.join(LOGS, name)) for name in os.listdir(LOGS))
    return 32 * 2**20 - used
capture_process.free_bytes = streams.free_bytes = _free
"""


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[SmallDisk]:
    """A real small disk where mounting is allowed, else one that only says that it is small."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=32m", "none", str(folder)], capture_output=True, check=False
    )
    yield SmallDisk(folder, "" if mounted.returncode == 0 else IMITATED)
    if mounted.returncode == 0:
        subprocess.run(["umount", "-l", str(folder)], check=True)
