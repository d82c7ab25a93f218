"""`errors[]`: codes for programs, an errorId for the server's log, nothing internal for anybody."""

from __future__ import annotations

import logging
import uuid
from typing import Any

import pytest

from daglens.storage import event_types as et
from daglens.storage.errors import StorageUnavailable
from daglens.storage.records import EventDraft
from tests.api.conftest import SECRET, Api

EVERYTHING = """
{ version now instance { home runStorage { healthy problem } eventLogStorage { healthy problem } }
  runsOrError { ... on RunPage { nodes {
    runId status tags { key } canTerminate durationSeconds
    stats { events } lastHeardAt stepStats { stepKey } events { hasMore } computeLogs { stepKey }
    computeLog(stepKey: "a") { stdout { sizeBytes } } artifacts { hasMore }
  } hasMore } }
  runCountOrError { ... on RunCount { count } } runTagKeys runTagValues(key: "k") pipelineNames
  runEventsOrError(runId: "r") { ... on EventPage { throughSeq } } }
"""


@pytest.fixture
def busy(api: Api) -> Api:
    api.add("r", EventDraft(et.RUN_START), tags=(("k", "v"),))
    api.add("s", EventDraft(et.RUN_START))
    return api


NULLED_RUN_FIELDS = {
    "events": {"stats", "lastHeardAt", "stepStats", "events"},
    "logs": {"computeLogs", "computeLog"},
    "artifacts": {"artifacts"},
}


@pytest.mark.parametrize("failure", [StorageUnavailable("Try later."), OSError("/secret/path"), ValueError("x")])
@pytest.mark.parametrize("storage", NULLED_RUN_FIELDS)
async def test_a_storage_that_fails_takes_only_its_fields(busy: Api, storage: str, failure: Exception) -> None:
    """Nullable fields of a failing storage are null with STORAGE_UNAVAILABLE; the rest of the answer stands."""
    whole = await busy.get(EVERYTHING)
    getattr(busy, storage).failure = failure
    answer = await busy.ask(EVERYTHING)
    assert set(answer.codes) == {"STORAGE_UNAVAILABLE"}
    nodes = answer.data["runsOrError"]["nodes"]
    assert [node["runId"] for node in nodes] == ["s", "r"]
    for before, node in zip(whole["runsOrError"]["nodes"], nodes, strict=True):
        nulled = {name for name in node if node[name] is None and before[name] is not None}
        assert nulled == NULLED_RUN_FIELDS[storage]
        assert {n: v for n, v in node.items() if n not in nulled} == {
            n: v for n, v in before.items() if n not in nulled
        }
    assert (answer.data["runEventsOrError"] is None) == (storage == "events")
    assert answer.data["runTagKeys"] == ["k"]
    assert "/secret/path" not in str(answer)


async def test_runs_that_do_not_answer(busy: Api) -> None:
    """Without its runs a server still tells its version, its clock, its instance and the events of a run."""
    busy.runs.failure = StorageUnavailable("Try later.")
    answer = await busy.ask(EVERYTHING)
    assert set(answer.codes) == {"STORAGE_UNAVAILABLE"}
    assert {name for name, value in answer.data.items() if value is None} == {
        "runsOrError",
        "runCountOrError",
        "runTagKeys",
        "runTagValues",
        "pipelineNames",
    }
    assert answer.data["instance"]["runStorage"] == {
        "healthy": False,
        "problem": "It does not answer.",
    }
    assert answer.data["instance"]["eventLogStorage"] == {"healthy": True, "problem": None}


async def test_each_entry_has_an_id_that_the_log_has(busy: Api, caplog: pytest.LogCaptureFixture) -> None:
    """An error's id is a UUID and stands in the server's log, with the traceback; what is met twice is logged once."""
    busy.events.failure = ValueError("at the bottom")
    answer = await busy.ask("{ runsOrError { ... on RunPage { nodes { stats { events } lastHeardAt } } } }")
    found = {error["extensions"]["errorId"] for error in answer.errors}
    assert (len(answer.errors), len(found)) == (4, 1)
    error_id = found.pop()
    assert str(uuid.UUID(error_id)) == error_id
    (record,) = [record for record in caplog.records if record.name == "daglens.server"]
    assert record.levelno == logging.ERROR
    assert error_id in record.getMessage()
    assert "ValueError: at the bottom" in record.getMessage()
    assert "Traceback" in record.getMessage()


async def test_an_outage_is_a_line_in_the_log(busy: Api, caplog: pytest.LogCaptureFixture) -> None:
    """A storage that says why it doesn't answer: its sentence is in the log, with the error's id and no traceback."""
    busy.events.failure = StorageUnavailable("It is restarting.")
    answer = await busy.ask("{ runsOrError { ... on RunPage { nodes { stats { events } } } } }")
    (record,) = [record for record in caplog.records if record.name == "daglens.server"]
    assert record.levelno == logging.ERROR
    assert answer.errors[0]["extensions"]["errorId"] in record.getMessage()
    assert record.getMessage().endswith("It is restarting.")
    assert (record.exc_info, "\n" in record.getMessage()) == (None, False)


