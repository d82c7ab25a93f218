"""reportEvents."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Sequence
from typing import Any

import pytest

from daglens.storage import drafts
from daglens.storage.errors import RunFull
from daglens.storage.records import Appended, EventDraft, EventQuery, EventRecord
from daglens.upkeep import delete_run
from tests.api.conftest import SECRET, Api
from tests.api.mutations import REPORT, create, event, report, send

READ = """query($runId: ID!) { runEventsOrError(runId: $runId) { ... on EventPage { nodes {
  __typename seq eventType stepKey level message timestamp
  ... on RunStartEvent { pipelineName } ... on ExecutionStepStartEvent { attempt }
  ... on ExecutionStepRestartEvent { restart: attempt }
  ... on ComputeLogsCapturedEvent { attempt stepKeys } ... on MaterializationEvent { label metadataEntries {
    __typename label ... on IntMetadataEntry { intValue } ... on JsonMetadataEntry { jsonValue } } }
  ... on ExecutionStepSuccessEvent { durationSeconds }
  ... on UnknownEvent { data }
} } } }"""


async def read(api: Api, run_id: str = "r") -> list[dict[str, Any]]:
    """The run's events as a client reads them."""
    nodes: list[dict[str, Any]] = (await api.get(READ, runId=run_id))["runEventsOrError"]["nodes"]
    return nodes


def records(api: Api, run_id: str = "r") -> list[EventRecord]:
    """The run's events as they are stored."""
    return list(api.instance.events.read([EventQuery(run_id, limit=10_000)])[0].events)


@pytest.fixture
async def run(stored: Api) -> Api:
    """The API with one run, `r`."""
    await create(stored)
    return stored


async def test_events_move_the_run(run: Api) -> None:
    """They are stored in order with seqs from 1, and the answer shows the run as they have made it."""
    answer = await report(run, event("RUN_START"), event("LOG_MESSAGE", message="hello"))
    assert (answer["accepted"], answer["duplicates"], answer["firstSeq"], answer["lastSeq"]) == (2, 0, 1, 2)
    assert (answer["run"]["status"], answer["run"]["stats"]["events"]) == ("STARTED", 2)
    assert answer["run"]["lastHeardAt"] is not None
    answer = await report(run, event("RUN_SUCCESS", timestamp="2030-01-01T00:00:00.5+01:00"))
    assert (answer["firstSeq"], answer["lastSeq"], answer["run"]["status"]) == (3, 3, "SUCCESS")
    assert answer["run"]["endedAt"] == "2029-12-31T23:00:00.500000Z"
    assert [node["eventType"] for node in await read(run)] == ["RUN_START", "LOG_MESSAGE", "RUN_SUCCESS"]


async def test_an_answer_asks_for_little(run: Api) -> None:
    """A run whose status an event doesn't move is read once."""
    await report(run, event("RUN_START"))
    document = 'mutation($e: [EventInput!]!) { it: reportEvents(runId: "r", events: $e) { ... on ReportEventsSuccess \
{ accepted run { status } } } }'
    answer = await send(run, document, e=[event("LOG_MESSAGE")])
    assert answer == {"accepted": 1, "run": {"status": "STARTED"}}


async def test_fields_and_defaults(run: Api) -> None:
    """What is given is read back; what is absent has the contract's default."""
    full = event(
        "STEP_MATERIALIZATION",
        "load",
        eventId="one",
        level="WARNING",
        message="made",
        timestamp="2026-11-22T09:30:00.123456Z",
        data={"label": "orders", "metadataEntries": [{"label": "rows", "int": "9007199254740993"}], "newer": [1]},
    )
    await report(run, full, event("OF_A_NEWER_WRITER", data={"a": {"b": None}}), event("LOG_MESSAGE"))
    made, unknown, bare = await read(run)
    assert made == {
        "__typename": "MaterializationEvent",
        "seq": 1,
        "eventType": "STEP_MATERIALIZATION",
        "stepKey": "load",
        "level": "WARNING",
        "message": "made",
        "timestamp": "2026-11-22T09:30:00.123456Z",
        "label": "orders",
        "metadataEntries": [{"__typename": "IntMetadataEntry", "label": "rows", "intValue": "9007199254740993"}],
    }
    assert (unknown["__typename"], unknown["data"]) == ("UnknownEvent", {"a": {"b": None}})
    assert (bare["level"], bare["message"], bare["stepKey"]) == ("INFO", "", None)
    assert '"newer":[1]' in records(run)[0].data
    assert records(run)[0].event_id == "one"


async def test_the_run_s_name_is_filled_in(run: Api) -> None:
    """A start of the run that doesn't name the pipeline has the run's."""
    await report(run, event("RUN_START"), event("RUN_START", data={"pipelineName": "other"}))
    assert [node["pipelineName"] for node in await read(run)] == ["nightly", "other"]


