"""The operations that a recorder sends, and what their answers mean."""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final

from daglens.recorder.remote.connection import GraphQLConnection, InputRefused, ServerAway
from daglens.storage.errors import LogGap, RunConflict, RunDeleted, RunNotFound
from daglens.storage.records import ComputeIO, LogKey, NewRun, RunStatus

_ERROR: Final = "... on Error { code message }"
_RUN: Final = "run { status lastHeardAt }"

CREATE_RUN: Final = f"""
mutation CreateRun($input: CreateRunInput!) {{
  createRun(input: $input) {{
    __typename ... on CreateRunSuccess {{ created {_RUN} }} {_ERROR} ... on InvalidInputError {{ path }}
  }}
}}"""
REPORT_EVENTS: Final = f"""
mutation ReportEvents($runId: ID!, $events: [EventInput!]!) {{
  reportEvents(runId: $runId, events: $events) {{
    __typename ... on ReportEventsSuccess {{ accepted duplicates {_RUN} }} {_ERROR} ... on InvalidInputError {{ path }}
  }}
}}"""
HEARTBEAT: Final = f"""
mutation Heartbeat($runId: ID!, $timeoutSeconds: Int!) {{
  heartbeat(runId: $runId, timeoutSeconds: $timeoutSeconds) {{
    __typename ... on HeartbeatSuccess {{ {_RUN} }} {_ERROR}
  }}
}}"""
ADD_RUN_TAGS: Final = f"""
mutation AddRunTags($runId: ID!, $tags: [TagInput!]!) {{
  addRunTags(runId: $runId, tags: $tags) {{
    __typename ... on AddRunTagsSuccess {{ {_RUN} }} {_ERROR} ... on InvalidInputError {{ path }}
  }}
}}"""
APPEND_COMPUTE_LOG: Final = f"""
mutation AppendComputeLog($input: AppendComputeLogInput!) {{
  appendComputeLog(input: $input) {{
    __typename ... on AppendComputeLogSuccess {{ sizeBytes }} {_ERROR}
    ... on ComputeLogOffsetError {{ sizeBytes }} ... on InvalidInputError {{ path }}
  }}
}}"""
LOOK_AT_RUN: Final = f"""
query LookAtRun($runId: ID!) {{
  runOrError(runId: $runId) {{
    __typename ... on Run {{ pipelineName status lastHeardAt }} {_ERROR}
  }}
}}"""
STEP_ATTEMPTS: Final = f"""
query StepAttempts($runId: ID!, $stepKeys: [String!]!) {{
  runOrError(runId: $runId) {{
    __typename ... on Run {{ stepStats(stepKeys: $stepKeys) {{ attempts }} }} {_ERROR}
  }}
}}"""


@dataclass(frozen=True, slots=True)
class RunSeen:
    """A run as the server knows it.

    Attributes:
        heard: A recorder has been heard of.
        pipeline_name: None where it was not asked for.
    """

    status: RunStatus
    heard: bool
    pipeline_name: str | None = None


