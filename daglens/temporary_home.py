"""The folder of an ephemeral instance: temporary, and gone at exit, also when SIGTERM ends the process."""

from __future__ import annotations

import atexit
import os
import shutil
import signal
import tempfile
import threading
from pathlib import Path
from types import FrameType

_live: set[TemporaryHome] = set()


class TemporaryHome:
    """A folder that `remove()`, the end of the process, or SIGTERM removes; a forked child leaves it alone."""

    def __init__(self) -> None:
        self.path = Path(tempfile.mkdtemp(prefix="daglens-"))
        self._pid = os.getpid()
        _live.add(self)
        atexit.register(self.remove)
        if threading.current_thread() is threading.main_thread() and signal.getsignal(signal.SIGTERM) is signal.SIG_DFL:
            # By default SIGTERM ends Python without atexit. Whoever sets a handler of its own ends by itself.
            signal.signal(signal.SIGTERM, _on_sigterm)

    def remove(self) -> None:
        """Remove the folder with all that is in it. May be called twice."""
        if os.getpid() == self._pid:
            shutil.rmtree(self.path, ignore_errors=True)
            atexit.unregister(self.remove)
            _live.discard(self)


def _on_sigterm(number: int, frame: FrameType | None) -> None:
    for home in list(_live):
        home.remove()
    signal.signal(number, signal.SIG_DFL)
    os.kill(os.getpid(), number)