async def test_absent_lists_are_empty(run: Api) -> None:
    """As are the ones of metadata, and those of the steps of a log."""
    await report(run, event("STEP_MATERIALIZATION", "s", data={"label": "l"}), event("LOGS_CAPTURED", "s"))
    made, captured = await read(run)
    assert (made["metadataEntries"], captured["stepKeys"]) == ([], [])


async def test_a_duration_is_never_negative(run: Api) -> None:
    """A writer whose clock was set back says 0."""
    await report(run, event("STEP_SUCCESS", "s", data={"durationSeconds": -0.5}))
    assert (await read(run))[0]["durationSeconds"] == 0


# ---------------------------------------------------------------- attempts


def attempts(nodes: list[dict[str, Any]]) -> list[int | None]:
    return [node.get("attempt", node.get("restart")) for node in nodes]


RETRIED = [
    event("STEP_START", "s"),
    event("LOGS_CAPTURED", "s"),
    event("STEP_UP_FOR_RETRY", "s"),
    event("LOGS_CAPTURED", "s"),
    event("STEP_RESTARTED", "s"),
    event("LOGS_CAPTURED", "s"),
    event("STEP_UP_FOR_RETRY", "s"),
    event("STEP_START", "s"),
    event("STEP_SUCCESS", "s"),
]
NUMBERS = [1, 1, None, 1, 2, 2, None, 3, None]


@pytest.mark.parametrize("size", [1, 2, 3, 4, 9])
async def test_attempts_that_are_not_named(run: Api, size: int) -> None:
    """An absent attempt is the step's present one, however its events are cut into batches."""
    for start in range(0, len(RETRIED), size):
        await report(run, *RETRIED[start : start + size])
    assert attempts(await read(run)) == NUMBERS
    (step,) = run.instance.events.steps(["r"])["r"]
    assert [span.attempt for span in step.spans] == [1, 2, 3]


@pytest.mark.parametrize("overlap", range(1, 6))
async def test_attempts_of_a_batch_that_is_sent_again(run: Api, overlap: int) -> None:
    """Events that the run has already don't count twice when those behind them are numbered."""
    events = [{**given, "eventId": f"e{n}"} for n, given in enumerate(RETRIED)]
    for end in range(1, len(events) + 1):
        answer = await report(run, *events[max(0, end - 1 - overlap) : end])
        assert answer["accepted"] == 1
    assert attempts(await read(run)) == NUMBERS


async def test_attempts_beside_others(run: Api) -> None:
    """Each step counts for itself; a number that is named is kept and counts for those behind it."""
    await report(
        run,
        event("STEP_START", "a", data={"attempt": 4}),
        event("STEP_START", "b"),
        event("LOGS_CAPTURED", "a"),
        event("LOGS_CAPTURED", "b", data={"attempt": None}),
        event("STEP_RESTARTED", "a"),
        event("LOGS_CAPTURED", "(process)", data={"stepKeys": ["a", "b"]}),
    )
    assert attempts(await read(run)) == [4, 1, 4, 1, 5, 1]


async def test_many_steps_at_once(run: Api) -> None:
    """A batch may begin more steps than a page of them holds."""
    keys = [f"s{n}" for n in range(1_200)]
    await report(run, *(event("STEP_UP_FOR_RETRY", key) for key in keys))
    await report(run, *(event("STEP_RESTARTED", key) for key in keys))
    assert {record.data for record in records(run)[1_200:]} == {'{"attempt":2}'}


async def test_a_log_of_no_step_has_no_attempt(run: Api) -> None:
    """There it has to be named."""
    answer = await report(run, event("LOG_MESSAGE"), event("LOGS_CAPTURED"))
    assert (answer["__typename"], answer["path"]) == ("InvalidInputError", "events.1.data")
    assert (await report(run, event("LOGS_CAPTURED", data={"attempt": 1})))["accepted"] == 1


# ---------------------------------------------------------------- retries


async def test_duplicates(run: Api) -> None:
    """An event whose id the run has is counted and stored once; with nothing new there are no seqs."""
    one, two = event("LOG_MESSAGE", eventId="1", message="first"), event("LOG_MESSAGE", eventId="2")
    assert (await report(run, one, two, one))["duplicates"] == 1
    answer = await report(run, {**one, "message": "changed"}, two)
    assert (answer["accepted"], answer["duplicates"], answer["firstSeq"], answer["lastSeq"]) == (0, 2, None, None)
    answer = await report(run, two, event("LOG_MESSAGE", eventId="3"))
    assert (answer["accepted"], answer["duplicates"], answer["firstSeq"], answer["lastSeq"]) == (1, 1, 3, 3)
    assert [record.message for record in records(run)] == ["first", "", ""]


