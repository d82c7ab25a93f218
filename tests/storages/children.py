"""Other processes for the tests of storages that several processes share."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

ROOT = Path(__file__).parents[2]

# They change how output is buffered and what is compiled: users have neither.
_LEFT_OUT = ("PYTHONUNBUFFERED", "PYTHONDONTWRITEBYTECODE")

WAIT_S = 120
"""How long a child may take before its test fails."""


def child_environment() -> dict[str, str]:
    """This process's environment without the variables that hide bugs, and with this checkout to import."""
    kept = {name: value for name, value in os.environ.items() if name not in _LEFT_OUT}
    paths = [str(ROOT), *filter(None, [kept.get("PYTHONPATH")])]
    return {**kept, "PYTHONPATH": os.pathsep.join(paths)}


def start(program: str | Path, *arguments: object) -> subprocess.Popen[str]:
    """A Python process: a script's path, or the program's text. Both its streams are pipes; so is its input."""
    how = [str(program)] if isinstance(program, Path) else ["-c", program]
    return subprocess.Popen(
        [sys.executable, *how, *map(str, arguments)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env=child_environment(),
        text=True,
    )


def outputs(children: Sequence[subprocess.Popen[str]]) -> list[str]:
    """What each printed, when all have ended well; else what they complained of."""
    ended = [child.communicate(timeout=WAIT_S) for child in children]
    failed = [errors for child, (_, errors) in zip(children, ended, strict=True) if child.returncode != 0]
    assert not failed, "\n".join(failed)
    return [printed for printed, _ in ended]


def together(count: int, program: str | Path, *arguments: object) -> list[str]:
    """Run the program `count` times at once: each prints "ready", waits for a line on its input, and goes on."""
    children = [start(program, *arguments) for _ in range(count)]
    for child in children:
        assert child.stdout is not None
        ready = child.stdout.readline()
        assert ready == "ready\n", child.communicate(timeout=WAIT_S)
    for child in children:
        assert child.stdin is not None
        child.stdin.write("\n")
        child.stdin.flush()
    return outputs(children)
