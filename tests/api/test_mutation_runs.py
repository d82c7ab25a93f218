"""createRun, addRunTags and heartbeat."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from daglens.storage.contract import MAX_TAGS
from daglens.upkeep import delete_run
from tests.api.conftest import SECRET, Api
from tests.api.mutations import CREATE, HEARTBEAT, TAG, create, event, report, send

FULL: dict[str, Any] = {
    "status": "QUEUED",
    "tags": [{"key": "team", "value": "core"}, {"key": "env", "value": ""}],
    "runConfig": {"rows": 3, "deep": [{"er": None}]},
    "stepKeysToExecute": ["extract", "load"],
    "parentRunId": "parent",
    "rootRunId": "root",
    "createdAt": "2026-11-22T10:30:00.123456+01:00",
}


async def test_a_run_with_everything(stored: Api) -> None:
    """What is given is what is read; nobody is its creator without access control."""
    answer = await create(stored, "r", **FULL)
    assert (answer["__typename"], answer["created"]) == ("CreateRunSuccess", True)
    run = answer["run"]
    assert run == {
        **{key: FULL[key] for key in ("status", "runConfig", "stepKeysToExecute", "parentRunId", "rootRunId")},
        "runId": "r",
        "pipelineName": "nightly",
        "tags": [{"key": "env", "value": ""}, {"key": "team", "value": "core"}],
        "createdAt": "2026-11-22T09:30:00.123456Z",
        "updatedAt": run["updatedAt"],
        "startedAt": None,
        "endedAt": None,
        "createdBy": None,
        "canTerminate": True,
        "lastHeardAt": None,
        "stats": {"events": 0},
    }
    assert stored.instance.run("r") is not None


async def test_a_run_with_nothing(stored: Api) -> None:
    """Only the pipeline's name is needed; each such run is another one, with a UUID."""
    answers = [await send(stored, CREATE, input={"pipelineName": "p"}) for _ in range(2)]
    first, second = (answer["run"] for answer in answers)
    assert len(first["runId"]) == 36
    assert first["runId"] != second["runId"]
    assert (first["status"], first["runConfig"], first["stepKeysToExecute"]) == ("NOT_STARTED", {}, None)


async def test_nulls_are_absent(stored: Api) -> None:
    """An optional value that is null is as if it was not there, for a repeated call, too."""
    nothing: dict[str, Any] = dict.fromkeys(("runConfig", "stepKeysToExecute", "parentRunId", "rootRunId", "createdAt"))
    assert (await create(stored, "r", **nothing))["created"]
    assert not (await create(stored, "r"))["created"]


async def test_creating_again(stored: Api) -> None:
    """The same input answers the run that is there, as it is now; other input is a conflict."""
    await create(stored, "r", **FULL)
    await report(stored, event("RUN_START"))
    same = {**FULL, "tags": FULL["tags"][::-1], "createdAt": "2026-11-22T09:30:00.123456Z"}
    again = await create(stored, "r", **same)
    assert (again["created"], again["run"]["status"]) == (False, "STARTED")
    others: list[dict[str, Any]] = [
        {"status": "NOT_STARTED"},
        {"tags": []},
        {"runConfig": {"rows": 4}},
        {"stepKeysToExecute": None},
        {"parentRunId": "another"},
        {"rootRunId": None},
        {"createdAt": None},
    ]
    for other in others:
        answer = await create(stored, "r", **{**FULL, **other})
        assert (answer["__typename"], answer["code"], answer["runId"]) == ("RunConflictError", "RUN_CONFLICT", "r")
    assert (await create(stored, "r", "another", **FULL))["code"] == "RUN_CONFLICT"


async def test_later_tags_don_t_make_it_another_run(stored: Api) -> None:
    """A retry compares with what the run was first created with, not with what became of it."""
    await create(stored, "r", **FULL)
    await send(stored, TAG, runId="r", tags=[{"key": "team", "value": "other"}])
    assert not (await create(stored, "r", **FULL))["created"]


