"""deleteRuns."""

from __future__ import annotations

import os
import sqlite3
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from daglens import upkeep
from daglens.instance import Instance
from daglens.resolvers.calls import StorageCalls
from daglens.schema.build import DaglensSchema
from daglens.storage import event_types as et
from daglens.storage.errors import StorageUnavailable
from daglens.storage.records import ComputeIO, EventDraft, LogKey, NewRun, RunFilter, RunStatus
from tests.api.conftest import Api, Clock
from tests.api.mutations import DELETE, create, send

ROOT = Path(__file__).parents[2]
DELETING = Path(__file__).with_name("deleting.py")


def add(instance: Instance, run_id: str, end: str | None = et.RUN_SUCCESS, *, at: int = 0, **run: Any) -> None:
    """A run with events, logs of 12 bytes, artifacts of 6 bytes and tags."""
    instance.create_run(
        NewRun(run_id, "nightly", tags=(("team", "core"), ("run", run_id)), created_at_us=at or None, **run)
    )
    kinds = [et.RUN_START, et.STEP_START, *([end] if end else [])]
    instance.append(run_id, [EventDraft(kind, "s" if kind.startswith("STEP") else None) for kind in kinds])
    for io in ComputeIO:
        instance.compute_logs.append(LogKey(run_id, "s"), io, 0, b"print\n", complete=True)
    folder = instance.artifacts.folder(run_id)
    (folder / "deep").mkdir()
    (folder / "a.txt").write_bytes(b"123")
    (folder / "deep" / "b.txt").write_bytes(b"456")


async def delete(api: Api, filter: dict[str, Any], **more: Any) -> Any:
    """The whole answer."""
    return await send(api, DELETE, filter=filter, **more)


def run_ids(api: Api) -> list[str]:
    """Those that are there, oldest first."""
    return [run.run_id for run in api.instance.runs.page(RunFilter(), newest_first=False, limit=1000).runs]


TEAM = {"tags": [{"key": "team", "value": "core"}]}


async def test_finished_runs_go(stored: Api) -> None:
    """Those that match go with all they have; the others, and those that have not ended, stay."""
    for number, end in enumerate((et.RUN_SUCCESS, et.RUN_FAILURE, et.RUN_CANCELED, et.RUN_CANCELING, None)):
        add(stored.instance, f"r{number}", end, at=1_000_000 + number)
    await create(stored, "untagged")
    answer = await delete(stored, TEAM)
    assert answer == {
        "__typename": "DeleteRunsSuccess",
        "runIds": ["r0", "r1", "r2"],
        "runs": 3,
        "events": "9",
        "bytes": "54",
        "dryRun": False,
        "hasMore": False,
        "unfinished": ["r3", "r4"],
    }
    assert run_ids(stored) == ["r3", "r4", "untagged"]
    for run_id in ("r0", "r1", "r2"):
        assert_gone(stored.instance, run_id)
    assert (await create(stored, "r0"))["code"] == "RUN_DELETED"


def assert_gone(instance: Instance, run_id: str) -> None:
    """Nothing of the run is left but its closed id."""
    assert instance.run(run_id) is None
    assert instance.events.steps([run_id]).get(run_id, ()) in ((), [])
    assert list(instance.compute_logs.list([run_id]).get(run_id, ())) == []
    assert list(instance.artifacts.list(run_id).artifacts) == []
    assert list((instance.home / "storage").glob(f"{run_id}*")) == []
    head = instance.events.heads([run_id])[run_id]
    assert head.deleted
    assert run_id not in instance.runs.tag_values("run", "", 1000)


async def test_a_dry_run(stored: Api) -> None:
    """It says what would go, and nothing goes."""
    for number in range(3):
        add(stored.instance, f"r{number}", at=1_000_000 + number)
    add(stored.instance, "open", None)
    would = await delete(stored, TEAM, dryRun=True, limit=2)
    assert would["dryRun"]
    assert run_ids(stored) == ["r0", "r1", "r2", "open"]
    does = await delete(stored, TEAM, limit=2)
    assert {**would, "dryRun": False} == does
    assert (does["runIds"], does["hasMore"], does["unfinished"]) == (["r0", "r1"], True, ["open"])


async def test_many_artifacts(stored: Api) -> None:
    """A dry run counts every file, however many there are."""
    add(stored.instance, "r")
    for number in range(1_100):
        (stored.instance.artifacts.folder("r") / f"{number}.txt").write_bytes(b"x")
    would = await delete(stored, TEAM, dryRun=True)
    assert (would["bytes"], (await delete(stored, TEAM))["bytes"]) == ("1118", "1118")


