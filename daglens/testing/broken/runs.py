"""Run storages with one mistake each."""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from daglens.storage.errors import RunConflict
from daglens.storage.feed_positions import FeedPosition
from daglens.storage.memory import InMemoryRunStorage
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
from daglens.testing.broken.pause import others_run

EVERYTHING = 1_000_000


# ---------------------------------------------------------------- adding


class CreatesTwice(InMemoryRunStorage):
    """Looks whether a run is there, and adds it later."""

    def add(self, run: NewRun) -> AddedRun:
        there = bool(self.get([run.run_id]))
        others_run()
        return AddedRun(super().add(run).run, created=not there)


class IgnoresConflicts(InMemoryRunStorage):
    """Any run of the same id counts as the same run."""

    def add(self, run: NewRun) -> AddedRun:
        try:
            return super().add(run)
        except RunConflict:
            return AddedRun(self.get([run.run_id])[run.run_id], created=False)


class AddsRunBeforeTags(InMemoryRunStorage):
    """Stores run and tags one after the other, so a refused tag leaves the run behind."""

    def add(self, run: NewRun) -> AddedRun:
        added = super().add(replace(run, tags=()))
        return AddedRun(self.add_tags(run.run_id, run.tags), added.created)


class KeepsTimesAsFloats(InMemoryRunStorage):
    """Times lose their last digits where a float ends."""

    def add(self, run: NewRun) -> AddedRun:
        started = None if run.started_at_us is None else int(float(run.started_at_us))
        return super().add(replace(run, started_at_us=started))


# ---------------------------------------------------------------- pages


class _PageFault(InMemoryRunStorage):
    """Base: `_page` is the wrong answer, and `_right` the right one."""

    def _page(
        self, filter: RunFilter, newest_first: bool, after: RunPosition | None, limit: int, parts: RunParts
    ) -> RunSlice:
        raise NotImplementedError

    def _right(
        self, filter: RunFilter, newest_first: bool, after: RunPosition | None, limit: int, parts: RunParts
    ) -> RunSlice:
        return super().page(filter, newest_first=newest_first, after=after, limit=limit, parts=parts)

    def page(
        self,
        filter: RunFilter,
        *,
        newest_first: bool = True,
        after: RunPosition | None = None,
        limit: int = 25,
        parts: RunParts = RunParts.ALL,
    ) -> RunSlice:
        return self._page(filter, newest_first, after, limit, parts)


class SkipsRunAtPageBorder(_PageFault):
    """A page begins one run too late: it was read one too far, and the one too many was dropped at the wrong end."""

    def _page(
        self, filter: RunFilter, newest_first: bool, after: RunPosition | None, limit: int, parts: RunParts
    ) -> RunSlice:
        if after is None:
            return self._right(filter, newest_first, after, limit, parts)
        page = self._right(filter, newest_first, after, limit + 1, parts)
        return RunSlice(page.runs[1:], page.has_more)


