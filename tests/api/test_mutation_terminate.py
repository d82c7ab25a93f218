"""terminateRun: what it writes and answers. That it reaches a recorder is in test_mutation_terminate_recorder.py."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from daglens.recorder import RunTerminated, start_run
from daglens.storage import event_types as et
from daglens.storage.errors import StorageUnavailable
from daglens.storage.records import EventDraft, EventQuery
from daglens.upkeep import PRESUMED_EVENT_ID, delete_run, reap
from tests.api.conftest import Api
from tests.api.mutations import HEARTBEAT, TERMINATE, create, event, report, send


def types(api: Api, run_id: str = "r") -> list[str]:
    """Types of the run's events."""
    return [record.event_type for record in api.instance.events.read([EventQuery(run_id)])[0].events]


async def terminate(api: Api, run_id: str = "r") -> Any:
    """The whole answer."""
    return await send(api, TERMINATE, runId=run_id)


async def test_a_run_that_is_recorded(stored: Api) -> None:
    """It is asked to stop, once, however often; its recorder reports the end. The request is no sign of life."""
    await create(stored)
    before = (await report(stored, event("RUN_START")))["run"]
    answer = await terminate(stored)
    assert answer["__typename"] == "TerminateRunSuccess"
    assert (answer["run"]["status"], answer["run"]["canTerminate"]) == ("CANCELING", False)
    assert answer["run"]["lastHeardAt"] == before["lastHeardAt"]
    assert (await terminate(stored))["run"]["status"] == "CANCELING"
    assert types(stored) == ["RUN_START", "RUN_CANCELING"]
    await report(stored, event("RUN_CANCELED"))
    answer = await terminate(stored)
    assert (answer["__typename"], answer["code"], answer["runId"], answer["status"]) == (
        "RunNotTerminableError",
        "RUN_NOT_TERMINABLE",
        "r",
        "CANCELED",
    )


async def test_a_run_that_was_asked_by_somebody_else(stored: Api) -> None:
    """A request that came as an event counts, and is not repeated."""
    await create(stored)
    await report(stored, event("RUN_START"), event("RUN_CANCELING"))
    assert (await terminate(stored))["run"]["status"] == "CANCELING"
    assert types(stored) == ["RUN_START", "RUN_CANCELING"]


async def test_requests_at_once(stored: Api) -> None:
    """Of many at once each is answered, and one is stored."""
    await create(stored)
    await report(stored, event("RUN_START"))
    answers = await asyncio.gather(*(terminate(stored) for _ in range(10)))
    assert {answer["run"]["status"] for answer in answers} == {"CANCELING"}
    assert types(stored) == ["RUN_START", "RUN_CANCELING"]


@pytest.mark.parametrize("status", ["NOT_STARTED", "QUEUED"])
async def test_a_run_that_nobody_records(stored: Api, status: str) -> None:
    """It is canceled at once."""
    await create(stored, status=status)
    run = (await terminate(stored))["run"]
    assert (run["status"], run["lastHeardAt"], run["startedAt"]) == ("CANCELED", None, None)
    assert run["endedAt"] is not None
    assert types(stored) == ["RUN_CANCELING", "RUN_CANCELED"]
    assert (await terminate(stored))["status"] == "CANCELED"


async def test_a_recorder_that_has_fallen_silent(api: Api) -> None:
    """Beyond its timeout the run is canceled at once, one that was asked to stop before, too."""
    await create(api, "r")
    await create(api, "asked")
    for run_id in ("r", "asked"):
        await report(api, event("RUN_START"), run_id=run_id)
        await send(api, HEARTBEAT, runId=run_id, timeoutSeconds=30)
    assert (await terminate(api, "asked"))["run"]["status"] == "CANCELING"
    api.clock.pass_s(30)
    assert (await terminate(api, "asked"))["run"]["status"] == "CANCELING"
    api.clock.pass_s(0.001)
    for run_id in ("r", "asked"):
        assert (await terminate(api, run_id))["run"]["status"] == "CANCELED"
        assert types(api, run_id) == ["RUN_START", "RUN_CANCELING", "RUN_CANCELED"]
    assert reap(api.instance) == []


async def test_an_event_is_a_sign_of_life(api: Api) -> None:
    """Silence counts from the later of heartbeat and event."""
    await create(api)
    await send(api, HEARTBEAT, runId="r", timeoutSeconds=30)
    api.clock.pass_s(29)
    await report(api, event("LOG_MESSAGE"))
    api.clock.pass_s(29)
    assert (await terminate(api))["run"]["status"] == "CANCELING"


async def test_a_writer_without_heartbeats(api: Api) -> None:
    """Who never sent one is never taken for silent."""
    await create(api)
    await report(api, event("RUN_START"))
    api.clock.pass_s(10**7)
    assert (await terminate(api))["run"]["status"] == "CANCELING"


