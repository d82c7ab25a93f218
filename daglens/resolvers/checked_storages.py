"""Storages that aren't ours, behind a look at what they answer.

A plug-in that answers nonsense (another type, a row of another run, a gap between two seqs, "there is more" without an
end) would lose events without a word, or keep a feed going round for ever. So each answer that something is built on is
compared with what the contract says of it. Our own storages are held to it by the conformance suites instead.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from itertools import pairwise
from typing import Any, NoReturn, TypeVar, cast

from daglens.resolvers.answer_types import fits
from daglens.storage.contract import ComputeLogManager, EventLogStorage, RunStorage, Storage
from daglens.storage.errors import StorageContractBroken
from daglens.storage.records import (
    AddedRun,
    Appended,
    ArtifactSlice,
    ComputeIO,
    EventDraft,
    EventQuery,
    EventSlice,
    EventsOrder,
    Head,
    Health,
    LogBytes,
    LogFile,
    LogKey,
    NewRun,
    RunChanges,
    RunFilter,
    RunParts,
    RunPosition,
    RunRecord,
    RunSlice,
    StepState,
)

S = TypeVar("S", bound=Storage)
T = TypeVar("T")

_MOST_CHARS = 80


def checked(section: str, storage: S) -> S:
    """The storage itself when it is one of ours, else one that raises StorageContractBroken for a wrong answer.

    `section` of dagster.yaml is what messages name it by.
    """
    module = type(storage).__module__
    if module.startswith("daglens.") and not module.startswith("daglens.testing."):
        return storage
    kind = {"run_storage": _Runs, "event_log_storage": _Events, "compute_logs": _Logs}.get(section, _Artifacts)
    return cast(S, kind(section, storage))


class _Checked:
    """What isn't looked at goes through."""

    def __init__(self, section: str, storage: Any) -> None:
        self._section = section
        self._storage = storage

    def __getattr__(self, name: str) -> Any:
        return getattr(self._storage, name)

    def _ask(self, method: str, answer_type: Any, call: Callable[[], T]) -> T:
        """What the storage answers; it is of the type that the contract says."""
        answer = call()
        if not fits(answer_type)(answer):
            # Not what it holds: that may be anything.
            wanted = getattr(answer_type, "__name__", str(answer_type))
            self._refuse(method, f"its answer, a {type(answer).__name__}, isn't all through what {wanted} says")
        return answer

    def health(self) -> Health:
        return self._ask("health", Health, lambda: cast(Health, self._storage.health()))

    def _refuse(self, method: str, what: str) -> NoReturn:
        kind = type(self._storage)
        raise StorageContractBroken(f"{self._section} ({kind.__module__}.{kind.__qualname__}), {method}: {what}.")

    def _no_more_than(self, method: str, limit: int, answer: Sequence[Any]) -> None:
        if len(answer) > limit:
            self._refuse(method, f"{len(answer)} of them, {limit} were asked for")

    def _keyed(self, method: str, asked: Sequence[str], answer: Mapping[str, Any]) -> None:
        for key, value in answer.items():
            told = getattr(value, "run_id", key)
            if key not in asked or told != key:
                self._refuse(method, f"run {_short(told)} as run {_short(key)}, of {_short(list(asked))}")


