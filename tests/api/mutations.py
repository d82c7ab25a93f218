"""Mutations as a front end sends them, and what they answer."""

from __future__ import annotations

from typing import Any

from tests.api.conftest import Api

_RUN = """
fragment R on Run {
  runId pipelineName status createdAt updatedAt startedAt endedAt createdBy canTerminate lastHeardAt
  runConfig stepKeysToExecute parentRunId rootRunId tags { key value } stats { events }
}
"""
_ERROR = "fragment E on Error { code message }"

CREATE = f"""mutation($input: CreateRunInput!) {{ it: createRun(input: $input) {{
  __typename ... on CreateRunSuccess {{ created run {{ ...R }} }}
  ...E ... on RunConflictError {{ runId }} ... on InvalidInputError {{ path }}
}} }} {_RUN} {_ERROR}"""
REPORT = f"""mutation($runId: ID!, $events: [EventInput!]!) {{ it: reportEvents(runId: $runId, events: $events) {{
  __typename ... on ReportEventsSuccess {{ accepted duplicates firstSeq lastSeq run {{ ...R }} }}
  ...E ... on InvalidInputError {{ path }}
}} }} {_RUN} {_ERROR}"""
HEARTBEAT = f"""mutation($runId: ID!, $timeoutSeconds: Int! = 60) {{
  it: heartbeat(runId: $runId, timeoutSeconds: $timeoutSeconds) {{
    __typename ... on HeartbeatSuccess {{ run {{ ...R }} }} ...E ... on InvalidInputError {{ path }}
}} }} {_RUN} {_ERROR}"""
APPEND = f"""mutation($input: AppendComputeLogInput!) {{ it: appendComputeLog(input: $input) {{
  __typename ... on AppendComputeLogSuccess {{ sizeBytes }}
  ...E ... on InvalidInputError {{ path }} ... on ComputeLogOffsetError {{ sizeBytes }}
}} }} {_ERROR}"""
TAG = f"""mutation($runId: ID!, $tags: [TagInput!]!) {{ it: addRunTags(runId: $runId, tags: $tags) {{
  __typename ... on AddRunTagsSuccess {{ run {{ ...R }} }} ...E ... on InvalidInputError {{ path }}
}} }} {_RUN} {_ERROR}"""
TERMINATE = f"""mutation($runId: ID!) {{ it: terminateRun(runId: $runId) {{
  __typename ... on TerminateRunSuccess {{ run {{ ...R }} }} ...E ... on RunNotTerminableError {{ runId status }}
}} }} {_RUN} {_ERROR}"""
DELETE = f"""mutation($filter: RunsFilter!, $limit: Int! = 100, $dryRun: Boolean! = false) {{
  it: deleteRuns(filter: $filter, limit: $limit, dryRun: $dryRun) {{
    __typename ... on DeleteRunsSuccess {{ runIds runs events bytes dryRun hasMore unfinished }} ...E
}} }} {_ERROR}"""


async def send(api: Api, document: str, **variables: Any) -> Any:
    """The one field's answer; nothing may be in `errors[]`."""
    return (await api.get(document, **variables))["it"]


async def create(api: Api, run_id: str = "r", pipeline_name: str = "nightly", **more: Any) -> Any:
    """Create a run; the whole answer."""
    return await send(api, CREATE, input={"runId": run_id, "pipelineName": pipeline_name, **more})


async def report(api: Api, *events: dict[str, Any], run_id: str = "r") -> Any:
    """Report events; the whole answer."""
    return await send(api, REPORT, runId=run_id, events=list(events))


def event(event_type: str, step_key: str | None = None, **more: Any) -> dict[str, Any]:
    """An event to report."""
    return {"eventType": event_type, **({"stepKey": step_key} if step_key else {}), **more}
