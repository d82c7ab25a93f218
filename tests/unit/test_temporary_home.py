"""The folder of an ephemeral instance."""

import os
import signal
import subprocess
import sys

import pytest

from daglens.temporary_home import TemporaryHome

_PROGRAM = """
import os, signal, sys
from daglens.temporary_home import TemporaryHome
homes = [TemporaryHome(), TemporaryHome()]
for home in homes:
    (home.path / "file").write_text("x")
print(*(home.path for home in homes), flush=True)
if sys.argv[1] == "wait":
    signal.pause()
if sys.argv[1] == "fork":
    child = os.fork()
    if child == 0:
        homes[0].remove()
        os._exit(0)
    os.waitpid(child, 0)
    print(homes[0].path.exists(), flush=True)
"""


def _start(mode: str) -> subprocess.Popen[str]:
    return subprocess.Popen([sys.executable, "-c", _PROGRAM, mode], stdout=subprocess.PIPE, text=True)


def test_removed_on_request_and_twice():
    """`remove` takes the folder away with its content, and may be called again."""
    home = TemporaryHome()
    (home.path / "a").mkdir()
    home.remove()
    home.remove()
    assert not home.path.exists()


def test_removed_at_exit():
    """The folders go when the program ends."""
    with _start("end") as program:
        paths = program.communicate(timeout=60)[0].split()
    assert len(paths) == 2
    assert not any(os.path.exists(path) for path in paths)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_removed_on_signals(number):
    """All of them go when SIGTERM or SIGINT ends the program, which still dies of that signal."""
    with _start("wait") as program:
        assert program.stdout is not None
        paths = program.stdout.readline().split()
        assert all(os.path.exists(path) for path in paths)
        program.send_signal(number)
        assert program.wait(timeout=60) == -number
    assert not any(os.path.exists(path) for path in paths)


def test_a_forked_child_leaves_it_alone():
    """What a forked child does at its end doesn't take the parent's folder away."""
    with _start("fork") as program:
        out = program.communicate(timeout=60)[0].splitlines()
    assert out[1] == "True"
