"""The runs of bundles: the shortest run storage there can be, as nothing in it changes."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from daglens.storage.bundle.opened import Bundles, BundleStorage, refuse
from daglens.storage.contract import RunStorage
from daglens.storage.errors import InvalidName
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
from daglens.storage.run_rules import matches, position_of, with_parts

_POSITION = "unchanging"


class BundleRunStorage(BundleStorage, RunStorage):
    """Runs of bundles, one each. Every method that would change something raises ReadOnlyBundle."""

    def __init__(self, bundles: Bundles) -> None:
        """Stand on `bundles`, which are released when this storage is closed."""
        super().__init__(bundles)
        self._runs = {run_id: bundle.run for run_id, bundle in bundles.by_run.items()}
        self._in_order = sorted(self._runs.values(), key=position_of)

    def get(self, run_ids: Sequence[str], parts: RunParts = RunParts.ALL) -> Mapping[str, RunRecord]:
        """See RunStorage."""
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
        found = [run for run in self._in_order if matches(run, filter)]
        if newest_first:
            found.reverse()
        if after is not None:
            found = [run for run in found if (position_of(run) < after if newest_first else position_of(run) > after)]
        return RunSlice([with_parts(run, parts) for run in found[:limit]], has_more=len(found) > limit)

    def count(self, filter: RunFilter, up_to: int) -> int:
        """See RunStorage."""
        return min(sum(matches(run, filter) for run in self._in_order), up_to + 1)

    def tag_keys(self, prefix: str, limit: int) -> Sequence[str]:
        """See RunStorage."""
        return _beginning((key for run in self._in_order for key, _ in run.tags), prefix, limit)

    def tag_values(self, key: str, prefix: str, limit: int) -> Sequence[str]:
        """See RunStorage."""
        return _beginning((value for run in self._in_order for k, value in run.tags if k == key), prefix, limit)

    def pipeline_names(self, prefix: str, limit: int) -> Sequence[str]:
        """See RunStorage."""
        return _beginning((run.pipeline_name for run in self._in_order), prefix, limit)

    def changes(self, after: str | None, limit: int) -> RunChanges:
        """Nothing ever changes."""
        if after not in (None, _POSITION):
            raise InvalidName("This is no position in the changes of this storage.")
        return RunChanges((), (), _POSITION, has_more=False)

    def add(self, run: NewRun) -> AddedRun:
        """Raises ReadOnlyBundle."""
        refuse(run.run_id)

    def add_tags(self, run_id: str, tags: Sequence[tuple[str, str]]) -> RunRecord:
        """Raises ReadOnlyBundle."""
        refuse(run_id)

    def project(self, run_id: str, state: RunState) -> RunRecord | None:
        """The run, which is what its events say already."""
        return self._runs.get(run_id)

    def heartbeat(self, run_id: str, timeout_s: int) -> RunRecord:
        """Raises ReadOnlyBundle."""
        refuse(run_id)

    def delete(self, run_ids: Sequence[str]) -> int:
        """Raises ReadOnlyBundle."""
        refuse(", ".join(run_ids))


def _beginning(texts: Iterable[str], prefix: str, limit: int) -> list[str]:
    return sorted({text for text in texts if text.startswith(prefix)})[:limit]