async def test_a_retry_of_the_end(run: Api) -> None:
    """A lost answer to the last batch can be asked for again."""
    end = [event("RUN_START", eventId="s"), event("RUN_SUCCESS", eventId="e")]
    first = await report(run, *end)
    again = await report(run, *end)
    assert again["run"]["status"] == first["run"]["status"] == "SUCCESS"
    assert again["run"]["endedAt"] == first["run"]["endedAt"]


async def test_writers_at_once(run: Api) -> None:
    """Batches of many writers, each sent twice at once, are stored once, each without a gap in it."""

    async def write(writer: int) -> Any:
        batch = [event("LOG_MESSAGE", eventId=f"{writer}-{n}", message=f"{writer}") for n in range(10)]
        return await asyncio.gather(report(run, *batch), report(run, *batch))

    answers = [answer for pair in await asyncio.gather(*map(write, range(8))) for answer in pair]
    assert sum(answer["accepted"] for answer in answers) == 80
    assert sum(answer["duplicates"] for answer in answers) == 80
    assert [record.seq for record in records(run)] == list(range(1, 81))
    for answer in answers:
        if answer["firstSeq"] is not None:
            assert answer["lastSeq"] - answer["firstSeq"] == 9


async def test_no_events(run: Api) -> None:
    """Nothing is stored; it is a sign of life."""
    answer = await report(run)
    assert (answer["accepted"], answer["firstSeq"], answer["run"]["stats"]["events"]) == (0, None, 0)
    assert answer["run"]["lastHeardAt"] is not None


# ---------------------------------------------------------------- all or none


@pytest.mark.parametrize(
    ("bad", "path"),
    [
        (event("STEP_START"), "events.2.stepKey"),
        (event(""), "events.2.eventType"),
        (event("LOG_MESSAGE", data="text"), "events.2.data"),
        (event("STEP_MATERIALIZATION", "s"), "events.2.data"),
        (event("OF_A_NEWER_WRITER", data={"text": "x" * 1_048_577}), "events.2.data"),
    ],
)
async def test_all_or_none(run: Api, bad: dict[str, Any], path: str) -> None:
    """One event that can't be taken keeps its whole batch out, and is named."""
    answer = await report(run, event("RUN_START"), event("LOG_MESSAGE"), bad, event("LOG_MESSAGE"))
    assert (answer["__typename"], answer["path"]) == ("InvalidInputError", path)
    assert records(run) == []
    stored = run.instance.run("r")
    assert stored is not None
    assert stored.status == "NOT_STARTED"


async def test_too_large(run: Api) -> None:
    """The answer says how large the data is, by a code of its own; a message is cut, and says so."""
    answer = await report(run, event("LOG_MESSAGE", data={"a": "ü" * 600_000}))
    assert (answer["code"], answer["path"]) == ("EVENT_TOO_LARGE", "events.0.data")
    assert "1,200,008 bytes" in answer["message"]
    await report(run, event("LOG_MESSAGE", message="x" * 100_000))
    assert (await read(run))[0]["message"].endswith("[cut: 100000 characters]")


