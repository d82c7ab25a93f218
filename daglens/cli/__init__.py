"""The `daglens` command. Modules load what they need when they run, so that `daglens record` starts fast."""

from __future__ import annotations


def main() -> None:
    """Entry point of the command: runs it and exits with its code (0; 1: it failed; 2: wrong usage or
    configuration)."""
    from daglens.cli.app import run

    run()