async def test_creating_at_once(stored: Api) -> None:
    """Of many equal calls at once one creates the run; each is answered with it."""
    answers = await asyncio.gather(*(create(stored, "r", **FULL) for _ in range(12)))
    assert [answer["run"]["runId"] for answer in answers] == ["r"] * 12
    assert sum(answer["created"] for answer in answers) == 1


async def test_a_deleted_run_stays_deleted(stored: Api) -> None:
    """Its id is a conflict of its own code, with equal input, too."""
    await create(stored, "r")
    delete_run(stored.instance, "r")
    answer = await create(stored, "r")
    assert (answer["__typename"], answer["code"], answer["runId"]) == ("RunConflictError", "RUN_DELETED", "r")


def deep(levels: int) -> Any:
    value: Any = "x"
    for _ in range(levels):
        value = [value]
    return value


TAGS = [{"key": f"k{n}", "value": "v"} for n in range(MAX_TAGS)]


@pytest.mark.parametrize(
    ("given", "path"),
    [
        ({"runId": ""}, "runId"),
        ({"runId": "a\0b"}, "runId"),
        ({"runId": "\ud800"}, "runId"),
        ({"runId": "x" * 256}, "runId"),
        ({"pipelineName": ""}, "pipelineName"),
        ({"status": "STARTED"}, "status"),
        ({"status": "SUCCESS"}, "status"),
        ({"tags": [{"key": "a", "value": "1"}, {"key": "", "value": "1"}]}, "tags.1.key"),
        ({"tags": [{"key": "a", "value": "1"}, {"key": "b", "value": "1"}, {"key": "a", "value": "1"}]}, "tags.2.key"),
        ({"tags": [*TAGS, {"key": "one more", "value": ""}]}, "tags"),
        ({"runConfig": {"a": deep(100)}}, "runConfig"),
        ({"parentRunId": ""}, "parentRunId"),
        ({"rootRunId": "\0"}, "rootRunId"),
    ],
)
async def test_what_can_t_be_a_run(stored: Api, given: dict[str, Any], path: str) -> None:
    """The answer names the bad value, and nothing is stored."""
    answer = await send(stored, CREATE, input={"runId": "r", "pipelineName": "p", **given})
    assert (answer["__typename"], answer["path"]) == ("InvalidInputError", path)
    assert answer["code"] == ("TOO_MANY_TAGS" if path == "tags" else "INVALID_INPUT")
    assert (await stored.get("{ runCountOrError { ... on RunCount { count } } }"))["runCountOrError"]["count"] == 0


@pytest.mark.parametrize("run_id", ["../../etc/passwd", "a/b", "%2e%2e", "ünï 🎉", ":", "x" * 255, "\n", "."])
async def test_odd_names_are_kept(stored: Api, run_id: str) -> None:
    """Any other text is a run id, and is read back as it was."""
    assert (await create(stored, run_id))["run"]["runId"] == run_id
    assert (await report(stored, event("RUN_START"), run_id=run_id))["run"]["runId"] == run_id


async def test_what_text_can_t_hold(stored: Api) -> None:
    """NUL and lone surrogates in tags, step keys and configuration read as U+FFFD, and a retry finds the run."""
    bad = {
        "tags": [{"key": "k", "value": "a\0\ud800b"}],
        "runConfig": {"a\0": ["\ud800"]},
        "stepKeysToExecute": ["s\0"],
        "runId": "r",
        "pipelineName": "p",
    }
    run = (await send(stored, CREATE, input=bad))["run"]
    assert (run["tags"][0]["value"], run["runConfig"]) == ("a\ufffd\ufffdb", {"a\ufffd": ["\ufffd"]})
    assert run["stepKeysToExecute"] == ["s\ufffd"]
    assert not (await send(stored, CREATE, input=bad))["created"]


# ---------------------------------------------------------------- tags


async def test_tags(stored: Api) -> None:
    """New keys are added, keys that are there get the new value; no tags at all change nothing."""
    await create(stored, "r", tags=[{"key": "a", "value": "1"}, {"key": "b", "value": "2"}])
    answer = await send(stored, TAG, runId="r", tags=[{"key": "b", "value": "3"}, {"key": "c", "value": "4"}])
    assert answer["__typename"] == "AddRunTagsSuccess"
    tags = [{"key": key, "value": value} for key, value in (("a", "1"), ("b", "3"), ("c", "4"))]
    assert answer["run"]["tags"] == tags
    assert (await send(stored, TAG, runId="r", tags=[]))["run"]["tags"] == tags