async def test_oldest_first(stored: Api) -> None:
    """Calls with a limit walk from the oldest run to the newest, until there are no more."""
    for number in (3, 1, 4, 0, 2):
        add(stored.instance, f"r{number}", at=1_000_000 + number)
    walked, has_more = [], True
    while has_more:
        answer = await delete(stored, TEAM, limit=2)
        assert answer["runs"] == len(answer["runIds"])
        walked += answer["runIds"]
        has_more = answer["hasMore"]
    assert walked == ["r0", "r1", "r2", "r3", "r4"]
    assert (await delete(stored, TEAM))["runs"] == 0


@pytest.mark.parametrize(("limit", "runs"), [(0, 0), (1, 1), (5_000, 3)])
async def test_limits(stored: Api, limit: int, runs: int) -> None:
    """0 deletes nothing, and above the cap is the cap."""
    for number in range(3):
        add(stored.instance, f"r{number}", at=1_000_000 + number)
        add(stored.instance, f"open{number}", None)
    answer = await delete(stored, TEAM, limit=limit)
    assert (answer["runs"], len(answer["unfinished"])) == (runs, min(limit, 3))


async def test_a_negative_limit(stored: Api) -> None:
    """Is no limit."""
    answer = await stored.ask(DELETE, {"filter": TEAM, "limit": -1})
    assert (answer.data, answer.codes) == (None, ["BAD_LIMIT"])


async def test_filters(stored: Api) -> None:
    """Every part narrows what goes; a status that is not final only tells what stays."""
    for number, end in enumerate((et.RUN_SUCCESS, et.RUN_FAILURE, None)):
        add(stored.instance, f"r{number}", end, at=1_000_000 + number)
    for part, values in (
        ("statuses", []),
        ("runIds", []),
        ("tags", []),
        ("runIds", ["\0"]),
        ("statuses", ["CANCELED"]),
    ):
        assert (await delete(stored, {part: values}))["runIds"] == []
    answer = await delete(stored, {"statuses": ["STARTED"]})
    assert (answer["runIds"], answer["unfinished"]) == ([], ["r2"])
    answer = await delete(stored, {"statuses": ["FAILURE", "QUEUED"], "pipelineNames": ["nightly"]})
    assert (answer["runIds"], answer["unfinished"]) == (["r1"], [])
    assert (await delete(stored, {"runIds": ["r0", "r0"]}))["runIds"] == ["r0"]
    assert run_ids(stored) == ["r2"]


@pytest.mark.parametrize("filter", [{}, {"runIds": None}, {"statuses": None, "tags": None, "createdBefore": None}])
@pytest.mark.parametrize("dry_run", [False, True])
async def test_a_filter_without_a_condition(stored: Api, filter: dict[str, Any], dry_run: bool) -> None:
    """Deletes nothing: that would be everything."""
    add(stored.instance, "r")
    answer = await delete(stored, filter, dryRun=dry_run)
    assert (answer["__typename"], answer["code"]) == ("InvalidFilterError", "INVALID_FILTER")
    assert run_ids(stored) == ["r"]


async def test_a_filter_that_can_t_be_used(stored: Api) -> None:
    """As in lists of runs."""
    answer = await delete(stored, {"runIds": ["x"] * 1_001})
    assert answer["__typename"] == "InvalidFilterError"


