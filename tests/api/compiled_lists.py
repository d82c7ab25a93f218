"""Two schemas of the same types, with plans for lists and without, and lists to compare them on."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncGenerator, Sequence
from dataclasses import dataclass, replace
from dataclasses import fields as dataclass_fields
from typing import Any, cast

import strawberry
from graphql import GraphQLError
from hypothesis import strategies as st
from strawberry.schema.config import StrawberryConfig
from strawberry.types import ExecutionContext

from daglens.resolvers import steps
from daglens.schema.compiled import CompiledExecutionContext
from daglens.schema.documents import ParsedOnce, ValidatedOnce
from daglens.schema.enums import RunStatus
from daglens.schema.errors import RunNotFoundError
from daglens.schema.event import Event, EventPage
from daglens.schema.event_objects import EVENT_TYPES, TYPES, EventRows
from daglens.schema.known_operations import RepeatingSchema
from daglens.schema.metadata import METADATA_TYPES
from daglens.schema.run import Run, RunOrError, RunPage
from daglens.schema.run_configs import RunConfig
from daglens.schema.run_objects import RunRows
from daglens.schema.run_parts import StepStats
from daglens.schema.scalars import SCALARS, Cursor
from daglens.schema.step_objects import step_object
from daglens.schema.subscription_messages import RunEventsBatch
from daglens.storage.errors import RunNotFound, StorageUnavailable
from daglens.storage.records import (
    AttemptSpan,
    EventCounts,
    EventQuery,
    EventRecord,
    EventSlice,
    Head,
    RunRecord,
    StepState,
    StepStatus,
)
from tests.api.random_operations import RandomOperation

INCARNATION = "0123456789abcdef"
NOW_US = 1_700_000_500_000_000


@dataclass(frozen=True)
class Lists:
    """What the lists of an operation hold; also its context."""

    events: Sequence[EventRecord]
    runs: RunRows
    steps: list[StepStats]
    instance: None = None

    @property
    def loaders(self) -> _Loaders:
        """See RequestContext."""
        return _Loaders(_Steps(), _Events(self.events))

    def page_limit(self, limit: int, most: int) -> int:
        """See RequestContext."""
        return limit

    def clock(self) -> int:
        """See RequestContext."""
        return NOW_US


@dataclass(frozen=True)
class _Loaders:
    steps: _Steps
    events: _Events


class _Steps:
    async def get(self, key: Any) -> Sequence[StepState]:
        await asyncio.sleep(0)
        if key.run_id.endswith("2"):
            raise LookupError("no steps of this run")
        return STATES


@dataclass(frozen=True)
class _Events:
    events: Sequence[EventRecord]

    async def get(self, query: EventQuery) -> EventSlice:
        await asyncio.sleep(0)
        return EventSlice(Head(query.run_id, INCARNATION, len(self.events)), self.events, 0, has_more=False)


STATES = (
    StepState("run", "extract", 2, StepStatus.SUCCESS, (AttemptSpan(1, StepStatus.SUCCESS, NOW_US - 9, NOW_US),), 2, 1),
    StepState("run", "load", 5, StepStatus.IN_PROGRESS, (AttemptSpan(1, StepStatus.IN_PROGRESS, NOW_US - 5, None),)),
    StepState("run", "check", 7, StepStatus.SKIPPED),
)


def event_rows(lists: Lists) -> list[Event]:
    return cast(list[Event], EventRows(lists.events, INCARNATION))


@strawberry.type
class Query:
    @strawberry.field
    def events(self, info: strawberry.Info) -> list[Event]:
        return event_rows(info.context)

    @strawberry.field
    def maybe_events(self, info: strawberry.Info) -> list[Event] | None:
        return event_rows(info.context)

    @strawberry.field
    def page(self, info: strawberry.Info) -> EventPage | None:
        return EventPage(nodes=event_rows(info.context), cursor=Cursor("c"), through_seq=1, has_more=False)

    @strawberry.field
    def runs(self, info: strawberry.Info) -> list[Run | None]:
        return cast(list[Run | None], info.context.runs)

    @strawberry.field
    def sure_runs(self, info: strawberry.Info) -> list[Run] | None:
        return cast(list[Run], info.context.runs)

    @strawberry.field
    def run_page(self, info: strawberry.Info) -> RunPage:
        return RunPage(nodes=cast(list[Run], info.context.runs), cursor=Cursor("c"), has_more=True)

    @strawberry.field
    def run(self, info: strawberry.Info) -> Run | None:
        return next(iter(info.context.runs), None)

    @strawberry.field
    def run_or_error(self, info: strawberry.Info) -> RunOrError | None:
        return next(iter(info.context.runs), RunNotFoundError.of(RunNotFound("r")))

    @strawberry.field
    def steps(self, info: strawberry.Info) -> list[StepStats | None]:
        return list(info.context.steps)


@strawberry.type
class Subscription:
    @strawberry.subscription
    async def batches(self, info: strawberry.Info) -> AsyncGenerator[RunEventsBatch, None]:
        for _ in range(2):
            yield RunEventsBatch(
                events=event_rows(info.context),
                cursor=Cursor("c"),
                through_seq=1,
                caught_up=True,
                run_status=RunStatus.STARTED,
            )


class _Plain(strawberry.Schema):
    def process_errors(self, errors: list[GraphQLError], execution_context: ExecutionContext | None = None) -> None:
        """Log nothing: errors are what the tests look for."""


class _Compiled(_Plain, RepeatingSchema):
    pass


def schema_of(*, compiled: bool) -> strawberry.Schema:
    """`compiled`: lists by plans, and operations that come again executed the short way."""
    return (_Compiled if compiled else _Plain)(
        Query,
        subscription=Subscription,
        types=[*EVENT_TYPES, *METADATA_TYPES],
        config=StrawberryConfig(scalar_map=SCALARS),
        extensions=[ParsedOnce, ValidatedOnce],
        execution_context_class=CompiledExecutionContext if compiled else None,
    )


# ---------------------------------------------------------------- what is stored, partly spoilt


class Text(str):
    """A text that is not just a text."""

    __slots__ = ()


SPOILT: list[Any] = [None, True, 7, 2**31, -(2**31) - 1, 1.5, float("nan"), "text", Text("text"), b"bytes", [], ["x"]]
SPOILT += [{}, {"a": 1}, ("t",), ValueError("a value that is an exception"), RunStatus.FAILURE, object]

_ENTRIES = [
    {"label": "rows", "int": 2**40},
    {"label": "path", "description": "where", "path": "/x"},
    {"label": "j", "json": {"a": [1, None]}},
    {"label": "n", "json": None},
    {"label": "f", "float": None},
    {"label": "b", "bool": True},
    {"label": "t", "text": "t"},
]
_ERROR = {"className": "E", "message": "m", "stack": ["a", "b"], "cause": {"message": "deeper"}}
_DATA: list[Any] = [
    {},
    {"attempt": 1},
    {"attempt": "1"},
    {"error": _ERROR},
    {"error": {"message": 5}},
    {"logger": "etl"},
    {"durationSeconds": 3, "secondsToWait": 1.5},
    {"label": "orders", "assetKey": ["a", "b"], "metadataEntries": _ENTRIES, "success": True},
    {"label": "orders", "metadataEntries": _ENTRIES[:2], "success": False, "description": "d"},
    {"outputName": "o", "inputName": "i", "typeCheck": {"success": True, "metadataEntries": _ENTRIES[2:4]}},
    {"pipelineName": "p", "processId": 2**31},
    {"op": "SET_OBJECT", "address": "s3://x", "metadataEntries": [_ENTRIES[0]]},
    [1, 2],
    None,
    2**70,
]
_TEXTS = [*(json.dumps(data) for data in _DATA), "", "no json", '{"error": {"message": "\\ud800"}}', "[" * 200]
_TYPES = [*TYPES, "LOG_MESSAGE", "STEP_FAILURE", "STEP_MATERIALIZATION", "STEP_OUTPUT", "SOMETHING_NEW"]


@st.composite
def _event(draw: st.DrawFn) -> Any:
    record = EventRecord(
        run_id=draw(st.sampled_from(["run-1", "run-2", ""])),
        seq=draw(st.integers(1, 2**31 - 1)),
        event_id=None,
        event_type=draw(st.sampled_from(_TYPES)),
        step_key=draw(st.sampled_from([None, "extract"])),
        level=draw(st.sampled_from([10, 20, 30, 40, 50, 25, 5])),
        message=draw(st.sampled_from(["", "hello", "ü\n"])),
        timestamp_us=draw(st.sampled_from([NOW_US, NOW_US + 1, 0, -1, -(2**63), 2**63])),
        data=draw(st.sampled_from(_TEXTS)),
    )
    return draw(_spoilt(record))


@st.composite
def _run(draw: st.DrawFn) -> Any:
    status = draw(st.sampled_from(list(RunStatus)))
    record = RunRecord(
        run_id=draw(st.sampled_from(["run-1", "run-2", "run-3"])),
        pipeline_name="nightly",
        status=status,
        tags=draw(st.sampled_from([(), (("team", "core"),), (("a", "1"), ("b", "2")), (("a", 1),), (("a", None),)])),
        run_config="{}",
        step_keys_to_execute=draw(st.sampled_from(STEP_KEYS)),
        parent_run_id=draw(st.sampled_from([None, "run-0"])),
        root_run_id=None,
        created_at_us=NOW_US - 50,
        updated_at_us=NOW_US,
        started_at_us=draw(st.sampled_from([None, NOW_US - 7])),
        ended_at_us=draw(st.sampled_from([None, NOW_US])),
        heartbeat_at_us=draw(st.sampled_from([None, NOW_US])),
        heartbeat_timeout_s=None,
        created_by=None,
        presumed=False,
        projected_seq=0,
        created_with="",
    )
    return draw(_spoilt(record))


@st.composite
def _spoilt(draw: st.DrawFn, record: Any) -> Any:
    """The record, one in four with a value that doesn't belong there."""
    if draw(st.integers(0, 3)):
        return record
    return record._replace(**{draw(st.sampled_from(record._fields)): draw(st.sampled_from(SPOILT))})


