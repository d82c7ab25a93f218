"""Events in memory."""

from __future__ import annotations

import contextlib
import secrets
import threading
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import takewhile
from pathlib import Path
from typing import Any, ClassVar, Self

from daglens.storage.contract import TOMBSTONE_DAYS, EventLogStorage, NoConfig, Watch
from daglens.storage.drafts import DEFAULT_LIMITS, EventLimits, now_us, prepare, without_duplicates
from daglens.storage.errors import RunDeleted, RunFull
from daglens.storage.fold import fold
from daglens.storage.names import check_name
from daglens.storage.records import (
    MAX_SEQ,
    Appended,
    EventDraft,
    EventFilter,
    EventQuery,
    EventRecord,
    EventSlice,
    EventsOrder,
    Head,
    StepState,
)

TOMBSTONE_US = TOMBSTONE_DAYS * 86_400_000_000

MAX_EXAMINED = 10_000
"""Events that one filtered read looks at: it holds the lock, and appends wait for it."""


@dataclass(slots=True)
class _Log:
    """One run's log. The event of seq n stands at events[n - 1 - removed]."""

    head: Head
    events: list[EventRecord] = field(default_factory=list)
    event_ids: set[str] = field(default_factory=set)
    steps: dict[str, StepState] = field(default_factory=dict)
    removed: int = 0


class InMemoryEventLogStorage(EventLogStorage):
    """Events in memory, gone with the process. A watch is told at once, by the thread that appends."""

    Config: ClassVar[type[Any]] = NoConfig

    def __init__(self, *, limits: EventLimits = DEFAULT_LIMITS, clock: Callable[[], int] = now_us) -> None:
        """`clock` gives microseconds since 1970-01-01 UTC."""
        self._limits = limits
        self._clock = clock
        self._lock = threading.Lock()
        self._logs: dict[str, _Log] = {}
        self._closed_at_us: dict[str, int] = {}
        self._watches: list[_CallbackWatch] = []

    @classmethod
    def from_config(cls, config: NoConfig, home: Path) -> Self:
        """A new, empty storage."""
        return cls()

    @property
    def live_mode(self) -> str:
        """CALLBACK: there are no other processes to hear of."""
        return "CALLBACK"

    def append(self, run_id: str, drafts: Sequence[EventDraft], *, heard: bool = True) -> Appended:
        """See EventLogStorage."""
        check_name(run_id, "run id")
        now = self._clock()
        events = prepare(drafts, now, self._limits)
        with self._lock:
            log = self._log(run_id)
            if log.head.deleted:
                raise RunDeleted(run_id)
            new = without_duplicates(events, log.event_ids)
            first = log.head.last_seq + 1
            if log.head.last_seq + len(new) > MAX_SEQ:
                raise RunFull(f"It has {log.head.last_seq} already, and {len(new)} were given.")
            folded = fold(log.head, log.steps, new, now if heard else None)
            log.head = folded.head
            log.steps.update(folded.steps)
            log.events.extend(event.record(run_id, seq) for seq, event in enumerate(new, first))
            log.event_ids.update(event.event_id for event in new if event.event_id is not None)
            answer = Appended(
                accepted=len(new),
                duplicates=len(events) - len(new),
                first_seq=first if new else None,
                last_seq=log.head.last_seq if new else None,
                head=log.head,
            )
        if new:
            self._tell(run_id)
        return answer

    def read(self, queries: Sequence[EventQuery]) -> Sequence[EventSlice]:
        """See EventLogStorage."""
        with self._lock:
            return [_read(self._logs.get(query.run_id), query) for query in queries]

    def heads(self, run_ids: Sequence[str]) -> Mapping[str, Head]:
        """See EventLogStorage."""
        with self._lock:
            return {run_id: self._logs[run_id].head for run_id in run_ids if run_id in self._logs}

    def steps(
        self, run_ids: Sequence[str], step_keys: Sequence[str] | None = None, limit: int = 1000
    ) -> Mapping[str, Sequence[StepState]]:
        """See EventLogStorage."""
        with self._lock:
            return {
                run_id: _first_steps(self._logs[run_id].steps, step_keys, limit)
                for run_id in run_ids
                if run_id in self._logs
            }

    def close_runs(self, run_ids: Sequence[str]) -> None:
        """See EventLogStorage."""
        with self._lock:
            now = self._clock()
            for run_id in run_ids:
                log = self._log(run_id)
                log.head = replace(log.head, deleted=True)
                self._closed_at_us.setdefault(run_id, now)
        for run_id in run_ids:
            self._tell(run_id)

    def delete(self, run_id: str, max_events: int = 10_000) -> int:
        """See EventLogStorage."""
        with self._lock:
            self._drop_old_tombstones()
            log = self._logs.get(run_id)
            if log is None or not log.head.deleted:
                return 0
            gone = min(max_events, len(log.events))
            del log.events[:gone]
            log.removed += gone
            if not log.events:
                log.steps.clear()
                log.event_ids.clear()
            return gone

    def watch(self, on_news: Callable[[str | None], None]) -> Watch:
        """See EventLogStorage."""
        watch = _CallbackWatch(on_news, self._forget)
        with self._lock:
            self._watches.append(watch)
        return watch

    def _forget(self, watch: _CallbackWatch) -> None:
        with self._lock, contextlib.suppress(ValueError):
            self._watches.remove(watch)

    def _tell(self, run_id: str) -> None:
        # Outside the storage's lock: a callback may read, append or stop its watch.
        for watch in tuple(self._watches):
            watch.tell(run_id)

    def _log(self, run_id: str) -> _Log:
        self._drop_old_tombstones()
        log = self._logs.get(run_id)
        if log is None:
            log = self._logs[run_id] = _Log(Head(run_id, incarnation=secrets.token_hex(8)))
        return log

    def _drop_old_tombstones(self) -> None:
        oldest = self._clock() - TOMBSTONE_US
        # They stand in order of closing: the first that stays ends the search.
        old = list(takewhile(lambda run_id: self._closed_at_us[run_id] <= oldest, self._closed_at_us))
        for run_id in old:
            # A log that still has events waits for its deletion to be finished.
            if not self._logs[run_id].events:
                del self._closed_at_us[run_id], self._logs[run_id]


