"""A run storage that a test can look into and stop at chosen places, and a viewer who keeps a list as a client does."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from daglens.resolvers import cursors
from daglens.resolvers.live import LiveHub, RunListBatch, RunListRequest
from daglens.storage.errors import StorageUnavailable
from daglens.storage.records import RunChanges, RunFilter, RunParts, RunRecord, RunSlice


class ObservedRuns:
    """A run storage in front of another.

    Attributes:
        inner: The other one; a test may put another in its place.
        polls: How often `changes` was asked.
        got: The ids of each `get`.
        failing: Everything raises StorageUnavailable.
        before_changes, after_changes, before_page, after_page: Called at that place, in the storage's thread.
    """

    def __init__(self, inner: Any) -> None:
        self.inner = inner
        self.polls = 0
        self.got: list[list[str]] = []
        self.failing = False
        self.before_changes: Callable[[], None] = lambda: None
        self.after_changes: Callable[[], None] = lambda: None
        self.before_page: Callable[[], None] = lambda: None
        self.after_page: Callable[[], None] = lambda: None

    def __getattr__(self, name: str) -> Any:
        return getattr(self.inner, name)

    def changes(self, after: str | None, limit: int) -> RunChanges:
        """See RunStorage."""
        self.polls += 1
        self._check()
        self.before_changes()
        found: RunChanges = self.inner.changes(after, limit)
        self.after_changes()
        return found

    def get(self, run_ids: Sequence[str], parts: RunParts = RunParts.ALL) -> Mapping[str, RunRecord]:
        """See RunStorage."""
        self._check()
        self.got.append(list(run_ids))
        found: Mapping[str, RunRecord] = self.inner.get(run_ids, parts)
        return found

    def page(self, filter: RunFilter, **options: Any) -> RunSlice:
        """See RunStorage."""
        self._check()
        self.before_page()
        found: RunSlice = self.inner.page(filter, **options)
        self.after_page()
        return found

    def _check(self) -> None:
        if self.failing:
            raise StorageUnavailable("Told to fail.")


class RunViewer:
    """Reads the live list of runs.

    Attributes:
        known: The runs that a client would show now, by id.
        batches: All it was told.
    """

    def __init__(
        self,
        hub: LiveHub,
        filter: RunFilter | None = None,
        *,
        limit: int = 1000,
        after: str | None = None,
        parts: RunParts = RunParts.TAGS,
    ) -> None:
        self.feed = hub.runs(RunListRequest(filter or RunFilter(), limit, after, parts))
        self.known: dict[str, RunRecord] = {}
        self.batches: list[RunListBatch] = []

    @property
    def cursor(self) -> str:
        """As clients get it."""
        return cursors.run_changes_cursor(self.batches[-1].position)

    async def next(self) -> RunListBatch:
        """The next batch."""
        batch = await anext(self.feed)
        self.batches.append(batch)
        ids = [*(run.run_id for run in batch.changed), *batch.unmatched, *batch.deleted]
        assert len(set(ids)) == len(ids)
        for run in batch.changed:
            self.known[run.run_id] = run
        for run_id in (*batch.unmatched, *batch.deleted):
            self.known.pop(run_id, None)
        return batch

    async def until(self, reached: Callable[[], bool]) -> RunListBatch:
        """Read batches, at least one, until the condition holds."""
        batch = await self.next()
        while not reached():
            batch = await self.next()
        return batch

    async def caught_up(self) -> None:
        """Read up to the present."""
        await self.until(lambda: self.batches[-1].caught_up)

    async def until_gone(self, run_id: str) -> None:
        """Read until a run is not in the list."""
        await self.until(lambda: run_id not in self.known)

    async def until_there(self, *run_ids: str) -> None:
        """Read until these runs are in the list."""
        await self.until(lambda: self.known.keys() >= set(run_ids))

    async def close(self) -> None:
        """Go away."""
        await self.feed.aclose()