@pytest.mark.parametrize(
    ("tags", "path", "code"),
    [
        ([{"key": "a", "value": "1"}, {"key": "a", "value": "1"}], "tags.1.key", "INVALID_INPUT"),
        ([{"key": "", "value": "1"}], "tags.0.key", "INVALID_INPUT"),
        ([{"key": "x\0", "value": "1"}], "tags.0.key", "INVALID_INPUT"),
        (TAGS, "tags", "TOO_MANY_TAGS"),
    ],
)
async def test_what_can_t_be_a_tag(stored: Api, tags: list[dict[str, str]], path: str, code: str) -> None:
    """The answer names the bad value, and no tag is added."""
    await create(stored, "r", tags=[{"key": "there", "value": ""}])
    answer = await send(stored, TAG, runId="r", tags=tags)
    assert (answer["__typename"], answer["path"], answer["code"]) == ("InvalidInputError", path, code)
    run = stored.instance.run("r")
    assert run is not None
    assert run.tags == (("there", ""),)


# ---------------------------------------------------------------- heartbeats


async def test_a_heartbeat(stored: Api) -> None:
    """It says that the recorder lives, adds nothing to the log, and leaves updatedAt alone."""
    before = (await create(stored, "r"))["run"]
    run = (await send(stored, HEARTBEAT, runId="r", timeoutSeconds=7))["run"]
    assert run["lastHeardAt"] is not None
    assert (run["updatedAt"], run["stats"]["events"], run["status"]) == (before["updatedAt"], 0, "NOT_STARTED")
    record = stored.instance.run("r")
    assert record is not None
    assert record.heartbeat_timeout_s == 7


async def test_a_heartbeat_tells_who_records_to_stop(stored: Api) -> None:
    """A recorder that only reports learns so that the run was asked to end."""
    await create(stored, "r")
    await report(stored, event("RUN_START"), event("RUN_CANCELING"))
    run = (await send(stored, HEARTBEAT, runId="r"))["run"]
    assert (run["status"], run["canTerminate"]) == ("CANCELING", False)


@pytest.mark.parametrize("timeout", [0, -1])
async def test_a_timeout_that_is_none(stored: Api, timeout: int) -> None:
    """A run that would be dead at once is refused."""
    await create(stored, "r")
    answer = await send(stored, HEARTBEAT, runId="r", timeoutSeconds=timeout)
    assert (answer["__typename"], answer["path"]) == ("InvalidInputError", "timeoutSeconds")
    record = stored.instance.run("r")
    assert record is not None
    assert record.heartbeat_at_us is None


@pytest.mark.parametrize("run_id", ["nobody", "", "a\0", "\ud800"])
async def test_a_run_that_is_not_there(stored: Api, run_id: str) -> None:
    """Nothing can be said of it, whether it could exist or not."""
    for document in (TAG, HEARTBEAT):
        answer = await send(stored, document, runId=run_id, **({"tags": []} if document is TAG else {}))
        assert (answer["__typename"], answer["code"]) == ("RunNotFoundError", "RUN_NOT_FOUND")


# ---------------------------------------------------------------- storages that fail


async def test_a_storage_that_is_away(api: Api) -> None:
    """The answer is null, with a code and an errorId, and a retry works."""
    api.runs.failure = OSError("gone")
    answer = await api.ask(CREATE, {"input": {"runId": "r", "pipelineName": "p"}})
    assert (answer.data, answer.codes) == (None, ["STORAGE_UNAVAILABLE"])
    api.runs.failure = None
    assert (await create(api, "r", "p"))["created"]


async def test_guesses_at_secrets_are_not_confirmed(api: Api) -> None:
    """What a client sent comes back as it was, also when it is a secret of the instance's configuration."""
    await create(api, SECRET, "p")
    assert SECRET in (await create(api, SECRET, "q"))["message"]
    assert SECRET in (await send(api, HEARTBEAT, runId=f"no {SECRET}"))["message"]