async def test_what_nobody_foresaw_is_not_shown(
    busy: Api, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A bug is INTERNAL: no message, no stack for the client; both in the log."""

    def broken(*args: Any) -> None:
        raise KeyError("sprocket")

    monkeypatch.setattr("daglens.resolvers.runs.can_terminate", broken)
    answer = await busy.ask("{ runsOrError { ... on RunPage { nodes { canTerminate } } } version }")
    assert (answer.data["runsOrError"], answer.codes) == (None, ["INTERNAL"])
    assert "sprocket" not in str(answer.errors)
    assert answer.errors[0]["path"] == ["runsOrError", "nodes"]
    assert "sprocket" in caplog.text


@pytest.mark.parametrize(
    ("document", "variables", "code"),
    [
        ("{", {}, "GRAPHQL_PARSE_FAILED"),
        ("{ nothing }", {}, "GRAPHQL_VALIDATION_FAILED"),
        ("{ runsOrError(limit: 1.5) { __typename } }", {}, "GRAPHQL_VALIDATION_FAILED"),
        ("query Q($n: String) { runsOrError(limit: $n) { __typename } }", {}, "GRAPHQL_VALIDATION_FAILED"),
        ("query Q($n: Int!) { version }", {"n": 1}, "GRAPHQL_VALIDATION_FAILED"),
        ("{ runsOrError(limit: $n) { __typename } }", {"n": 1}, "GRAPHQL_VALIDATION_FAILED"),
        ('query Q($n: Int = "x") { runsOrError(limit: $n) { __typename } }', {}, "GRAPHQL_VALIDATION_FAILED"),
        ('{ runsOrError(filter: {createdAfter: "now"}) { __typename } }', {}, "BAD_USER_INPUT"),
        ("query Q($n: Int!) { runsOrError(limit: $n) { __typename } }", {}, "BAD_USER_INPUT"),
        ("query Q($n: Int!) { runsOrError(limit: $n) { __typename } }", {"n": "x"}, "BAD_USER_INPUT"),
        ("query Q($n: Int = 1) { runsOrError(limit: $n) { __typename } }", {"n": None}, "BAD_USER_INPUT"),
        (
            "query Q($f: RunsFilter) { runsOrError(filter: $f) { __typename } }",
            {"f": {"createdAfter": 1}},
            "BAD_USER_INPUT",
        ),
        ("query Q($f: RunsFilter) { runsOrError(filter: $f) { __typename } }", {"f": {"a": 1}}, "BAD_USER_INPUT"),
    ],
)
async def test_what_the_request_gets_wrong(
    api: Api, caplog: pytest.LogCaptureFixture, document: str, variables: dict[str, Any], code: str
) -> None:
    """A request that is wrong is told so in words, with a code; it is nothing for the operator to look at."""
    answer = await api.ask(document, variables)
    assert answer.codes == [code]
    assert len(answer.errors[0]["message"]) > 10
    assert answer.errors[0].get("locations")
    assert [record for record in caplog.records if record.levelno >= logging.WARNING] == []


async def test_each_answer_has_ids_of_its_own(api: Api) -> None:
    """The same wrong document sent twice is validated once, and still told apart in the log."""
    first, second = [await api.ask("{ nothing }") for _ in range(2)]
    assert first.errors[0]["message"] == second.errors[0]["message"]
    assert first.errors[0]["extensions"]["errorId"] != second.errors[0]["extensions"]["errorId"]


@pytest.mark.parametrize("failure", [StorageUnavailable(f"Wrong password {SECRET}."), RuntimeError(f"{SECRET}!")])
async def test_secrets_show_nowhere(busy: Api, caplog: pytest.LogCaptureFixture, failure: Exception) -> None:
    """A storage that puts its secret into an exception shows it neither to clients nor in the log."""
    for storage in (busy.runs, busy.events, busy.logs, busy.artifacts):
        storage.failure = failure
    answer = await busy.ask(EVERYTHING)
    assert answer.errors
    assert SECRET not in str(answer)
    assert SECRET not in caplog.text
    caplog.set_level(logging.DEBUG)
    answer = await busy.ask(f'{{ runOrError(runId: "{SECRET}") {{ __typename }} nothing_{SECRET.replace("-", "")} }}')
    assert SECRET not in caplog.text


async def test_guesses_at_secrets_are_not_confirmed(api: Api) -> None:
    """What a client sends comes back as it was, also where it happens to be a secret."""
    answer = await api.ask(f'{{ runsOrError(limit: "{SECRET}") {{ __typename }} }}')
    assert SECRET in str(answer.errors)
    assert "***" not in str(answer.errors)


@pytest.mark.parametrize(
    ("document", "operation", "code"),
    [
        ("subscription {", None, "GRAPHQL_PARSE_FAILED"),
        ("subscription { nothing }", None, "GRAPHQL_VALIDATION_FAILED"),
        ("subscription A { runs { __typename } }", "B", "BAD_USER_INPUT"),
        ("{ version }", None, "BAD_USER_INPUT"),
        ("subscription { runs { __typename } }", None, "NOTHING_LIVE"),
    ],
)
async def test_a_subscription_that_is_wrong(api: Api, document: str, operation: str | None, code: str) -> None:
    """It is answered by one message with a code, and ends; it raises nothing that would end its connection."""
    stream = await api.schema.subscribe(document, operation_name=operation, context_value=api.context())
    (message,) = [message async for message in stream]
    assert [(error.extensions or {})["code"] for error in message.errors or ()] == [code]