class PagesByOffset(_PageFault):
    """A position stands for how many runs came before it when it was given."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self._offset_of: dict[RunPosition, int] = {}

    def _page(
        self, filter: RunFilter, newest_first: bool, after: RunPosition | None, limit: int, parts: RunParts
    ) -> RunSlice:
        everything = self._right(filter, newest_first, None, EVERYTHING, parts).runs
        offset = 0 if after is None else self._offset_of.get(after, 0)
        runs = everything[offset : offset + limit]
        if runs:
            self._offset_of[RunPosition(runs[-1].created_at_us, runs[-1].run_id)] = offset + limit
        return RunSlice(runs, has_more=offset + limit < len(everything))


class GuessesThatThereIsMore(_PageFault):
    """A full page says that there are more, also when it is the last."""

    def _page(
        self, filter: RunFilter, newest_first: bool, after: RunPosition | None, limit: int, parts: RunParts
    ) -> RunSlice:
        runs = self._right(filter, newest_first, after, limit, parts).runs
        return RunSlice(runs, has_more=len(runs) == limit)


class PagesByTimeAlone(_PageFault):
    """A page begins after the time of the last run, and leaves out those of the same microsecond."""

    def _page(
        self, filter: RunFilter, newest_first: bool, after: RunPosition | None, limit: int, parts: RunParts
    ) -> RunSlice:
        if after is not None:
            after = RunPosition(after.created_at_us, "" if newest_first else "\U0010ffff" * 256)
        return self._right(filter, newest_first, after, limit, parts)


class ZeroMeansAll(_PageFault):
    """A limit of 0 is taken for none."""

    def _page(
        self, filter: RunFilter, newest_first: bool, after: RunPosition | None, limit: int, parts: RunParts
    ) -> RunSlice:
        return self._right(filter, newest_first, after, limit or EVERYTHING, parts)


# ---------------------------------------------------------------- filters


class _FilterFault(InMemoryRunStorage):
    """Base: reads a filter as `_misread` makes it."""

    def _misread(self, filter: RunFilter) -> RunFilter:
        raise NotImplementedError

    def page(
        self,
        filter: RunFilter,
        *,
        newest_first: bool = True,
        after: RunPosition | None = None,
        limit: int = 25,
        parts: RunParts = RunParts.ALL,
    ) -> RunSlice:
        return super().page(self._misread(filter), newest_first=newest_first, after=after, limit=limit, parts=parts)

    def count(self, filter: RunFilter, up_to: int) -> int:
        return super().count(self._misread(filter), up_to)


class EmptyListIsNoCondition(_FilterFault):
    """An empty list matches every run."""

    def _misread(self, filter: RunFilter) -> RunFilter:
        return replace(
            filter,
            run_ids=filter.run_ids or None,
            pipeline_names=filter.pipeline_names or None,
            statuses=filter.statuses or None,
            tags=filter.tags or None,
        )


class LastValueOfAKeyWins(_FilterFault):
    """Of two values for one key only the last is looked for."""

    def _misread(self, filter: RunFilter) -> RunFilter:
        return replace(filter, tags=filter.tags and list({tag.key: tag for tag in filter.tags}.values()))


class IgnoresTagsWithoutValue(_FilterFault):
    """A tag key alone is no condition."""

    def _misread(self, filter: RunFilter) -> RunFilter:
        return replace(filter, tags=filter.tags and ([tag for tag in filter.tags if tag.value is not None] or None))


class BeforeIsInclusive(_FilterFault):
    """`before` takes in its own microsecond."""

    def _misread(self, filter: RunFilter) -> RunFilter:
        before = filter.created_before_us
        return replace(filter, created_before_us=None if before is None else before + 1)


class LeavesOutTheRoot(_FilterFault):
    """`root_run_id` matches only the runs that name it."""

    def _misread(self, filter: RunFilter) -> RunFilter:
        if filter.root_run_id is None:
            return filter
        return replace(filter, run_ids=[run.run_id for run in self._runs.values() if run.root_run_id])


class CountsNoFurther(InMemoryRunStorage):
    """A count ends at `up_to`, so nobody learns that there are more."""

    def count(self, filter: RunFilter, up_to: int) -> int:
        return min(super().count(filter, up_to), up_to)


# ---------------------------------------------------------------- tags


class PrefixIsAPattern(InMemoryRunStorage):
    """`_` and `%` in a prefix stand for any text, as in LIKE."""

    def tag_keys(self, prefix: str, limit: int) -> Sequence[str]:
        pattern = re.compile(re.escape(prefix).replace("%", ".*").replace("_", "."), re.DOTALL)
        return [key for key in super().tag_keys("", EVERYTHING) if pattern.match(key)][:limit]


class PrefixIgnoresCase(InMemoryRunStorage):
    """A prefix matches in any case, as LIKE does in SQLite."""

    def pipeline_names(self, prefix: str, limit: int) -> Sequence[str]:
        names = super().pipeline_names("", EVERYTHING)
        return [name for name in names if name.lower().startswith(prefix.lower())][:limit]


class TagsReplaceTags(InMemoryRunStorage):
    """Added tags take the place of all others."""

    def add_tags(self, run_id: str, tags: Sequence[tuple[str, str]]) -> RunRecord:
        run = super().add_tags(run_id, tags)
        self._runs[run_id] = run._replace(tags=tuple(sorted(dict(tags).items())))
        return self._runs[run_id]


class AddsTagsOneByOne(InMemoryRunStorage):
    """Tags before the one that is refused stay."""

    def add_tags(self, run_id: str, tags: Sequence[tuple[str, str]]) -> RunRecord:
        run = super().add_tags(run_id, [])
        for tag in tags:
            run = super().add_tags(run_id, [tag])
        return run


# ---------------------------------------------------------------- projection


class LateStartWins(InMemoryRunStorage):
    """The newest event decides, whatever its rank."""

    def project(self, run_id: str, state: RunState) -> RunRecord | None:
        run = super().project(run_id, state)
        if run is None or state.status is None or run.projected_seq > state.state_seq:
            return run
        self._runs[run_id] = run._replace(status=state.status)
        return self._runs[run_id]


class ProjectsOlderStates(InMemoryRunStorage):
    """A state that comes late is written as if it were the newest."""

    def project(self, run_id: str, state: RunState) -> RunRecord | None:
        run = self._runs.get(run_id)
        return super().project(run_id, state if run is None else replace(state, state_seq=run.projected_seq + 1))


class PresumptionStays(InMemoryRunStorage):
    """A presumed failure is final."""

    def project(self, run_id: str, state: RunState) -> RunRecord | None:
        run = self._runs.get(run_id)
        return run if run is not None and run.presumed else super().project(run_id, state)


class HeartbeatIsAChange(InMemoryRunStorage):
    """A heartbeat moves `updated_at` and shows in the live list."""

    def heartbeat(self, run_id: str, timeout_s: int) -> RunRecord:
        return self._change(super().heartbeat(run_id, timeout_s))


# ---------------------------------------------------------------- changes


class ChangesByTimeOfBegin(InMemoryRunStorage):
    """`updated_at > x`: a change is stamped when its transaction begins, and seen when it ends."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self._next_stamp = itertools.count(1)
        self._stamp_of: dict[str, int] = {}

    def _stamp(self, run_ids: Iterable[str], stamp: int) -> None:
        with self._lock:
            self._stamp_of.update(dict.fromkeys(run_ids, stamp))

    def add(self, run: NewRun) -> AddedRun:
        stamp = next(self._next_stamp)
        others_run()
        added = super().add(run)
        self._stamp([run.run_id], stamp)
        return added

    def add_tags(self, run_id: str, tags: Sequence[tuple[str, str]]) -> RunRecord:
        stamp = next(self._next_stamp)
        others_run()
        run = super().add_tags(run_id, tags)
        self._stamp([run_id], stamp)
        return run

    def changes(self, after: str | None, limit: int) -> RunChanges:
        with self._lock:
            newest = max(self._stamp_of.values(), default=0)
            if after is None:
                return RunChanges((), (), str(newest), has_more=False)
            later = sorted((stamp, run_id) for run_id, stamp in self._stamp_of.items() if stamp > int(after))
            given = later[:limit]
            return RunChanges(
                [run_id for _, run_id in given if run_id in self._runs],
                [run_id for _, run_id in given if run_id not in self._runs],
                str(given[-1][0]) if given else str(newest),
                has_more=len(later) > limit,
            )


