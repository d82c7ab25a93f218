"""Recording never fails the pipeline: what goes wrong is said on stderr, each kind once."""

from __future__ import annotations

import contextlib
import sys
import threading
from collections.abc import Iterator

from daglens.config.redaction import clean_for_terminal

SILENCE_S = 2.0
"""Who waits longer than this is told what for."""


class Problems:
    """What went wrong with the recording of one run. Safe to use from any thread."""

    def __init__(self) -> None:
        self._said: set[str] = set()
        self._lock = threading.RLock()  # a signal's handler may record, too

    def say(self, kind: str, sentence: str) -> None:
        """Write `daglens: sentence` to stderr, unless a problem of this kind was told before. Never raises."""
        with self._lock:
            if kind in self._said:
                return
            self._said.add(kind)
        note(sentence)

    @contextlib.contextmanager
    def waiting(self, silence_s: float = SILENCE_S) -> Iterator[None]:
        """A block that asks the storage or the server something: when it takes long, that is said, once."""
        sentence = "The storage has not answered yet; it is waited for."
        timer = threading.Timer(silence_s, self.say, ("slow", sentence))
        timer.daemon = True
        # Without a thread for it (there may be no more of them) it isn't said; what is asked goes on.
        with contextlib.suppress(RuntimeError):
            timer.start()
        try:
            yield
        finally:
            timer.cancel()

    def forget_lock(self) -> None:
        """In a forked child: another thread may have held it."""
        self._lock = threading.RLock()


def note(sentence: str) -> None:
    """Write `daglens: sentence`, without secrets, to stderr. Never raises."""
    with contextlib.suppress(Exception):
        if sys.stderr is not None:
            told = " ".join(clean_for_terminal(sentence).split())
            # It may quote what a server answered.
            sys.stderr.write("".join(sign if sign.isprintable() else "\ufffd" for sign in f"daglens: {told}") + "\n")
            sys.stderr.flush()