class _CallbackWatch:
    """A watch whose callback runs under its own lock, so that `stop` can promise that none runs after it."""

    def __init__(self, on_news: Callable[[str | None], None], forget: Callable[[_CallbackWatch], None]) -> None:
        self._on_news = on_news
        self._forget = forget
        # Reentrant: a callback may stop its own watch, or append.
        self._lock = threading.RLock()
        self._stopped = False

    def tell(self, run_id: str) -> None:
        with self._lock:
            if not self._stopped:
                # A watcher that fails must end neither the append nor the other watchers.
                with contextlib.suppress(Exception):
                    self._on_news(run_id)

    def stop(self) -> None:
        """End it; no call comes after this."""
        with self._lock:
            self._stopped = True
        self._forget(self)


def _read(log: _Log | None, query: EventQuery) -> EventSlice:
    forward = query.order is EventsOrder.OLDEST_FIRST
    first, last = (log.removed + 1, log.head.last_seq) if log is not None else (1, 0)
    if query.after_seq is not None:
        through = query.after_seq
    else:
        through = 0 if forward else last + 1
    if forward:
        seqs: Iterable[int] = range(max(through + 1, first), last + 1)
    else:
        seqs = range(min(through - 1, last), first - 1, -1)
    found: list[EventRecord] = []
    for examined, seq in enumerate(seqs):
        if len(found) >= query.limit or (examined >= MAX_EXAMINED and query.filter is not None):
            break
        assert log is not None
        event = log.events[seq - first]
        if query.filter is None or _matches(event, query.filter):
            found.append(event)
        through = seq
    if log is None or not log.events:
        has_more = False
    else:
        has_more = through < last if forward else through > first
    return EventSlice(None if log is None else log.head, found, through, has_more)


def _matches(event: EventRecord, filter: EventFilter) -> bool:
    return (
        (filter.event_types is None or event.event_type in filter.event_types)
        and (filter.step_keys is None or event.step_key in filter.step_keys)
        and (filter.min_level is None or event.level >= filter.min_level)
    )


def _first_steps(steps: Mapping[str, StepState], step_keys: Sequence[str] | None, limit: int) -> list[StepState]:
    chosen = steps.values() if step_keys is None else (steps[key] for key in set(step_keys) if key in steps)
    return sorted(chosen, key=lambda step: step.first_seq)[:limit]