class DeletionIsNoNews(InMemoryRunStorage):
    """Runs that are gone are gone from the changes, too."""

    def changes(self, after: str | None, limit: int) -> RunChanges:
        return super().changes(after, limit)._replace(deleted=())


class PositionOfNow(InMemoryRunStorage):
    """A page of changes gives the position of now, and what the page had no room for is lost."""

    def changes(self, after: str | None, limit: int) -> RunChanges:
        return super().changes(after, limit)._replace(position=str(self._changes.position(self._clock())))


class _AnyAge(InMemoryRunStorage):
    """Base: a position that is given out anew belongs to today."""

    def _as_of_now(self, position: str) -> str:
        return str(FeedPosition.of_now(*FeedPosition.parse(position)[:2], self._clock()))


class PositionsForEver(_AnyAge):
    """Deletions are forgotten after 90 days, and a position from before them is taken all the same."""

    def changes(self, after: str | None, limit: int) -> RunChanges:
        return super().changes(None if after is None else self._as_of_now(after), limit)


class PagesMakeYoung(_AnyAge):
    """A page of changes gives a position of today, also where older deletions come behind it."""

    def changes(self, after: str | None, limit: int) -> RunChanges:
        found = super().changes(after, limit)
        return found._replace(position=self._as_of_now(found.position))


# ---------------------------------------------------------------- deletion, names


class TagsStayBehind(InMemoryRunStorage):
    """Deleting a run leaves its tags in the completions."""

    def _index_tags(self, before: Iterable[tuple[str, str]], after: Iterable[tuple[str, str]]) -> None:
        if after:
            super()._index_tags(before, after)


class LeavesNoTombstones(InMemoryRunStorage):
    """A deleted run can be brought back by a late writer."""

    def delete(self, run_ids: Sequence[str]) -> int:
        deleted = super().delete(run_ids)
        self._tombstones.clear()
        return deleted


class TombstonesForEver(InMemoryRunStorage):
    """A deleted id is never free again."""

    def _drop_old_tombstones(self) -> None:
        return


class IgnoresCaseOfIds(InMemoryRunStorage):
    """`A` and `a` are one run."""

    def add(self, run: NewRun) -> AddedRun:
        return super().add(replace(run, run_id=run.run_id.casefold()))

    def get(self, run_ids: Sequence[str], parts: RunParts = RunParts.ALL) -> Mapping[str, RunRecord]:
        found = super().get([run_id.casefold() for run_id in run_ids], parts)
        return {run_id: found[run_id.casefold()] for run_id in run_ids if run_id.casefold() in found}
