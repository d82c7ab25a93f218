"""Batched reads of one operation: however many runs ask, each storage is called once per kind of question and depth."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from typing import NamedTuple

from daglens.resolvers.batching import Batch
from daglens.resolvers.calls import StorageCalls
from daglens.storage.contract import ArtifactStorage
from daglens.storage.records import (
    ArtifactSlice,
    EventQuery,
    EventSlice,
    Head,
    LogFile,
    RunParts,
    RunRecord,
    StepState,
)

_RUNS_PER_CALL = 1_000


class RunKey(NamedTuple):
    """A run, and what of it is asked for."""

    run_id: str
    parts: RunParts


class StepsKey(NamedTuple):
    """The steps of a run: those of some keys (None: all), at most `limit`."""

    run_id: str
    step_keys: tuple[str, ...] | None
    limit: int


class ArtifactsKey(NamedTuple):
    """A page of a run's artifacts."""

    run_id: str
    after: str | None
    limit: int


class Loaders:
    """See the methods of the storages for what each gives.

    What loads is a function of the storages' calls, and no method: an object that holds its own methods is left, with
    all that hangs on it, to Python's garbage collector, which stops everybody while it looks for such.
    """

    def __init__(self, calls: StorageCalls) -> None:
        self.run: Batch[RunKey, RunRecord | None] = Batch(partial(_runs, calls))
        self.head: Batch[str, Head | None] = Batch(partial(_heads, calls))
        self.steps: Batch[StepsKey, Sequence[StepState]] = Batch(partial(_steps, calls))
        self.events: Batch[EventQuery, EventSlice] = Batch(partial(_events, calls))
        self.log_files: Batch[str, Sequence[LogFile]] = Batch(partial(_log_files, calls))
        self.artifacts: Batch[ArtifactsKey, ArtifactSlice] = Batch(partial(_artifacts, calls))


async def _runs(calls: StorageCalls, keys: Sequence[RunKey]) -> Mapping[RunKey, RunRecord | None]:
    ids = list(dict.fromkeys(key.run_id for key in keys))
    parts = RunParts.NONE
    for key in keys:
        parts |= key.parts
    found: dict[str, RunRecord] = {}
    for start in range(0, len(ids), _RUNS_PER_CALL):
        found.update(await _get_runs(calls, ids[start : start + _RUNS_PER_CALL], parts))
    return {key: found.get(key.run_id) for key in keys}


async def _get_runs(calls: StorageCalls, run_ids: Sequence[str], parts: RunParts) -> Mapping[str, RunRecord]:
    return await calls.runs(lambda storage: storage.get(run_ids, parts))


async def _heads(calls: StorageCalls, run_ids: Sequence[str]) -> Mapping[str, Head | None]:
    heads = await calls.events(lambda storage: storage.heads(run_ids))
    return {run_id: heads.get(run_id) for run_id in run_ids}


async def _steps(calls: StorageCalls, keys: Sequence[StepsKey]) -> Mapping[StepsKey, Sequence[StepState]]:
    # One call per combination of arguments: an alias of the field, not a run, adds one.
    kinds: dict[tuple[tuple[str, ...] | None, int], list[str]] = {}
    for key in keys:
        kinds.setdefault((key.step_keys, key.limit), []).append(key.run_id)
    found: dict[StepsKey, Sequence[StepState]] = {}
    for (step_keys, limit), run_ids in kinds.items():
        states = await _get_steps(calls, run_ids, step_keys, limit)
        for run_id in run_ids:
            found[StepsKey(run_id, step_keys, limit)] = states.get(run_id, ())
    return found


async def _get_steps(
    calls: StorageCalls, run_ids: Sequence[str], step_keys: Sequence[str] | None, limit: int
) -> Mapping[str, Sequence[StepState]]:
    return await calls.events(lambda storage: storage.steps(run_ids, step_keys, limit))


async def _events(calls: StorageCalls, queries: Sequence[EventQuery]) -> Mapping[EventQuery, EventSlice]:
    slices = await calls.events(lambda storage: storage.read(queries))
    return dict(zip(queries, slices, strict=True))


async def _log_files(calls: StorageCalls, run_ids: Sequence[str]) -> Mapping[str, Sequence[LogFile]]:
    listed = await calls.compute_logs(lambda storage: storage.list(run_ids))
    return {run_id: listed.get(run_id, ()) for run_id in run_ids}


async def _artifacts(calls: StorageCalls, keys: Sequence[ArtifactsKey]) -> Mapping[ArtifactsKey, ArtifactSlice]:
    def call(storage: ArtifactStorage) -> dict[ArtifactsKey, ArtifactSlice]:
        return {key: storage.list(key.run_id, key.after, key.limit) for key in keys}

    return await calls.artifacts(call)