@pytest.mark.parametrize("end", ["RUN_SUCCESS", "RUN_FAILURE", "RUN_CANCELED"])
async def test_a_run_that_has_ended(stored: Api, end: str) -> None:
    """There is nothing to stop, and nothing is written."""
    await create(stored)
    await report(stored, event(end))
    answer = await terminate(stored)
    assert (answer["__typename"], answer["status"]) == ("RunNotTerminableError", end.removeprefix("RUN_"))
    assert types(stored) == [end]


async def test_a_run_that_is_presumed_dead(api: Api) -> None:
    """It has failed."""
    await create(api)
    await send(api, HEARTBEAT, runId="r", timeoutSeconds=1)
    api.clock.pass_s(2)
    assert reap(api.instance) == ["r"]
    assert (await terminate(api))["status"] == "FAILURE"
    assert [e.event_id for e in api.instance.events.read([EventQuery("r")])[0].events] == [PRESUMED_EVENT_ID]


async def test_an_end_that_comes_first(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the recorder reports the end between the look and the request, the run has ended as it said."""
    await create(api)
    await report(api, event("RUN_START"))
    append = api.events.inner.append

    def late(run_id: str, drafts: Any, **more: Any) -> Any:
        monkeypatch.setattr(api.events.inner, "append", append)
        append(run_id, [EventDraft(et.RUN_SUCCESS)])
        return append(run_id, drafts, **more)

    monkeypatch.setattr(api.events.inner, "append", late)
    assert (await terminate(api))["status"] == "SUCCESS"


async def test_a_recorder_that_comes_first(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    """One that begins between the look and the request finds the run canceled, and stops."""
    await create(api)
    append = api.events.inner.append

    def late(run_id: str, drafts: Any, **more: Any) -> Any:
        monkeypatch.setattr(api.events.inner, "append", append)
        append(run_id, [EventDraft(et.RUN_START)])
        return append(run_id, drafts, **more)

    monkeypatch.setattr(api.events.inner, "append", late)
    assert (await terminate(api))["run"]["status"] == "CANCELED"


async def test_a_row_that_is_behind(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    """The log tells where a run stands, also while its row can't follow."""

    def away(*args: Any) -> None:
        raise StorageUnavailable("Away for a moment.")

    await create(api)
    await report(api, event("RUN_START"))
    with monkeypatch.context() as patch:
        patch.setattr(api.runs.inner, "project", away)
        api.instance.append("r", [EventDraft(et.RUN_SUCCESS)])
    assert (await terminate(api))["status"] == "SUCCESS"
    assert types(api) == ["RUN_START", "RUN_SUCCESS"]


async def test_a_request_that_the_row_does_not_show_yet(api: Api) -> None:
    """The answer to a second request is never older than the first."""
    await create(api)
    await report(api, event("RUN_START"))
    api.events.inner.append("r", [EventDraft(et.RUN_CANCELING)])
    run = (await terminate(api))["run"]
    assert (run["status"], run["canTerminate"]) == ("CANCELING", False)


async def test_a_recorder_that_is_quick(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    """One that has stopped before the answer is written has done what was asked."""
    await create(api)
    await report(api, event("RUN_START"))
    append = api.events.inner.append

    def quick(run_id: str, drafts: Any, **more: Any) -> Any:
        monkeypatch.setattr(api.events.inner, "append", append)
        answer = append(run_id, drafts, **more)
        api.instance.append(run_id, [EventDraft(et.RUN_CANCELED)])
        return answer

    monkeypatch.setattr(api.events.inner, "append", quick)
    assert (await terminate(api))["run"]["status"] == "CANCELED"


@pytest.mark.parametrize("run_id", ["nobody", "", "\0"])
async def test_no_such_run(stored: Api, run_id: str) -> None:
    """A run that is not there has no log afterwards."""
    assert (await terminate(stored, run_id))["code"] == "RUN_NOT_FOUND"
    assert stored.instance.events.heads(["nobody"]) == {}


async def test_a_run_that_is_being_deleted(stored: Api) -> None:
    """It is as if it was gone."""
    await create(stored)
    stored.instance.events.close_runs(["r"])
    assert (await terminate(stored))["code"] == "RUN_NOT_FOUND"
    delete_run(stored.instance, "r")
    assert (await terminate(stored))["code"] == "RUN_NOT_FOUND"


async def test_a_queued_run_that_was_canceled_never_begins(stored: Api) -> None:
    """A recorder that is started for it later records that it did nothing."""
    await create(stored, status="QUEUED")
    assert (await terminate(stored))["run"]["status"] == "CANCELED"

    def late() -> None:
        with pytest.raises(RunTerminated):
            start_run("nightly", run_id="r", instance=stored.instance)

    await asyncio.to_thread(late)
    assert types(stored) == ["RUN_CANCELING", "RUN_CANCELED", "RUN_START", "RUN_CANCELED"]
    stored_run = stored.instance.run("r")
    assert stored_run is not None
    assert stored_run.status == "CANCELED"