@st.composite
def _step(draw: st.DrawFn) -> Any:
    view = steps.view(draw(_sound_run), draw(st.sampled_from(STATES)), NOW_US)
    step = step_object(view)
    if not draw(st.integers(0, 3)):
        name = draw(st.sampled_from([field.name for field in dataclass_fields(step)]))
        step = replace(step, **{name: draw(st.sampled_from(SPOILT))})
    if step.attempt_spans and not draw(st.integers(0, 5)) and type(step.attempt_spans) is list:
        spans: Any = [draw(st.sampled_from([None, "no span", step]))]
        step.attempt_spans = spans
    return draw(st.sampled_from([step] * 6 + [None, "no step"]))


_sound_run = st.builds(
    lambda status: RunRecord(
        "run-1", "p", status, (), "{}", None, None, None, 1, 1, 1, 2, None, None, None, False, 0, ""
    ),
    st.sampled_from(list(RunStatus)),
)
STEP_KEYS: list[Any] = [None, (), ("extract", "load"), ("x", 5)]
_CONFIGS = [RunConfig({}, "{}\n"), RunConfig({"a": [1.5, None]}, "a:\n"), RunConfig(None, ""), RunConfig("x", "x")]


@st.composite
def lists(draw: st.DrawFn) -> Lists:
    """Events, runs and steps: none, one or some of each."""
    sizes = st.sampled_from([0, 1, 2, 2, 4])
    runs = [draw(_run()) for _ in range(draw(sizes))]
    heads: Any = draw(
        st.sampled_from(
            [
                {},
                {"run-1": Head("run-1", INCARNATION, 12, counts=EventCounts(1, 2, 3), heard_at_us=NOW_US)},
                {"run-2": Head("run-2", INCARNATION, 2**31, deleted=False), "run-1": Head("run-1", INCARNATION)},
                StorageUnavailable("It does not answer."),
            ]
        )
    )
    configs = [draw(st.sampled_from(_CONFIGS)) for _ in runs]
    return Lists(
        events=[draw(_event()) for _ in range(draw(sizes))],
        runs=RunRows(runs, heads, configs, NOW_US),
        steps=[draw(_step()) for _ in range(draw(sizes))],
    )


# ---------------------------------------------------------------- answers, to be compared


async def answers(schema: strawberry.Schema, operation: RandomOperation, context: Lists) -> list[Any]:
    """What the operation answers with each of its variables: data with types and order of keys, and errors. Queries are
    asked twice: at the second time they are known."""
    found: list[Any] = []
    for variables in operation.variables:
        if operation.document.startswith("query"):
            results = [await schema.execute(operation.document, variables, context_value=context) for _ in range(2)]
        else:
            stream = await schema.stream(operation.document, variable_values=variables, context_value=context)
            results = [result async for result in stream]  # type: ignore[misc]
        found += [(_exact(result.data), _errors(result.errors)) for result in results]
    return found


def _exact(value: Any) -> Any:
    if isinstance(value, dict):
        return [(key, _exact(inner)) for key, inner in value.items()]
    if isinstance(value, list):
        return ["list", *map(_exact, value)]
    return type(value).__name__, repr(value)


def _errors(errors: list[GraphQLError] | None) -> Any:
    return [(e.message, e.path, [(at.line, at.column) for at in e.locations or ()]) for e in errors or ()]
