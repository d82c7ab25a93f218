"""The `daglens` command. Modules load what they need when they run, so that `daglens record` starts fast."""

from __future__ import annotations

import gc
import signal
import sys
from collections.abc import Callable
from functools import partial


def main() -> None:
    """Entry point of the command: runs it and exits with its code (0; 1: it failed; 2: wrong usage or
    configuration; 130: Ctrl-C)."""
    # While modules load there is nothing to give back: Ctrl-C ends the process as it ends any, without a traceback.
    given = signal.getsignal(signal.SIGINT)
    if given is signal.default_int_handler:
        signal.signal(signal.SIGINT, signal.SIG_DFL)
    # They make tens of thousands of objects, which stay: looking for garbage among them takes a tenth of the start.
    gc.set_threshold(50_000, 20, 20)
    from daglens.cli import ending

    command: Callable[[], object]
    if sys.argv[1:2] in (["record"], ["run"]):
        from daglens.cli import script_commands

        command = partial(script_commands.run, sys.argv[1:])
    else:
        from daglens.cli.app import app as command

    signal.signal(signal.SIGINT, given)
    ending.run(command)
