"""Runs in memory."""

from __future__ import annotations

import threading
from bisect import bisect_left, bisect_right, insort
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar, Self

from daglens.storage.contract import MAX_TAGS, TOMBSTONE_DAYS, NoConfig, RunStorage
from daglens.storage.drafts import json_text, now_us
from daglens.storage.errors import RunConflict, RunDeleted, RunNotFound, TooManyTags
from daglens.storage.fold import project
from daglens.storage.memory.change_log import ChangeLog
from daglens.storage.memory.texts import Texts
from daglens.storage.names import check_name, clean_text
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

TOMBSTONE_US = TOMBSTONE_DAYS * 86_400_000_000


class InMemoryRunStorage(RunStorage):
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

    @classmethod
    def from_config(cls, config: NoConfig, home: Path) -> Self:
        """A new, empty storage."""
        return cls()

    def now_us(self) -> int:
        """The storage's clock, in microseconds since 1970-01-01 UTC."""
        return self._clock()

    def add(self, run: NewRun) -> AddedRun:
        """See RunStorage."""
        for run_id, what in ((run.run_id, "run id"), (run.parent_run_id, "parent run id"), (run.root_run_id, "root")):
            if run_id is not None:
                check_name(run_id, what)
        check_name(run.pipeline_name, "pipeline name")
        record = _record(run, _merged((), run.tags), self._clock())
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
            insort(self._order, _position(record))
            self._pipelines.add(record.pipeline_name)
            self._index_tags((), record.tags)
            self._changes.note(run.run_id)
            return AddedRun(record, created=True)

    def get(self, run_ids: Sequence[str], parts: RunParts = RunParts.ALL) -> Mapping[str, RunRecord]:
        """See RunStorage."""
        with self._lock:
            return {run_id: _only(self._runs[run_id], parts) for run_id in run_ids if run_id in self._runs}

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
                found.append(_only(run, parts))
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
        if filter.run_ids is None:
            order = self._order
        else:
            order = sorted(_position(self._runs[run_id]) for run_id in set(filter.run_ids) & self._runs.keys())
        if newest_first:
            places = range((len(order) if after is None else bisect_left(order, tuple(after))) - 1, -1, -1)
        else:
            places = range(0 if after is None else bisect_right(order, tuple(after)), len(order))
        for place in places:
            run = self._runs[order[place].run_id]
            if _matches(run, filter):
                yield run

    def add_tags(self, run_id: str, tags: Sequence[tuple[str, str]]) -> RunRecord:
        """See RunStorage."""
        with self._lock:
            run = self._runs.get(run_id)
            if run is None:
                raise RunNotFound(run_id)
            merged = _merged(run.tags, tags)
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
                    del self._order[bisect_left(self._order, _position(run))]
                    self._pipelines.remove(run.pipeline_name)
                    self._index_tags(run.tags, ())
                    self._changes.note(run_id)
                self._tombstones.setdefault(run_id, now)
        return deleted

    def changes(self, after: str | None, limit: int) -> RunChanges:
        """See RunStorage."""
        with self._lock:
            if after is None:
                return RunChanges((), (), self._changes.position(), has_more=False)
            last = self._changes.number(after)
            changed: list[str] = []
            deleted: list[str] = []
            for number, run_id in self._changes.after(last):
                if len(changed) + len(deleted) == limit:
                    return RunChanges(changed, deleted, self._changes.position(last), has_more=True)
                last = number
                (changed if run_id in self._runs else deleted).append(run_id)
            return RunChanges(changed, deleted, self._changes.position(), has_more=False)

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


def _position(run: RunRecord) -> RunPosition:
    return RunPosition(run.created_at_us, run.run_id)


def _merged(present: Sequence[tuple[str, str]], new: Sequence[tuple[str, str]]) -> tuple[tuple[str, str], ...]:
    merged = dict(present)
    merged.update((check_name(key, "tag key"), clean_text(value)) for key, value in new)
    if len(merged) > MAX_TAGS:
        raise TooManyTags(f"It would have {len(merged)}.")
    return tuple(sorted(merged.items()))


def _record(run: NewRun, tags: tuple[tuple[str, str], ...], now: int) -> RunRecord:
    config = json_text(run.run_config)
    return RunRecord(
        run_id=run.run_id,
        pipeline_name=run.pipeline_name,
        status=run.status,
        tags=tags,
        run_config=config,
        step_keys_to_execute=run.step_keys_to_execute,
        parent_run_id=run.parent_run_id,
        root_run_id=run.root_run_id,
        created_at_us=now if run.created_at_us is None else run.created_at_us,
        updated_at_us=now,
        started_at_us=run.started_at_us,
        ended_at_us=run.ended_at_us,
        heartbeat_at_us=None,
        heartbeat_timeout_s=None,
        created_by=run.created_by,
        presumed=False,
        projected_seq=0,
        created_with=run.fingerprint(),
    )


def _only(run: RunRecord, parts: RunParts) -> RunRecord:
    if RunParts.TAGS not in parts:
        run = run._replace(tags=())
    if RunParts.CONFIG not in parts:
        run = run._replace(run_config="{}")
    return run


def _matches(run: RunRecord, filter: RunFilter) -> bool:
    if filter.pipeline_names is not None and run.pipeline_name not in filter.pipeline_names:
        return False
    if filter.statuses is not None and run.status not in filter.statuses:
        return False
    if filter.parent_run_id is not None and run.parent_run_id != filter.parent_run_id:
        return False
    if filter.root_run_id is not None and filter.root_run_id not in (run.root_run_id, run.run_id):
        return False
    if not _within(run.created_at_us, filter.created_after_us, filter.created_before_us):
        return False
    if not _within(run.updated_at_us, filter.updated_after_us, filter.updated_before_us):
        return False
    if filter.tags is not None:
        tags = dict(run.tags)
        # An empty list matches nothing, as everywhere.
        return bool(filter.tags) and all(
            tag.key in tags and (tag.value is None or tags[tag.key] == tag.value) for tag in filter.tags
        )
    return True


def _within(time_us: int, after_us: int | None, before_us: int | None) -> bool:
    return (after_us is None or time_us >= after_us) and (before_us is None or time_us < before_us)
