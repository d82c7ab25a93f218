"""`kill -9` at a chosen place."""

from __future__ import annotations

import subprocess

from daglens.testing.threads import DEADLINE_S


def kill_between(child: subprocess.Popen[str], lines: int) -> list[str]:
    """Kill a program with SIGKILL once it has printed so many lines; all that it printed, a line cut short left out.

    The program runs on while its lines are read, so the place where it dies is somewhere behind the last of them.

    Raises:
        AssertionError: It ended before.
    """
    assert child.stdout is not None
    printed: list[str] = []
    while len(printed) < lines:
        line = child.stdout.readline()
        assert line, f"It ended after {len(printed)} lines."
        printed.append(line)
    child.kill()
    rest, _ = child.communicate(timeout=DEADLINE_S)
    assert child.returncode == -9, f"It had ended by itself, with {child.returncode}."
    printed += rest.splitlines(keepends=True)
    return [line.removesuffix("\n") for line in printed if line.endswith("\n")]
