"""The thread that says a recorder lives, and hears when somebody asks for the run's end."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Final

from daglens.recorder.problems import Problems
from daglens.storage.records import Head

LOOK_EVERY_S: Final = 2.0
KEEP_ALIVE_EVERY_S: Final = 20.0


class Pulse:
    """Beats every third of the timeout and looks at the head of the log every 2 s, until it is stopped.

    A beat or a look that fails is left to the next one, and told once; after `stop` it isn't told: what it is asked of
    may be closed already. A forked child has no pulse: the run is its
    parent's.
    """

    def __init__(
        self,
        *,
        beat: Callable[[], object],
        beat_every_s: float,
        look: Callable[[], Head | None],
        on_head: Callable[[Head], object],
        problems: Problems,
        look_every_s: float = LOOK_EVERY_S,
    ) -> None:
        self._beat = beat
        self._beat_every_s = beat_every_s
        self._look = look
        self._on_head = on_head
        self._problems = problems
        self._look_every_s = look_every_s
        self._stop = threading.Event()
        self._beats_at_once = False

    def start(self, *, answers: bool = True) -> None:
        """Beat once now, so that the run is watched from its first moment, then go on in a thread of its own.

        Args:
            answers: The storage does; else the first beat is that thread's, too, and nobody waits for it.
        """
        self._beats_at_once = not answers
        if answers:
            self._try(self._beat)
        try:
            threading.Thread(target=self._run, name="daglens-pulse", daemon=True).start()
        except RuntimeError as error:
            self._problems.say("pulse", f"The run has no heartbeats: {error}")

    def stop(self) -> None:
        """End it; a beat that is under way is not waited for."""
        self._stop.set()

    def _run(self) -> None:
        beat_at = time.monotonic() + (0.0 if self._beats_at_once else self._beat_every_s)
        while not self._stop.wait(min(self._look_every_s, max(0.0, beat_at - time.monotonic()))):
            if time.monotonic() >= beat_at:
                self._try(self._beat)
                beat_at = time.monotonic() + self._beat_every_s
            self._try(self._look_once)

    def _look_once(self) -> None:
        head = self._look()
        if head is not None and not self._stop.is_set():
            self._on_head(head)

    def _try(self, do: Callable[[], object]) -> None:
        if self._stop.is_set():
            return
        try:
            do()
        except Exception as error:
            if self._stop.is_set():
                return
            self._problems.say("pulse", f"A heartbeat failed; the next one is tried. {type(error).__name__}: {error}")
