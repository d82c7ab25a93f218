"""Runs in memory."""

from __future__ import annotations

import threading
from bisect import bisect_left, bisect_right, insort
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar, Self

from daglens.storage.contract import TOMBSTONE_DAYS, Leases, NoConfig, RunStorage
from daglens.storage.drafts import now_us
from daglens.storage.errors import RunConflict, RunDeleted, RunNotFound
from daglens.storage.fold import project
from daglens.storage.memory.change_log import ChangeLog
from daglens.storage.memory.texts import Texts
from daglens.storage.names import check_name
from daglens.storage.records import (
    AddedRun,
    NewRun,
    RunChanges,
    RunFilter,
    RunParts,
    RunPosition,
    RunRecord,
    RunSlice,
    RunState,
)
from daglens.storage.run_rules import matches, merged_tags, new_record, position_of, with_parts

TOMBSTONE_US = TOMBSTONE_DAYS * 86_400_000_000


class InMemoryRunStorage(RunStorage, Leases):
    """Runs in memory, gone with the process."""

    Config: ClassVar[type[Any]] = NoConfig

    def __init__(self, *, clock: Callable[[], int] = now_us) -> None:
        """`clock` gives microseconds since 1970-01-01 UTC."""
        self._clock = clock
        self._lock = threading.Lock()
        self._runs: dict[str, RunRecord] = {}
        self._order: list[RunPosition] = []
        self._tombstones: dict[str, int] = {}
        self._tag_keys = Texts()
        self._tag_values: dict[str, Texts] = {}
        self._pipelines = Texts()
        self._changes = ChangeLog()
        self._leases: dict[str, tuple[str, int]] = {}

    @classmethod
    def from_config(cls, config: NoConfig, home: Path) -> Self:
        """A new, empty storage."""
        return cls()

    def now_us(self) -> int:
        """The storage's clock, in microseconds since 1970-01-01 UTC."""
        return self._clock()

    def add(self, run: NewRun) -> AddedRun:
        """See RunStorage."""
        record = new_record(run, self._clock())
        with self._lock:
            self._drop_old_tombstones()
            if run.run_id in self._tombstones:
                raise RunDeleted(run.run_id)
            there = self._runs.get(run.run_id)
            if there is not None:
                if there.created_with != record.created_with:
                    raise RunConflict(run.run_id)
                return AddedRun(there, created=False)
            self._runs[run.run_id] = record
            insort(self._order, position_of(record))
            self._pipelines.add(record.pipeline_name)
            self._index_tags((), record.tags)
            self._changes.note(run.run_id)
            return AddedRun(record, created=True)

    def get(self, run_ids: Sequence[str], parts: RunParts = RunParts.ALL) -> Mapping[str, RunRecord]:
        """See RunStorage."""
        with self._lock:
            return {run_id: with_parts(self._runs[run_id], parts) for run_id in run_ids if run_id in self._runs}

    def page(
        self,
        filter: RunFilter,
        *,
        newest_first: bool = True,
        after: RunPosition | None = None,
        limit: int = 25,
        parts: RunParts = RunParts.ALL,
    ) -> RunSlice:
        """See RunStorage."""
        found: list[RunRecord] = []
        with self._lock:
            for run in self._matching(filter, newest_first, after):
                if len(found) == limit:
                    return RunSlice(found, has_more=True)
                found.append(with_parts(run, parts))
        return RunSlice(found, has_more=False)

    def count(self, filter: RunFilter, up_to: int) -> int:
        """See RunStorage."""
        counted = 0
        with self._lock:
            for _ in self._matching(filter, True, None):
                counted += 1
                if counted > up_to:
                    break
        return counted

    def _matching(self, filter: RunFilter, newest_first: bool, after: RunPosition | None) -> Iterator[RunRecord]:
        others = replace(filter, run_ids=None)
        if filter.run_ids is None:
            order = self._order
        else:
            order = sorted(position_of(self._runs[run_id]) for run_id in set(filter.run_ids) & self._runs.keys())
        if newest_first:
            places = range((len(order) if after is None else bisect_left(order, tuple(after))) - 1, -1, -1)
        else:
            places = range(0 if after is None else bisect_right(order, tuple(after)), len(order))
        for place in places:
            run = self._runs[order[place].run_id]
            # The ids were looked up above; asking a list of thousands again for each run would be slow.
            if matches(run, others):
                yield run

    def add_tags(self, run_id: str, tags: Sequence[tuple[str, str]]) -> RunRecord:
        """See RunStorage."""
        with self._lock:
            run = self._runs.get(run_id)
            if run is None:
                raise RunNotFound(run_id)
            merged = merged_tags(run.tags, tags)
            if merged == run.tags:
                return run
            self._index_tags(run.tags, merged)
            return self._change(run, tags=merged)

    def tag_keys(self, prefix: str, limit: int) -> Sequence[str]:
        """See RunStorage."""
        with self._lock:
            return self._tag_keys.beginning_with(prefix, limit)

    def tag_values(self, key: str, prefix: str, limit: int) -> Sequence[str]:
        """See RunStorage."""
        with self._lock:
            values = self._tag_values.get(key)
            return values.beginning_with(prefix, limit) if values else []

    def pipeline_names(self, prefix: str, limit: int) -> Sequence[str]:
        """See RunStorage."""
        with self._lock:
            return self._pipelines.beginning_with(prefix, limit)

    def project(self, run_id: str, state: RunState) -> RunRecord | None:
        """See RunStorage."""
        with self._lock:
            run = self._runs.get(run_id)
            move = None if run is None else project(run, state)
            if run is None or move is None:
                return run
            moved = run._replace(
                status=move.status,
                started_at_us=move.started_at_us,
                ended_at_us=move.ended_at_us,
                presumed=move.presumed,
                projected_seq=move.projected_seq,
            )
            if move.changed:
                return self._change(moved)
            self._runs[run_id] = moved
            return moved

    def heartbeat(self, run_id: str, timeout_s: int) -> RunRecord:
        """See RunStorage."""
        with self._lock:
            run = self._runs.get(run_id)
            if run is None:
                raise RunNotFound(run_id)
            self._runs[run_id] = run._replace(heartbeat_at_us=self._clock(), heartbeat_timeout_s=timeout_s)
            return self._runs[run_id]

    def delete(self, run_ids: Sequence[str]) -> int:
        """See RunStorage."""
        deleted = 0
        with self._lock:
            self._drop_old_tombstones()
            now = self._clock()
            for run_id in run_ids:
                run = self._runs.pop(run_id, None)
                if run is not None:
                    deleted += 1
                    del self._order[bisect_left(self._order, position_of(run))]
                    self._pipelines.remove(run.pipeline_name)
                    self._index_tags(run.tags, ())
                    self._changes.note(run_id)
                self._tombstones.setdefault(run_id, now)
        return deleted

    def changes(self, after: str | None, limit: int) -> RunChanges:
        """See RunStorage."""
        with self._lock:
            now = self._clock()
            if after is None:
                return RunChanges((), (), str(self._changes.position(now)), has_more=False)
            last = self._changes.parse(after, now)
            changed: list[str] = []
            deleted: list[str] = []
            for number, run_id in self._changes.after(last.number):
                if len(changed) + len(deleted) == limit:
                    # As old as the one before it: what comes behind it may be.
                    return RunChanges(changed, deleted, str(last), has_more=True)
                last = last._replace(number=number)
                (changed if run_id in self._runs else deleted).append(run_id)
            return RunChanges(changed, deleted, str(self._changes.position(now)), has_more=False)

    def lease(self, name: str, holder: str, ttl_s: float) -> bool:
        """See Leases."""
        check_name(name, "lease")
        check_name(holder, "holder")
        with self._lock:
            now = self._clock()
            by, expires_at_us = self._leases.get(name, (holder, now))
            if by != holder and expires_at_us > now:
                return False
            self._leases[name] = (holder, now + round(ttl_s * 1_000_000))
            return True

    def _change(self, run: RunRecord, **fields: Any) -> RunRecord:
        # max: a clock that was set back must not make a change look older than the one before it.
        changed = run._replace(updated_at_us=max(self._clock(), run.updated_at_us), **fields)
        self._runs[run.run_id] = changed
        self._changes.note(run.run_id)
        return changed

    def _index_tags(self, before: Iterable[tuple[str, str]], after: Iterable[tuple[str, str]]) -> None:
        for key, value in after:
            self._tag_keys.add(key)
            self._tag_values.setdefault(key, Texts()).add(value)
        for key, value in before:
            self._tag_keys.remove(key)
            self._tag_values[key].remove(value)
            if not self._tag_values[key].beginning_with("", 1):
                del self._tag_values[key]

    def _drop_old_tombstones(self) -> None:
        oldest = self._clock() - TOMBSTONE_US
        # They stand in order of deletion: the first that stays ends the search.
        while self._tombstones:
            run_id, deleted_at = next(iter(self._tombstones.items()))
            if deleted_at > oldest:
                break
            del self._tombstones[run_id]
            self._changes.forget(run_id)
