"""The `daglens` command. Modules load what they need when they run, so that `daglens record` starts fast."""

from __future__ import annotations

import signal


def main() -> None:
    """Entry point of the command: runs it and exits with its code (0; 1: it failed; 2: wrong usage or
    configuration; 130: Ctrl-C)."""
    # While modules load there is nothing to give back: Ctrl-C ends the process as it ends any, without a traceback.
    given = signal.getsignal(signal.SIGINT)
    if given is signal.default_int_handler:
        signal.signal(signal.SIGINT, signal.SIG_DFL)
    from daglens.cli.app import run

    signal.signal(signal.SIGINT, given)
    run()
