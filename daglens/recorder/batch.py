"""Events on their way to the storage: batched, in order, each once, whatever the storage does meanwhile.

What comes within 20 ms, or 100 events, goes in one append, from a thread of its own. `flush` sends at once and waits.
A storage that fails is tried again, with growing pauses, while the pipeline goes on; memory for what waits is bounded.
"""

from __future__ import annotations

import contextlib
import os
import threading
import time
import weakref
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

from daglens.recorder.drafts import rough_size
from daglens.recorder.problems import SILENCE_S, Problems
from daglens.recorder.refused import (
    UNFORESEEN_TRIES,
    is_needed,
    is_unforeseen,
    lost_events,
    shrunk,
    stand_in,
    stand_ins,
)
from daglens.storage.errors import DaglensError, EventTooLarge, InvalidName, RunDeleted, RunFull
from daglens.storage.records import EventDraft, Head


class CannotRecord(Exception):
    """Nothing can be recorded, now or later; raised by `send`. Its text is a sentence for the user."""


@dataclass(frozen=True, slots=True)
class BatchLimits:
    """How events are put together, and what waits.

    Attributes:
        max_wait_s: An event waits at most this long for others.
        max_events: Events in one append.
        max_queued: Events that wait; beyond it a producer waits while the storage works, and what the run can do
            without is dropped (and counted) while it doesn't.
        max_queued_chars: The same for their size, roughly.
        first_pause_s, longest_pause_s: Between tries of a storage that fails.
        silence_s: Who waits longer for the storage is told what for.
    """

    max_wait_s: float = 0.02
    max_events: int = 100
    max_queued: int = 20_000
    max_queued_chars: int = 64 * 1024 * 1024
    first_pause_s: float = 0.1
    longest_pause_s: float = 5.0
    silence_s: float = SILENCE_S


DEFAULT_BATCH_LIMITS: Final = BatchLimits()

HURRIED_S: Final = 1.0
"""How long a storage that works has for the last events after Ctrl-C."""


