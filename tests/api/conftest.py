"""An API over storages in memory, called in process: no port, no sleep, a clock of its own."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterator, Mapping
from contextlib import ExitStack, aclosing
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest

from daglens.config.loaded import Section
from daglens.config.redaction import Redactor
from daglens.instance import Instance, InstanceOrigin
from daglens.resolvers.calls import StorageCalls
from daglens.resolvers.context import RequestContext
from daglens.resolvers.live import LiveHub, LiveSettings
from daglens.schema.build import DaglensSchema, build_schema
from daglens.storage.memory import InMemoryEventLogStorage, InMemoryRunStorage
from daglens.storage.postgres import PostgresDatabase, PostgresEventLogStorage, PostgresRunStorage
from daglens.storage.records import EventDraft, NewRun
from tests.api.storages import ArtifactsInMemory, LogsInMemory, Watched
from tests.storages.postgres_server import config_for, postgres, postgres_schema

__all__ = ["postgres", "postgres_schema"]

OPERATIONS = Path(__file__).parent.parent / "contract" / "operations"
FRAGMENTS = (OPERATIONS / "fragments.graphql").read_text(encoding="utf-8")
SECRET = "quux-17"


@dataclass
class Clock:
    """Microseconds, moved by the test alone."""

    now: int = 1_700_000_000_000_000

    def __call__(self) -> int:
        return self.now

    def pass_s(self, seconds: float) -> None:
        self.now += int(seconds * 1_000_000)


async def until(condition: Callable[[], bool]) -> None:
    """Let others run until the condition holds."""
    while not condition():  # noqa: ASYNC110 - each turn of the loop is a chance
        await asyncio.sleep(0)


@dataclass
class Answer:
    """What a client would see: data, errors as JSON."""

    data: Any
    errors: list[dict[str, Any]]

    @property
    def codes(self) -> list[str]:
        return [error["extensions"]["code"] for error in self.errors]


@dataclass
class Api:
    """An instance behind the schema.

    `runs`, `events`, `logs` and `artifacts` note what is asked of them, and fail when told to.
    """

    instance: Instance
    clock: Clock
    calls: StorageCalls
    schema: DaglensSchema
    url_prefix: str = ""
    hub: LiveHub | None = None

    @property
    def runs(self) -> Watched:
        return self.instance.runs  # type: ignore[return-value]

    @property
    def events(self) -> Watched:
        return self.instance.events  # type: ignore[return-value]

    @property
    def logs(self) -> Watched:
        return self.instance.compute_logs  # type: ignore[return-value]

    @property
    def artifacts(self) -> Watched:
        return self.instance.artifacts  # type: ignore[return-value]

    @property
    def viewers(self) -> int:
        """How many wait for or watch live events."""
        assert self.hub is not None
        return self.hub.viewers

    def context(self) -> RequestContext:
        return RequestContext(self.calls, hub=self.hub, url_prefix=self.url_prefix, clock=self.clock)

    async def ask(
        self, document: str, variables: Mapping[str, Any] | None = None, operation: str | None = None
    ) -> Answer:
        """The whole answer to an operation."""
        result = await self.schema.execute(
            document, dict(variables or {}), context_value=self.context(), operation_name=operation
        )
        return Answer(result.data, [error.formatted for error in result.errors or ()])  # type: ignore[misc]

    async def get(self, document: str, **variables: Any) -> Any:
        """The data of an operation that has to succeed."""
        answer = await self.ask(document, variables)
        assert answer.errors == []
        return answer.data

    async def listen(self, document: str, **variables: Any) -> AsyncGenerator[Answer, None]:
        """The messages of a subscription."""
        async with aclosing(await self.schema.subscribe(document, variables, context_value=self.context())) as stream:
            async for result in stream:
                yield Answer(result.data, [error.formatted for error in result.errors or ()])  # type: ignore[misc]

    def add(self, run_id: str, *drafts: EventDraft, **run: Any) -> None:
        """Add a run and its events."""
        self.instance.create_run(NewRun(run_id, run.pop("pipeline_name", "nightly"), **run))
        if drafts:
            self.instance.append(run_id, drafts)

    def forget(self) -> None:
        """Forget what was asked of the storages."""
        for storage in (self.runs, self.events, self.logs, self.artifacts):
            storage.called.clear()
            storage.asked.clear()

    @property
    def asked(self) -> dict[str, list[str]]:
        """Methods called since, by storage."""
        named = {"runs": self.runs, "events": self.events, "logs": self.logs, "artifacts": self.artifacts}
        return {name: list(storage.called) for name, storage in named.items() if storage.called}


def section(name: str, storage: Watched) -> Section:
    redactor = Redactor()
    redactor.hide(SECRET)
    kind = type(storage.inner)
    return Section(name, kind.__module__, kind.__name__, {"secret_word": "***"}, lambda: storage, redactor)


@pytest.fixture(scope="session")
def schema() -> DaglensSchema:
    return build_schema()


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def api(schema: DaglensSchema, clock: Clock, tmp_path: Path) -> Iterator[Api]:
    storages = [
        Watched(InMemoryRunStorage(clock=clock)),
        Watched(InMemoryEventLogStorage(clock=clock)),
        Watched(LogsInMemory()),
        Watched(ArtifactsInMemory()),
    ]
    names = ("run_storage", "event_log_storage", "compute_logs", "local_artifact_storage")
    sections = {name: section(name, storage) for name, storage in zip(names, storages, strict=True)}
    runs, events, logs, artifacts = storages
    instance = Instance(InstanceOrigin.DAGSTER_YAML, tmp_path, runs, events, logs, artifacts, sections)  # type: ignore[arg-type]
    yield Api(instance, clock, StorageCalls(instance), schema)
    instance.close()


@pytest.fixture
async def live_api(api: Api) -> AsyncIterator[Api]:
    """With a live hub."""
    api.hub = LiveHub(api.calls, LiveSettings(linger_s=0.05, watch_idle_s=0))
    yield api
    await api.hub.close()


@pytest.fixture(params=["memory", "sqlite", "postgres"])
def stored(request: pytest.FixtureRequest, schema: DaglensSchema, tmp_path: Path) -> Iterator[Api]:
    """The API over storages as they are shipped, for what writes: in memory, in files, and on PostgreSQL."""
    with ExitStack() as open_:
        if request.param == "sqlite":
            instance = open_.enter_context(Instance.open(home=tmp_path / "home", environ={}))
        else:
            instance = open_.enter_context(Instance.ephemeral())
        if request.param == "postgres":
            server = request.getfixturevalue("postgres")
            database = PostgresDatabase(config_for(server.url, request.getfixturevalue("postgres_schema")))
            open_.callback(database.close)
            runs, events = PostgresRunStorage(database), PostgresEventLogStorage(database)
            instance = replace(instance, runs=runs, events=events)
        yield Api(instance, Clock(), StorageCalls(instance), schema)
