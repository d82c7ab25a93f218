"""The operations that front ends send, over the embedded storages: each works, and each leaf was seen with a value."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import aclosing
from pathlib import Path
from typing import Any

import pytest
from graphql import parse, validate

from daglens.instance import Instance
from daglens.resolvers.calls import StorageCalls
from daglens.resolvers.live import LiveHub, LiveSettings
from daglens.schema.build import DaglensSchema
from daglens.schema.export import FILE
from daglens.storage import event_types as et
from daglens.storage.records import EventDraft, NewRun
from tests.api import history, operations
from tests.api.conftest import Api, Clock
from tests.api.operations import Leaves
from tests.api.test_not_implemented import NOT_IMPLEMENTED

OURS = FILE.parent / "operations"


@pytest.fixture
async def served(schema: DaglensSchema, tmp_path: Path) -> AsyncIterator[Api]:
    """An instance in a folder, with the history that has everything, and a hub."""
    with Instance.open(home=tmp_path / "home", environ={}) as instance:
        history.record(instance)
        calls = StorageCalls(instance)
        hub = LiveHub(calls, LiveSettings(linger_s=0.05, watch_idle_s=0))
        yield Api(instance, Clock(), calls, schema, hub=hub)
        await hub.close()


def is_implemented(operation: Any) -> bool:
    """Whether an operation reads, and only what works. Those that write are in test_mutation_operations.py."""
    root = operation.operation.value.capitalize()
    if root == "Mutation":
        return False
    return not any(f"{root}.{field.name.value}" in NOT_IMPLEMENTED for field in operation.selection_set.selections)


NOBODY = {"runId": "nobody"}
CENSUS = {"runId": history.RUN_ID}
MANY = {"filter": {"runIds": ["x"] * 1001}}

# For each operation, the variables of the calls that together show all of its leaves.
CALLS: dict[str, list[dict[str, Any]]] = {
    "ComputeLogLive": [
        {**CENSUS, "stepKey": "extract", "ioType": "STDOUT"},
        {**CENSUS, "stepKey": "extract", "ioType": "STDERR"},
        {**CENSUS, "stepKey": "nothing", "ioType": "STDOUT"},
        {**NOBODY, "stepKey": "extract", "ioType": "STDOUT"},
    ],
    "ComputeLogTail": [{**CENSUS, "stepKey": "extract"}, {**CENSUS, "stepKey": "no"}, {**NOBODY, "stepKey": "extract"}],
    "InstancePage": [{}],
    "RunEventsLive": [CENSUS, NOBODY],
    "RunEventsLongPoll": [CENSUS, NOBODY],
    "RunEventsPage": [CENSUS, NOBODY],
    "RunPageById": [CENSUS, NOBODY],
    "RunsLive": [{}, MANY],
    "RunsPage": [{}, MANY],
    "RunsSearchSpace": [{"key": "team"}],
}


ENDLESS = {"RunsLive"}
"""Subscriptions that only their client ends, once it has been told something."""


async def answers(api: Api, document: str, operation: str, kind: str, variables: dict[str, Any]) -> AsyncIterator[Any]:
    """The data of an operation's answer, or of all its messages; none may have errors."""
    if kind != "subscription":
        answer = await api.ask(document, variables, operation)
        assert answer.errors == []
        yield answer.data
        return
    async with aclosing(api.listen(document, **variables)) as messages:
        async for message in messages:
            assert message.errors == []
            yield message.data
            if operation in ENDLESS:
                return


async def test_every_leaf_of_every_operation_is_seen(served: Api, api: Api) -> None:
    """Each operation of the contract that uses working fields gives a value for each of its leaves, at least once."""
    leaves = Leaves(served.schema._schema)
    called = set()
    for name in operations.names():
        document = operations.text(name)
        for operation, definition in operations.operations(name).items():
            if not is_implemented(definition):
                continue
            asked = leaves.asking(document)
            for variables in CALLS[operation]:
                async for data in answers(served, asked, operation, definition.operation.value, variables):
                    leaves.note(document, operation, data)
            called.add(operation)
    await see_a_deleted_run(served, leaves)
    await see_an_ill_storage(api, leaves)
    assert called == CALLS.keys()
    assert sorted(leaves.all - leaves.seen) == []


async def see_a_deleted_run(served: Api, leaves: Leaves) -> None:
    """A run that is deleted while it is watched."""
    document = operations.text("run-events-live.graphql")
    served.instance.create_run(NewRun("going", "p"))
    served.instance.append("going", [EventDraft(et.RUN_START)])
    async for message in served.listen(leaves.asking(document), runId="going"):
        leaves.note(document, "RunEventsLive", message.data)
        if message.data["runEvents"]["__typename"] == "RunEventsBatch":
            served.instance.events.close_runs(["going"])


async def see_an_ill_storage(api: Api, leaves: Leaves) -> None:
    """A storage that says what is wrong with it."""
    document = operations.text("instance.graphql")
    api.runs.failure = OSError("gone")
    leaves.note(document, "InstancePage", (await api.ask(leaves.asking(document))).data)


@pytest.mark.parametrize("name", operations.names())
def test_operations_are_valid(schema: DaglensSchema, name: str) -> None:
    """Every operation of the contract is valid against the served schema, those of fields to come included."""
    assert validate(schema._schema, parse(operations.text(name))) == []


def test_ours_hold_the_contracts() -> None:
    """The examples that GraphiQL opens with are the contract's operations and more of ours."""
    for path in operations.FOLDER.glob("*.graphql"):
        assert (OURS / path.name).read_text(encoding="utf-8") == path.read_text(encoding="utf-8")


EXAMPLES = sorted({path.name for path in OURS.glob("*.graphql")} - {path.name for path in operations.FOLDER.iterdir()})


@pytest.mark.parametrize("name", EXAMPLES)
async def test_our_examples_work(served: Api, name: str) -> None:
    """Each example runs as it stands: its variables have defaults, or are a run's id."""
    document = operations.text(name, OURS)
    for operation, definition in operations.operations(name, OURS).items():
        needed = {v.variable.name.value for v in definition.variable_definitions or () if v.default_value is None}
        assert needed <= {"runId", "after"}
        async for data in answers(served, document, operation, definition.operation.value, CENSUS):
            assert data


def test_there_are_examples() -> None:
    """More than the contract's."""
    assert len(EXAMPLES) >= 3