async def test_a_full_run(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    """The log that holds all it can says so, and takes nothing."""
    await create(api)

    def full(*args: Any, **kwargs: Any) -> None:
        raise RunFull("It has 2147483647 already.")

    monkeypatch.setattr(api.events.inner, "append", full)
    answer = await report(api, event("LOG_MESSAGE"))
    assert (answer["__typename"], answer["code"], answer["path"]) == ("InvalidInputError", "RUN_FULL", "events")


async def test_what_text_can_t_hold(run: Api) -> None:
    """NUL and lone surrogates read as U+FFFD wherever text stands."""
    await report(
        run,
        event("LOG_MESSAGE", "s\0", message="a\0b\ud800c", data={"k\0": ["\udfff", "x\0"], "logger": "l\0"}),
        event("NEW\ud800", data={"k\0": "\ud800"}),
    )
    first, second = await read(run)
    assert (first["stepKey"], first["message"]) == ("s\ufffd", "a\ufffdb\ufffdc")
    assert (second["eventType"], second["data"]) == ("NEW\ufffd", {"k\ufffd": "\ufffd"})


# ---------------------------------------------------------------- runs that can't be written to


@pytest.mark.parametrize("run_id", ["nobody", "", "\0", "\ud800", "x" * 300])
async def test_no_such_run(run: Api, run_id: str) -> None:
    """Events for it are stored nowhere."""
    answer = await report(run, event("RUN_START"), run_id=run_id)
    assert (answer["__typename"], answer["code"]) == ("RunNotFoundError", "RUN_NOT_FOUND")
    assert run.instance.events.heads(["nobody"]) == {}


async def test_a_deleted_run(run: Api) -> None:
    """One that is deleted, or is being deleted, takes no events."""
    await report(run, event("RUN_SUCCESS"))
    run.instance.events.close_runs(["r"])
    assert (await report(run, event("LOG_MESSAGE")))["__typename"] == "RunNotFoundError"
    delete_run(run.instance, "r")
    assert (await report(run, event("LOG_MESSAGE")))["__typename"] == "RunNotFoundError"


async def test_a_run_row_that_is_away(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where events are stored and the row can't follow, the answer is an error, and the retry tells the truth."""
    await create(api)

    def away(*args: Any) -> None:
        raise OSError("gone")

    with monkeypatch.context() as patch:
        patch.setattr(api.runs.inner, "project", away)
        answer = await api.ask(REPORT, {"runId": "r", "events": [event("RUN_START", eventId="1")]})
    assert (answer.data, answer.codes) == (None, ["STORAGE_UNAVAILABLE"])
    again = await report(api, event("RUN_START", eventId="1"))
    assert (again["accepted"], again["duplicates"], again["run"]["status"]) == (0, 1, "STARTED")


async def test_a_storage_that_drops_events(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    """A plug-in that says of a batch that part of it is stored is told from one that stored all: nothing is lost
    without a word."""
    await create(api)
    store = api.events.inner.append

    def forgetful(run_id: str, drafts: Sequence[EventDraft], **more: Any) -> Appended:
        appended: Appended = store(run_id, drafts[:-1], **more)
        return appended

    monkeypatch.setattr(api.events.inner, "append", forgetful)
    events = [event("LOG_MESSAGE", message="a"), event("LOG_MESSAGE", message="b")]
    answer = await api.ask(REPORT, {"runId": "r", "events": events})
    assert answer.codes == ["STORAGE_CONTRACT_BROKEN"]
    assert "append: 2 events were sent" in answer.errors[0]["message"]


async def test_guesses_at_secrets_are_not_confirmed(api: Api) -> None:
    """What is said of an event that can't be stored doesn't tell whether its text is a secret."""
    await create(api)
    large = {"a": "x" * 2_000_000}
    guess, other = await report(api, event(SECRET, data=large)), await report(api, event("OTHER", data=large))
    assert guess == other


# ---------------------------------------------------------------- the operation


async def test_fields_one_after_the_other(run: Api) -> None:
    """The mutations of one operation are carried out in the order they stand there, each seeing what the ones before
    did."""
    document = """mutation {
      c: createRun(input: { runId: "n", pipelineName: "p" }) { ... on CreateRunSuccess { run { status } } }
      a: reportEvents(runId: "n", events: [{ eventType: "RUN_START" }]) { ...R }
      b: reportEvents(runId: "n", events: [{ eventType: "LOG_MESSAGE", data: { logger: "l" } }]) { ...R }
      d: heartbeat(runId: "n") { ... on HeartbeatSuccess { run { status stats { events } } } }
      e: reportEvents(runId: "n", events: [{ eventType: "RUN_SUCCESS" }]) { ...R }
      f: deleteRuns(filter: { runIds: ["n"] }) { ... on DeleteRunsSuccess { runs events } }
    }
    fragment R on ReportEventsResult { ... on ReportEventsSuccess { firstSeq run { status stats { events } } } }"""
    assert await run.get(document) == {
        "c": {"run": {"status": "NOT_STARTED"}},
        "a": {"firstSeq": 1, "run": {"status": "STARTED", "stats": {"events": 1}}},
        "b": {"firstSeq": 2, "run": {"status": "STARTED", "stats": {"events": 2}}},
        "d": {"run": {"status": "STARTED", "stats": {"events": 2}}},
        "e": {"firstSeq": 3, "run": {"status": "SUCCESS", "stats": {"events": 3}}},
        "f": {"runs": 1, "events": "3"},
    }


async def test_a_slow_storage_holds_up_nobody_else(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    """While an append waits, the event loop serves others; also the check of a large batch is done beside it."""
    await create(api)
    entered, go_on = threading.Event(), threading.Event()
    append = api.events.inner.append

    def slow(*args: Any, **kwargs: Any) -> Any:
        entered.set()
        assert go_on.wait(60)
        return append(*args, **kwargs)

    monkeypatch.setattr(api.events.inner, "append", slow)
    async with asyncio.TaskGroup() as group:
        waiting = group.create_task(report(api, *(event("LOG_MESSAGE") for _ in range(500))))
        await asyncio.to_thread(entered.wait, 60)
        assert (await api.get("{ version }"))["version"]
        assert not waiting.done()
        go_on.set()
    assert waiting.result()["accepted"] == 500


async def test_the_limit_is_the_storages(run: Api) -> None:
    """Data of just the size that is taken is taken."""
    most = drafts.DEFAULT_LIMITS.max_data_bytes
    assert (await report(run, event("LOG_MESSAGE", data={"a": "x" * (most - len('{"a":""}'))})))["accepted"] == 1