class _Runs(_Checked):
    _storage: RunStorage

    def add(self, run: NewRun) -> AddedRun:
        added = self._ask("add", AddedRun, lambda: self._storage.add(run))
        self._keyed("add", [run.run_id], {run.run_id: added.run})
        return added

    def get(self, run_ids: Sequence[str], parts: RunParts = RunParts.ALL) -> Mapping[str, RunRecord]:
        found = self._ask("get", Mapping[str, RunRecord], lambda: self._storage.get(run_ids, parts))
        self._keyed("get", run_ids, found)
        return found

    def page(
        self,
        filter: RunFilter,
        *,
        newest_first: bool = True,
        after: RunPosition | None = None,
        limit: int = 25,
        parts: RunParts = RunParts.ALL,
    ) -> RunSlice:
        found = self._ask(
            "page",
            RunSlice,
            lambda: self._storage.page(filter, newest_first=newest_first, after=after, limit=limit, parts=parts),
        )
        self._no_more_than("page", limit, found.runs)
        if found.has_more and limit and not found.runs:
            self._refuse("page", "no run, and yet there are more")
        places = [RunPosition(run.created_at_us, run.run_id) for run in found.runs]
        walked = places if after is None else [after, *places]
        for one, other in pairwise(walked):
            if (one <= other) if newest_first else (one >= other):
                self._refuse("page", f"run {_short(other.run_id)} out of order")
        return found

    def count(self, filter: RunFilter, up_to: int) -> int:
        counted = self._ask("count", int, lambda: self._storage.count(filter, up_to))
        if not 0 <= counted <= up_to + 1:
            self._refuse("count", f"{counted}, counted up to {up_to}")
        return counted

    def changes(self, after: str | None, limit: int) -> RunChanges:
        found = self._ask("changes", RunChanges, lambda: self._storage.changes(after, limit))
        if found.has_more and limit and found.position == after:
            self._refuse("changes", "there are more, at the position that was asked for")
        return found

    def add_tags(self, run_id: str, tags: Sequence[tuple[str, str]]) -> RunRecord:
        return self._ask("add_tags", RunRecord, lambda: self._storage.add_tags(run_id, tags))

    def heartbeat(self, run_id: str, timeout_s: int) -> RunRecord:
        return self._ask("heartbeat", RunRecord, lambda: self._storage.heartbeat(run_id, timeout_s))

    def delete(self, run_ids: Sequence[str]) -> int:
        return self._ask("delete", int, lambda: self._storage.delete(run_ids))

    def now_us(self) -> int:
        return self._ask("now_us", int, self._storage.now_us)

    def tag_keys(self, prefix: str, limit: int) -> Sequence[str]:
        return self._names("tag_keys", limit, lambda: self._storage.tag_keys(prefix, limit))

    def tag_values(self, key: str, prefix: str, limit: int) -> Sequence[str]:
        return self._names("tag_values", limit, lambda: self._storage.tag_values(key, prefix, limit))

    def pipeline_names(self, prefix: str, limit: int) -> Sequence[str]:
        return self._names("pipeline_names", limit, lambda: self._storage.pipeline_names(prefix, limit))

    def _names(self, method: str, limit: int, call: Callable[[], Sequence[str]]) -> Sequence[str]:
        names = self._ask(method, Sequence[str], call)
        self._no_more_than(method, limit, names)
        return names


class _Events(_Checked):
    _storage: EventLogStorage

    def append(self, run_id: str, drafts: Sequence[EventDraft], *, heard: bool = True) -> Appended:
        done = self._ask("append", Appended, lambda: self._storage.append(run_id, drafts, heard=heard))
        span = 0 if done.first_seq is None or done.last_seq is None else done.last_seq - done.first_seq + 1
        if done.accepted + done.duplicates != len(drafts) or span != done.accepted:
            self._refuse("append", f"{len(drafts)} events were sent: {_short(done)}")
        return done

    def heads(self, run_ids: Sequence[str]) -> Mapping[str, Head]:
        found = self._ask("heads", Mapping[str, Head], lambda: self._storage.heads(run_ids))
        self._keyed("heads", run_ids, found)
        return found

    def steps(
        self, run_ids: Sequence[str], step_keys: Sequence[str] | None = None, limit: int = 1000
    ) -> Mapping[str, Sequence[StepState]]:
        found = self._ask(
            "steps", Mapping[str, Sequence[StepState]], lambda: self._storage.steps(run_ids, step_keys, limit)
        )
        self._keyed("steps", run_ids, found)
        for states in found.values():
            self._no_more_than("steps", limit, states)
        return found

    def read(self, queries: Sequence[EventQuery]) -> Sequence[EventSlice]:
        found = self._ask("read", Sequence[EventSlice], lambda: self._storage.read(queries))
        if len(found) != len(queries):
            self._refuse("read", f"{len(found)} slices for {len(queries)} queries")
        for query, one in zip(queries, found, strict=True):
            wrong = wrong_in(query, one)
            if wrong is not None:
                self._refuse("read", f"{wrong}, of run {_short(query.run_id)}")
        return found


