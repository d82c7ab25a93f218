"""The end of a server whose storage doesn't return: the thread that waits for it can't be interrupted."""

from __future__ import annotations

import logging
import os
import threading

log = logging.getLogger("daglens.server")

GRACE_S = 15.0
"""How long the end may take once the requests under way have had their time."""


def end_in(seconds: float) -> None:
    """End this process with exit code 1 when it still lives after so many seconds.

    Nothing acknowledged is lost by that: what a storage has acknowledged survives `kill -9`.
    """
    timer = threading.Timer(seconds, _end)
    timer.daemon = True
    timer.start()


def _end() -> None:
    log.error("A storage has not returned: the server ends without closing it.")
    logging.shutdown()
    os._exit(1)
