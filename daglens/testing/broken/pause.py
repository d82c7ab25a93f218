"""The moment between two steps that should have been one."""

from __future__ import annotations

import threading


def others_run() -> None:
    """Let other threads get on: it opens the gap that a mistake leaves."""
    threading.Event().wait(0.002)
