"""docs/api.md, "Write": its mutations record, tag, end and delete a run as they stand; its table is what is checked."""

from __future__ import annotations

import asyncio
import json
import re
from typing import Any

from graphql import OperationDefinitionNode, parse

from daglens.instance import Instance
from daglens.resolvers import event_input
from daglens.resolvers.calls import StorageCalls
from daglens.resolvers.context import RequestContext
from daglens.schema.build import build_schema
from tests.docs.snippets import ROOT, marked

DOCUMENT = "docs/api.md"
RUN_ID = "nightly-2026-11-22"


def test_the_mutations_work_in_their_order():
    """Each answers with its success, and the run is as they say."""
    (events,) = marked(DOCUMENT, "events")
    filter_ = {"runIds": [RUN_ID]}
    log = {"runId": RUN_ID, "stepKey": "extract", "ioType": "STDOUT", "offset": "0", "data": "120 rows\n"}
    variables: dict[str, dict[str, Any]] = {
        "CreateRun": {"input": {"runId": RUN_ID, "pipelineName": "nightly"}},
        "ReportEvents": json.loads(events.text),
        "Alive": {"runId": RUN_ID},
        "AppendLog": {"input": log},
        "Tag": {"runId": RUN_ID, "tags": [{"key": "team", "value": "core"}]},
        "Terminate": {"runId": RUN_ID},
        "Delete": {"filter": filter_, "dryRun": False},
    }
    answers = asyncio.run(carried_out(variables))
    assert [name for name, _ in answers] == list(variables)
    assert {answer["__typename"].removesuffix("Success") == answer["__typename"] for _, answer in answers} == {False}
    said = dict(answers)
    assert said["ReportEvents"]["accepted"] == 4
    assert said["AppendLog"]["sizeBytes"] == "9"
    assert said["Terminate"]["run"]["status"] == "CANCELING"
    assert said["Delete"]["unfinished"] == [RUN_ID]


async def carried_out(variables: dict[str, dict[str, Any]]) -> list[tuple[str, Any]]:
    """Name of each operation of the page, in order, and the answer of its field."""
    schema = build_schema()
    answers = []
    with Instance.ephemeral() as instance:
        for snippet in marked(DOCUMENT, "mutation"):
            (operation,) = parse(snippet.text).definitions
            assert isinstance(operation, OperationDefinitionNode)
            assert operation.name is not None
            name = operation.name.value
            result = await schema.execute(
                snippet.text, variables[name], context_value=RequestContext(StorageCalls(instance))
            )
            assert result.errors is None
            assert result.data is not None
            (answer,) = result.data.values()
            answers.append((name, answer))
    return answers


def test_the_table_of_data_is_complete():
    """Each type that has fields of its own is told with all of them, those that are needed as such."""
    text = (ROOT / DOCUMENT).read_text().partition("### Events")[2].partition("\n### ")[0]
    told = {}
    for types, needed, also in re.findall(r"^\| (`[A-Z_`, ]+`) \| (.*?) ?\| (.*) \|$", text, re.M):
        # What stands in parentheses explains.
        also = re.sub(r"\(.*?\)", "", also)
        for event_type in re.findall(r"`(\w+)`", types):
            told[event_type] = (set(re.findall(r"`(\w+)`", needed)), set(re.findall(r"`(\w+)`", also)))
    checked = {}
    for event_type, fields in event_input._FIELDS.items():
        # What the server fills in itself need not be given.
        needed_names = {name for name, field in fields.items() if field.needed} - {"pipelineName"}
        checked[event_type] = (needed_names, set(fields) - needed_names)
    assert told == checked