async def test_a_run_of_many_events(stored: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    """Events go in bounded batches; all are counted."""
    monkeypatch.setattr(upkeep, "_DELETE_EVENTS", 10)
    add(stored.instance, "r")
    stored.instance.append("r", [EventDraft(et.LOG_MESSAGE)] * 97)
    assert (await delete(stored, TEAM))["events"] == "100"
    assert_gone(stored.instance, "r")


async def test_a_run_without_anything(stored: Api) -> None:
    """An imported run that has ended, with no event of its own."""
    stored.instance.create_run(NewRun("r", "p", status=RunStatus.SUCCESS))
    answer = await delete(stored, {"runIds": ["r"]})
    assert (answer["runIds"], answer["events"], answer["bytes"]) == (["r"], "0", "0")


async def test_a_run_that_can_t_be_deleted(stored: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    """It keeps no other from going; alone, it says why it stays."""
    for number in range(4):
        add(stored.instance, f"r{number}", at=1_000_000 + number)
    remove = stored.instance.artifacts.delete

    def fails(run_id: str) -> int:
        if run_id == "r1":
            raise StorageUnavailable("Permission denied: r1.")
        return remove(run_id)

    monkeypatch.setattr(stored.instance.artifacts, "delete", fails)
    answer = await delete(stored, TEAM)
    assert (answer["runIds"], answer["hasMore"]) == (["r0", "r2", "r3"], True)
    again = await stored.ask(DELETE, {"filter": TEAM})
    assert again.codes == ["STORAGE_UNAVAILABLE"]
    assert "Permission denied" in again.errors[0]["message"]
    monkeypatch.undo()
    assert (await delete(stored, TEAM))["runIds"] == ["r1"]


async def test_a_storage_that_is_away(stored: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is not asked for each of a thousand runs."""
    for number in range(30):
        add(stored.instance, f"r{number}", at=1_000_000 + number)
    asked = []

    def fails(ids: Sequence[str]) -> None:
        asked.append(ids)
        raise StorageUnavailable("Away.")

    monkeypatch.setattr(stored.instance.events, "close_runs", fails)
    assert (await stored.ask(DELETE, {"filter": TEAM})).codes == ["STORAGE_UNAVAILABLE"]
    assert len(asked) == 10


@pytest.mark.parametrize("dry_run", [False, True])
@pytest.mark.parametrize(
    ("part", "section"),
    [("logs", "compute_logs"), ("artifacts", "local_artifact_storage"), ("events", "event_log_storage")],
)
async def test_the_storage_that_fails_is_named(
    api: Api, monkeypatch: pytest.MonkeyPatch, part: str, section: str, dry_run: bool
) -> None:
    """Where a plug-in raises what nobody foresaw, the error names its section of dagster.yaml, and no other."""
    api.add("r", EventDraft(et.RUN_SUCCESS), tags=(("team", "core"),))
    monkeypatch.setattr(api.logs.inner, "delete", lambda run_id: 0)
    getattr(api, part).failure = OSError("the bucket is away")
    answer = await api.ask(DELETE, {"filter": TEAM, "dryRun": dry_run})
    assert answer.codes == ["STORAGE_UNAVAILABLE"]
    assert f"{section} failed in a way" in answer.errors[0]["message"]


async def test_two_that_delete_the_same(stored: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    """A run that somebody else deletes meanwhile counts once."""
    for number in range(2):
        add(stored.instance, f"r{number}", at=1_000_000 + number)
    close = stored.instance.events.close_runs

    def late(ids: Sequence[str]) -> None:
        close(ids)
        if ids == ["r0"]:
            monkeypatch.undo()
            upkeep.delete_run(stored.instance, "r0")

    monkeypatch.setattr(stored.instance.events, "close_runs", late)
    assert (await delete(stored, TEAM))["runIds"] == ["r1"]


# ---------------------------------------------------------------- killed


@pytest.mark.parametrize("place", ["closed", "logs", "artifacts", "events", "rows"])
async def test_a_deletion_that_was_killed(tmp_path: Path, schema: DaglensSchema, place: str) -> None:
    """`kill -9` anywhere in a deletion: the run takes no more events and is still found; the next call finishes, and
    leaves nothing behind."""
    home = tmp_path / "home"
    with Instance.open(home=home, environ={}) as instance:
        for number in range(3):
            add(instance, f"r{number}", at=1_000_000 + number)
            instance.append(f"r{number}", [EventDraft(et.LOG_MESSAGE)] * 500)
        kill_at(home, place, "r0", "r1")
        api = Api(instance, Clock(), StorageCalls(instance), schema)
        assert run_ids(api) == ["r0", "r1", "r2"]
        assert instance.events.heads(["r0"])["r0"].deleted
        would = await delete(api, TEAM, dryRun=True)
        gone = {"closed": 0, "logs": 0, "artifacts": 0, "events": 100, "rows": 503}[place]
        assert would["events"] == str(3 * 503 - gone)
        does = await delete(api, TEAM)
        assert {**would, "dryRun": False} == does
        assert does["runIds"] == ["r0", "r1", "r2"]
        for number in range(3):
            assert_gone(instance, f"r{number}")
    database = sqlite3.connect(home / "history" / "daglens.db")
    try:
        counts = [
            database.execute(f"SELECT count(*) FROM {table}").fetchone()[0]
            for table in ("runs", "run_tags", "events", "event_steps")
        ]
    finally:
        database.close()
    assert counts == [0, 0, 0, 0]
    assert list((home / "storage").iterdir()) == []


def kill_at(home: Path, place: str, *ids: str) -> None:
    """Start a deletion and kill its process at a place."""
    environment = {k: v for k, v in os.environ.items() if not k.startswith(("PYTHON", "DAGSTER"))}
    command = [sys.executable, str(DELETING), str(home), place, *ids]
    with subprocess.Popen(
        command, env=environment | {"PYTHONPATH": str(ROOT)}, stdout=subprocess.PIPE, text=True
    ) as child:
        assert child.stdout is not None
        assert child.stdout.readline() == f"at {place}\n"
        child.kill()
        assert child.wait() == -9
