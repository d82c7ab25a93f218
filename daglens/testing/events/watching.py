"""Hints that runs have news."""

from __future__ import annotations

import queue
import re
import threading

from daglens.storage.contract import EventLogStorage
from daglens.testing import threads
from daglens.testing.events.topic import EventTopic, messages, read, seqs
from daglens.testing.names import ORDINARY_NAMES


class _Hints:
    """A callback that keeps what it is told."""

    def __init__(self) -> None:
        self._told: queue.Queue[str | None] = queue.Queue()

    def __call__(self, run_id: str | None) -> None:
        self._told.put(run_id)

    def wait_for(self, *run_ids: str, beside: str = "") -> None:
        """Return when each of the runs was named, or any may have news; a hint for `beside` may come as well."""
        missing = set(run_ids)
        while missing:
            try:
                run_id = self._told.get(timeout=threads.DEADLINE_S)
            except queue.Empty:
                raise AssertionError(f"no hint came for {sorted(missing)}") from None
            if run_id is None:
                return
            assert run_id in (*run_ids, beside), f"a hint for {run_id!r}, which had no news"
            missing.discard(run_id)

    def clear(self) -> None:
        """Forget what was told."""
        while not self._told.empty():
            self._told.get_nowait()

    @property
    def count(self) -> int:
        """How many were told and not taken."""
        return self._told.qsize()


class EventWatching(EventTopic):
    """`watch` and `live_mode`. A storage whose mode is POLL needs no hints; all others must give them."""

    def test_mode_is_a_word(self, storage: EventLogStorage) -> None:
        """One word in upper case."""
        assert re.fullmatch(r"[A-Z][A-Z_]*", storage.live_mode)

    def test_watch_can_be_stopped_twice(self, storage: EventLogStorage) -> None:
        """In every mode: watching begins and ends without an error."""
        watch = storage.watch(_Hints())
        storage.append("r1", messages(1, 1))
        watch.stop()
        watch.stop()
        storage.append("r1", messages(2, 2))

    def test_hint_comes_after_an_append(self, storage: EventLogStorage, second: EventLogStorage) -> None:
        """Events of anybody bring a hint, and when it comes they can be read; so it goes on, append after append."""
        hints = _Hints()
        watch = storage.watch(hints)
        try:
            for number, by in enumerate((storage, second, second, storage), start=1):
                if storage.live_mode != "POLL":
                    hints.clear()
                by.append("r1", messages(number, number))
                if storage.live_mode != "POLL":
                    hints.wait_for("r1")
                assert storage.heads(["r1"])["r1"].last_seq == number
        finally:
            watch.stop()

    def test_run_that_is_new_is_hinted(self, storage: EventLogStorage) -> None:
        """Runs needn't exist when the watch begins; each of many gets its hint, whatever its name."""
        names = [*ORDINARY_NAMES, *(f"run_{n}_with_underscores" for n in range(20))]
        hints = _Hints()
        watch = storage.watch(hints)
        try:
            for name in names:
                storage.append(name, messages(1, 1))
            if storage.live_mode != "POLL":
                hints.wait_for(*names)
        finally:
            watch.stop()

    def test_closing_a_run_is_news(self, storage: EventLogStorage) -> None:
        """A watcher learns that it may look, and then sees that the run is deleted."""
        storage.append("r1", messages(1, 1))
        hints = _Hints()
        watch = storage.watch(hints)
        try:
            storage.close_runs(["r1"])
            if storage.live_mode != "POLL":
                hints.wait_for("r1")
            assert storage.heads(["r1"])["r1"].deleted
        finally:
            watch.stop()

    def test_callback_that_raises_ends_nothing(self, storage: EventLogStorage) -> None:
        """Neither the append, nor the other watches, nor its own further calls."""
        called = threading.Semaphore(0)

        def fail(run_id: str | None) -> None:
            called.release()
            raise RuntimeError("a watcher's own mistake")

        hints = _Hints()
        watches = [storage.watch(fail), storage.watch(hints), storage.watch(fail)]
        try:
            for number in (1, 2, 3):
                hints.clear()
                assert storage.append("r1", messages(number, number)).accepted == 1
                if storage.live_mode != "POLL":
                    hints.wait_for("r1")
                    for _ in range(2):
                        assert called.acquire(timeout=threads.DEADLINE_S), (
                            "a callback that raised is not called any more"
                        )
        finally:
            for watch in watches:
                watch.stop()
        assert seqs(read(storage).events) == [1, 2, 3]

    def test_stopped_watch_is_silent(self, storage: EventLogStorage) -> None:
        """After `stop` has returned there is no call, while other watches go on."""
        stopped, going = _Hints(), _Hints()
        first, second = storage.watch(stopped), storage.watch(going)
        try:
            storage.append("r1", messages(1, 1))
            if storage.live_mode != "POLL":
                stopped.wait_for("r1")
            first.stop()
            stopped.clear()
            going.clear()
            storage.append("r2", messages(1, 1))
            if storage.live_mode != "POLL":
                going.wait_for("r2", beside="r1")
            assert stopped.count == 0
        finally:
            first.stop()
            second.stop()