class EventWriter:
    """The queue of one run's events in one process.

    `add` and `flush` never raise for what the storage does. After a fork the parent sends what it had; in the child
    each event goes at once, since children of `multiprocessing` end without a word.
    """

    def __init__(
        self,
        send: Callable[[Sequence[EventDraft]], Head | None],
        problems: Problems,
        *,
        on_head: Callable[[Head], None] = lambda head: None,
        limits: BatchLimits = DEFAULT_BATCH_LIMITS,
    ) -> None:
        """
        Args:
            send: Appends a batch and answers the head after it, None when that isn't known; raises as
                `EventLogStorage.append`, or anything.
            on_head: Told each answer, by the thread that sends.
        """
        self._send = send
        self._problems = problems
        self._on_head = on_head
        self._limits = limits
        self._queue: deque[tuple[EventDraft, int]] = deque()
        self._queued_chars = 0
        self._dropped = 0
        self._settled = 0
        self._urgent = 0
        self._oldest_s = 0.0
        self._failing = False
        self._unforeseen = 0
        self._closed = False
        self._hurried = False
        self._hurried_s = 0.0
        self._stopped: str | None = None
        self._write_through = False
        self._thread: threading.Thread | None = None
        self._renew_locks()
        _writers.add(self)

    # ------------------------------------------------------------ what the run calls

    def add(self, draft: EventDraft) -> None:
        """Queue an event. Waits only when very much is queued and the storage is at work on it."""
        size = rough_size(draft)
        with self._changed:
            rest = self._take_in(draft, size)
        if rest is not None:
            rest()

    def _take_in(self, draft: EventDraft, size: int) -> Callable[[], object] | None:
        """With the lock: queue an event; what is left to do without it."""
        if self._is_stopped():
            return None
        if self._closed:
            late = f"An event came after the end of its recording and was dropped: {draft}"
            return lambda: self._problems.say("late", late)
        while self._is_full(size):
            if self._failing and not is_needed(draft):
                self._dropped += 1
                return None
            if self._failing or self._write_through or not self._ensure_thread():
                break
            self._changed.wait(0.1)
            if self._is_stopped():
                return None
        if not self._queue:
            self._oldest_s = time.monotonic()
        self._queue.append((draft, size))
        self._queued_chars += size
        if self._write_through or not self._ensure_thread():
            return self._drain
        if len(self._queue) in (1, self._limits.max_events):
            self._changed.notify_all()
        return None

    def flush(self, timeout_s: float = 5.0, *, patient: bool = False) -> bool:
        """Send at once what is queued; True when all of it was stored (or recording has stopped).

        Waits at most `timeout_s`, and says so when that gets long; while the storage fails it doesn't wait at all,
        unless `patient`.
        """
        begun = time.monotonic()
        with self._changed:
            if not self._queue or self._is_stopped():
                return True
            target = self._settled + len(self._queue)
            has_thread = not self._write_through and self._ensure_thread()
            if has_thread:
                self._urgent = max(self._urgent, target)
                self._changed.notify_all()
        if not has_thread:
            return self._drain()
        stored = self._wait_until_stored(target, begun + timeout_s, begun + self._limits.silence_s, patient)
        if stored is None:
            # Without the lock: what stderr leads to may itself be waiting for it, as a logger that is recorded.
            self._say_waiting(max(0.0, begun + timeout_s - time.monotonic()), patient)
            stored = self._wait_until_stored(target, begun + timeout_s, None, patient)
        return bool(stored)

    def _wait_until_stored(self, target: int, give_up_at: float, say_at: float | None, patient: bool) -> bool | None:
        """Whether so much is settled, or there is no use in waiting on; None when it is time to say what for."""
        with self._changed:
            while self._settled < target and not self._is_stopped():
                now = time.monotonic()
                if patient and self._hurried:
                    # Nor is there anything to say: whoever asked for it knows.
                    give_up_at, say_at = min(give_up_at, self._hurried_s + HURRIED_S), None
                left = give_up_at - now
                if left <= 0 or (self._failing and not (patient and not self._hurried)):
                    return False
                if say_at is not None and now >= say_at:
                    return None
                # A signal's handler that calls hurry() just before this wait can't end it.
                self._changed.wait(min(left, _AWAKE_S) if say_at is None else min(left, _AWAKE_S, say_at - now))
            return True

    def _say_waiting(self, left_s: float, patient: bool) -> None:
        if patient:
            self._problems.say(
                "waiting",
                f"The last events of the run wait for the storage, at most {left_s:.0f} s more. Ctrl-C ends the wait.",
            )
        else:
            self._problems.say(
                "slow",
                f"The storage has not answered yet. It is waited for {left_s:.0f} s more; then the pipeline goes on.",
            )

    def close(self, timeout_s: float = 30.0) -> int:
        """Flush, waiting that long for a storage that fails, and take no more; how many events are not stored."""
        self.flush(timeout_s, patient=True)
        with self._changed:
            self._closed = True
            lost = 0 if self._is_stopped() else len(self._queue) + self._dropped
            self._changed.notify_all()
        return lost

    def hurry(self) -> None:
        """From now on wait no longer for a storage that fails, and at the end a second for one that is at work. From
        any thread, and from a signal's handler: the lock is one that its own thread may take again."""
        with self._changed:
            if not self._hurried:
                self._hurried, self._hurried_s = True, time.monotonic()
            self._changed.notify_all()

    def _is_stopped(self) -> bool:
        return self._stopped is not None

    @property
    def stopped(self) -> str | None:
        """Why nothing is recorded any more, as a sentence; None while it is."""
        return self._stopped

    def stop(self, why: str) -> None:
        """Record nothing any more; said once."""
        # First: whoever waits may end the program once it hears of it.
        self._problems.say("stopped", why)
        with self._changed:
            if self._stopped is None:
                self._stopped = why
                self._queue.clear()
                self._queued_chars = 0
            self._changed.notify_all()

    # ------------------------------------------------------------ sending

    def _run(self) -> None:
        pause_s = self._limits.first_pause_s
        while True:
            with self._changed:
                if not self._wait_for_work():
                    self._thread = None
                    return
            if self._send_next():
                pause_s = self._limits.first_pause_s
                continue
            with self._changed:
                if self._closed:
                    self._thread = None
                    return
                # Nothing but time helps now; close() cuts it short.
                self._changed.wait_for(lambda: self._closed or self._stopped is not None, pause_s)
            pause_s = min(2 * pause_s, self._limits.longest_pause_s)

    def _wait_for_work(self) -> bool:
        """With the lock: wait until a batch is due; False when there is nothing left to do."""
        while True:
            if not self._queue:
                if self._closed or self._stopped is not None:
                    return False
                # Not for ever: a writer that nobody holds any more ends here (its thread holds it only weakly then).
                if not self._changed.wait(_IDLE_S) and not self._queue:
                    return False
                continue
            due_in_s = self._oldest_s + self._limits.max_wait_s - time.monotonic()
            is_due = due_in_s <= 0 or len(self._queue) >= self._limits.max_events
            if is_due or self._urgent > self._settled or self._closed:
                return True
            self._changed.wait(due_in_s)

    def _drain(self) -> bool:
        """Send everything from this thread; False when the storage fails."""
        thread = threading.get_ident()
        if thread in self._draining:
            return False  # what it is sending has led to another event, as a storage that logs does: that comes next
        try:
            self._draining.add(thread)
            while self._queue:
                if not self._send_next():
                    return False
            return True
        finally:
            self._draining.discard(thread)

    def _send_next(self) -> bool:
        """Send one batch; False when the storage failed and it must be sent again."""
        with self._sending:
            with self._changed:
                count = min(len(self._queue), self._limits.max_events)
                batch = [self._queue[index][0] for index in range(count)]
            if not batch:
                return True
            try:
                head = self._send_in_time(batch)
            except CannotRecord as error:
                self.stop(str(error))
                return True
            except (RunDeleted, RunFull) as error:
                self.stop(f"{error} Recording stops; the pipeline goes on.")
                return True
            except Exception as error:
                self._failed(error)
                return False
            with self._changed:
                # stop() may have emptied the queue meanwhile.
                for _ in range(min(count, len(self._queue))):
                    self._queued_chars -= self._queue.popleft()[1]
                    self._settled += 1
                self._failing = False
                self._unforeseen = 0
                self._oldest_s = time.monotonic()
                if self._dropped:
                    self._queue.append((lost_events(self._dropped), 0))
                    self._dropped = 0
                self._changed.notify_all()
        try:
            if head is not None:
                self._on_head(head)
        except Exception as error:
            self._problems.say("head", f"A message from the event log was not heard: {error}")
        return True

    def _send_in_time(self, batch: list[EventDraft]) -> Head | None:
        """Send a batch; when it has failed several times for a reason that may never pass, its events one by one."""
        try:
            return self._send_whole(batch)
        except _FINAL:
            raise
        except Exception as error:
            if not is_unforeseen(error):
                raise
            self._unforeseen += 1
            if self._unforeseen < UNFORESEEN_TRIES:
                raise
        self._send([])  # raises when it is the storage that fails, whatever it is given
        head = None
        for draft in batch:  # ids make what was stored before harmless
            head = self._send_or_replace(draft)
        return head

    def _send_or_replace(self, draft: EventDraft) -> Head | None:
        """Send an event, or in its place what says that it was dropped. A storage that takes neither is the one that
        fails: its error is raised, and nothing is dropped."""
        try:
            return self._send_whole([draft])
        except _FINAL:
            raise
        except Exception as error:
            if not is_unforeseen(error):
                raise
            for instead in stand_ins(draft, error):
                with contextlib.suppress(Exception):
                    head = self._send(instead)
                    self._refused(draft, error)
                    return head
            raise

    def _send_whole(self, batch: list[EventDraft]) -> Head | None:
        try:
            return self._send(batch)
        except EventTooLarge as error:
            index = error.index if 0 <= error.index < len(batch) else 0
            self._refused(batch[index], error)
            return self._send_whole([*batch[:index], *shrunk(batch[index], error), *batch[index + 1 :]])
        except InvalidName as error:
            if len(batch) == 1:
                self._refused(batch[0], error)
                return self._send([stand_in(batch[0], error)])
            # It doesn't say which one: each by itself. Ids make what was stored before harmless.
            for draft in batch:
                head = self._send_whole([draft])
            return head

    def _refused(self, draft: EventDraft, error: Exception) -> None:
        why = str(error) if isinstance(error, DaglensError) else f"{type(error).__name__}: {error}"
        self._problems.say("refused", f"An event {draft.event_type} was refused; a note takes its place. {why}")

    def _failed(self, error: Exception) -> None:
        self._problems.say(
            "failing", f"Recording is behind, and is tried again; the pipeline goes on. {type(error).__name__}: {error}"
        )
        with self._changed:
            self._failing = True
            self._changed.notify_all()

    def _is_full(self, size: int) -> bool:
        return len(self._queue) >= self._limits.max_queued or (
            bool(self._queue) and self._queued_chars + size > self._limits.max_queued_chars
        )

    # ------------------------------------------------------------ thread and forks

    def _ensure_thread(self) -> bool:
        """With the lock: start the thread if need be; False when there can be none (the interpreter is ending)."""
        if self._thread is not None and self._thread.is_alive():
            return True
        thread = threading.Thread(target=self._run, name="daglens-events", daemon=True)
        try:
            thread.start()
        except RuntimeError:
            return False
        self._thread = thread
        return True

    def _renew_locks(self) -> None:
        self._changed = threading.Condition()
        self._sending = threading.Lock()
        self._draining: set[int] = set()

    def start_in_child(self) -> None:
        """After a fork, in the child: the parent sends what was queued."""
        self._renew_locks()
        self._queue.clear()
        self._queued_chars = self._dropped = 0
        self._thread = None
        self._failing = False
        self._write_through = True


_FINAL: Final = (CannotRecord, RunDeleted, RunFull)
_IDLE_S: Final = 5.0
_AWAKE_S: Final = 0.5
_writers: weakref.WeakSet[EventWriter] = weakref.WeakSet()


def _start_in_child() -> None:
    for writer in list(_writers):
        writer.start_in_child()


os.register_at_fork(after_in_child=_start_in_child)