class Server:
    """The operations, on one connection.

    Every method raises ServerAway, AccessDenied and InputRefused as `GraphQLConnection.execute`, and RunNotFound when
    the server has no such run.
    """

    def __init__(self, connection: GraphQLConnection) -> None:
        self._connection = connection

    def create_run(self, given: Mapping[str, Any]) -> tuple[bool, RunSeen]:
        """Add a run (a CreateRunInput); whether it is new, and how it stands.

        Raises:
            RunConflict: A run of this id was created with other values.
            RunDeleted: A run of this id was deleted.
        """
        answer = self._answer("createRun", CREATE_RUN, {"input": given})
        return bool(answer.get("created")), _seen(answer.get("run"))

    def report_events(self, run_id: str, events: Sequence[bytes]) -> RunSeen:
        """Store events (EventInputs as JSON), all or none; with none it is a sign of life."""
        variables = b'{"runId":%s,"events":[%s]}' % (json.dumps(run_id).encode(), b",".join(events))
        data = self._connection.execute_json(REPORT_EVENTS, variables)
        return _seen(_success("reportEvents", data, run_id).get("run"))

    def heartbeat(self, run_id: str, timeout_s: int) -> RunSeen:
        """Say that the recorder lives."""
        variables = {"runId": run_id, "timeoutSeconds": timeout_s}
        return _seen(self._answer("heartbeat", HEARTBEAT, variables).get("run"))

    def add_tags(self, run_id: str, tags: Sequence[Mapping[str, str]]) -> RunSeen:
        """Add tags (TagInputs)."""
        return _seen(self._answer("addRunTags", ADD_RUN_TAGS, {"runId": run_id, "tags": tags}).get("run"))

    def append_log(self, key: LogKey, io: ComputeIO, offset: int, data: bytes, *, complete: bool) -> int:
        """Append to a log; its size afterwards.

        Raises:
            LogGap: The log is shorter than `offset`; it says how long it is.
        """
        given = {
            "runId": key.run_id,
            "stepKey": key.step_key,
            "attempt": key.attempt,
            "ioType": io.name,
            "offset": str(offset),
            "data": base64.b64encode(data).decode(),
            "encoding": "BASE64",
            "complete": complete,
        }
        return _size(self._answer("appendComputeLog", APPEND_COMPUTE_LOG, {"input": given}))

    def look(self, run_id: str) -> RunSeen:
        """How the run stands."""
        return _seen(self._answer("runOrError", LOOK_AT_RUN, {"runId": run_id}))

    def attempts(self, run_id: str, step_key: str) -> int:
        """How many attempts of a step the run has."""
        answer = self._answer("runOrError", STEP_ATTEMPTS, {"runId": run_id, "stepKeys": [step_key]})
        steps = answer.get("stepStats")
        if not isinstance(steps, list):
            raise ServerAway("The answer lacks the step's attempts.")
        try:
            return max((_number(step["attempts"]) for step in steps), default=0)
        except (KeyError, TypeError, ValueError):
            raise ServerAway("The answer doesn't say how many attempts the step has.") from None

    def close(self) -> None:
        """Close the connection."""
        self._connection.close()

    def abort(self) -> None:
        """From any thread: end the operation under way, and take no further one."""
        self._connection.abort()

    def abort_if_overdue(self) -> None:
        """From any thread: end an operation that takes too long."""
        self._connection.abort_if_overdue()

    def _answer(self, field: str, query: str, variables: dict[str, Any]) -> dict[str, Any]:
        run_id = variables.get("runId") or variables["input"]["runId"]
        return _success(field, self._connection.execute(query, variables), run_id)


def _success(field: str, data: dict[str, Any], run_id: str) -> dict[str, Any]:
    answer = data.get(field)
    if not isinstance(answer, dict):
        raise ServerAway(f"The answer lacks {field}.")
    kind = str(answer.get("__typename"))
    if not kind.endswith("Error"):
        return answer
    if kind == "RunNotFoundError":
        raise RunNotFound(run_id)
    if kind == "RunConflictError":
        raise RunDeleted(run_id) if answer.get("code") == "RUN_DELETED" else RunConflict(run_id)
    if kind == "ComputeLogOffsetError":
        raise LogGap(_size(answer))
    raise InputRefused(str(answer.get("message")), str(answer.get("path") or ""), str(answer.get("code")))


def _seen(run: Any) -> RunSeen:
    try:
        name = run.get("pipelineName")
        status = RunStatus(run["status"])
        if name is not None and not isinstance(name, str):
            raise ValueError(name)
    except (AttributeError, KeyError, TypeError, ValueError):
        raise ServerAway("The answer doesn't say how the run stands.") from None
    return RunSeen(status, run.get("lastHeardAt") is not None, name)


def _size(answer: dict[str, Any]) -> int:
    try:
        return _number(answer["sizeBytes"])
    except (KeyError, TypeError, ValueError):
        raise ServerAway("The answer doesn't say how long the log is.") from None


def _number(value: Any) -> int:
    """A size or a count: an integer, or its decimal text.

    Raises:
        TypeError, ValueError: It is none, or none that there can be.
    """
    if isinstance(value, bool) or not isinstance(value, int | str):
        raise TypeError(value)
    number = int(value)
    if not 0 <= number < 2**63:
        raise ValueError(number)
    return number


# ---------------------------------------------------------------- inputs


def run_input(run: NewRun) -> dict[str, Any]:
    """The CreateRunInput of a run; `created_at_us` is given."""
    assert run.created_at_us is not None
    given: dict[str, Any] = {
        "runId": run.run_id,
        "pipelineName": run.pipeline_name,
        "tags": tag_inputs(run.tags),
        "runConfig": run.run_config,
        "parentRunId": run.parent_run_id,
        "rootRunId": run.root_run_id,
        "createdAt": rfc3339(run.created_at_us),
    }
    if run.step_keys_to_execute is not None:
        given["stepKeysToExecute"] = list(run.step_keys_to_execute)
    return given


def tag_inputs(tags: Sequence[tuple[str, str]]) -> list[dict[str, str]]:
    """TagInputs."""
    return [{"key": key, "value": value} for key, value in tags]


def rfc3339(us: int) -> str:
    """Microseconds as a DateTime."""
    seconds, rest = divmod(us, 1_000_000)
    return f"{datetime.fromtimestamp(seconds, UTC):%Y-%m-%dT%H:%M:%S}.{rest:06d}Z"