def wrong_in(query: EventQuery, found: EventSlice) -> str | None:
    """What a slice of a log says that can't be so; None when nothing does."""
    head, seqs = found.head, [event.seq for event in found.events]
    if any(event.run_id != query.run_id for event in found.events) or (head and head.run_id != query.run_id):
        return "another run's events or head"
    if len(seqs) > max(0, query.limit):
        return f"{len(seqs)} events, {query.limit} were asked for"
    if head is None:
        return "events or more to come, and no head" if seqs or found.has_more else None
    forward = query.order is EventsOrder.OLDEST_FIRST
    step = 1 if forward else -1
    start = query.after_seq
    if start is None:
        start = 0 if forward else head.last_seq + 1
    # What is left of a log that is being deleted has holes, and may end anywhere.
    whole = not head.deleted
    dense = whole and query.filter is None
    place = start
    for seq in seqs:
        if (seq - place) * step < 1 or not 1 <= seq <= head.last_seq:
            return f"event {seq} behind event {place}, with the head at {head.last_seq}"
        if dense and seq != place + step:
            return f"a gap between events {place} and {seq}"
        place = seq
    through = found.through_seq
    if (through - place) * step < 0 or (dense and seqs and through != place):
        return f"examined through {through}, with events up to {place}"
    if found.has_more and query.limit > 0 and through == start:
        return f"more to come, and nothing examined behind event {start}"
    ends = head.last_seq if forward else 1
    if whole and not found.has_more and query.limit > 0 and (ends - through) * step > 0:
        return f"nothing more to come behind event {through}, with the head at {head.last_seq}"
    return None


class _Logs(_Checked):
    _storage: ComputeLogManager

    def read(self, key: LogKey, io: ComputeIO, start: int, max_bytes: int) -> LogBytes:
        found = self._ask("read", LogBytes, lambda: self._storage.read(key, io, start, max_bytes))
        if len(found.data) > max_bytes or (found.data and start + len(found.data) > found.size_bytes):
            self._refuse("read", f"{len(found.data)} bytes from {start} on of {found.size_bytes}; asked: {max_bytes}")
        if max_bytes and not found.data and start < found.size_bytes:
            self._refuse("read", f"no bytes from {start} on of {found.size_bytes}")
        return found

    def append(self, key: LogKey, io: ComputeIO, offset: int, data: bytes, *, complete: bool = False) -> int:
        size = self._ask("append", int, lambda: self._storage.append(key, io, offset, data, complete=complete))
        if size < offset + len(data):
            self._refuse("append", f"{size} bytes, after {len(data)} were appended at {offset}")
        return size

    def latest_attempt(self, run_id: str, step_key: str) -> int:
        if getattr(type(self._storage), "latest_attempt", None) in (None, ComputeLogManager.latest_attempt):
            # By the list, which is looked at here.
            return ComputeLogManager.latest_attempt(cast(ComputeLogManager, self), run_id, step_key)
        found = self._ask("latest_attempt", int, lambda: self._storage.latest_attempt(run_id, step_key))
        if found < 0:
            self._refuse("latest_attempt", f"attempt {found}")
        return found

    def list(self, run_ids: Sequence[str]) -> Mapping[str, Sequence[LogFile]]:
        found = self._ask("list", Mapping[str, Sequence[LogFile]], lambda: self._storage.list(run_ids))
        self._keyed("list", run_ids, found)
        return found


class _Artifacts(_Checked):
    def list(self, run_id: str, after: str | None = None, limit: int = 100) -> ArtifactSlice:
        found = self._ask("list", ArtifactSlice, lambda: self._storage.list(run_id, after, limit))
        self._no_more_than("list", limit, found.artifacts)
        if found.has_more and limit and not found.artifacts:
            self._refuse("list", "no file, and yet there are more")
        return cast(ArtifactSlice, found)


def _short(value: Any) -> str:
    try:
        text = repr(value)
    except Exception:
        text = f"a {type(value).__name__} whose repr raises"
    return text if len(text) <= _MOST_CHARS else f"{text[:_MOST_CHARS]}…"
