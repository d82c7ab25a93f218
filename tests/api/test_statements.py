"""What a request costs: statements don't grow with the number of runs listed."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from graphql import FragmentDefinitionNode, OperationDefinitionNode, parse, print_ast

from daglens.instance import Instance
from daglens.resolvers.calls import StorageCalls
from daglens.schema.build import DaglensSchema
from daglens.storage.sqlite import SqliteEventLogStorage, SqliteRunStorage
from tests.api import history, operations
from tests.api.conftest import Api, Clock

MANY = 100


@pytest.fixture(scope="module")
def instance(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Instance]:
    """A hundred runs that have everything, in SQLite."""
    with Instance.open(home=tmp_path_factory.mktemp("statements") / "home", environ={}) as instance:
        for number in range(MANY):
            history.record(instance, f"run-{number}")
        yield instance


@pytest.fixture
def served(schema: DaglensSchema, instance: Instance) -> Api:
    return Api(instance, Clock(), StorageCalls(instance), schema)


@pytest.fixture
def statements(instance: Instance) -> Iterator[list[str]]:
    """The statements that run, BEGIN and COMMIT included, of runs and events."""
    assert isinstance(instance.runs, SqliteRunStorage)
    assert isinstance(instance.events, SqliteEventLogStorage)
    seen: list[str] = []
    databases = {id(s.database): s.database for s in (instance.runs, instance.events)}
    for database in databases.values():
        database.on_statement = seen.append
    yield seen
    for database in databases.values():
        database.on_statement = None


def run_page_over_a_list() -> str:
    """A run list with the whole selection of `run-page.graphql` for each run."""
    document = parse(operations.text("run-page.graphql"))
    (operation,) = [d for d in document.definitions if isinstance(d, OperationDefinitionNode)]
    run_or_error: Any = operation.selection_set.selections[1]
    of_run = run_or_error.selection_set.selections[1]
    fragments = [print_ast(d) for d in document.definitions if isinstance(d, FragmentDefinitionNode)]
    return "\n".join(
        [
            "query Listed($limit: Int!) { now runsOrError(limit: $limit) { ... on RunPage { hasMore cursor nodes",
            print_ast(of_run.selection_set),
            "} } }",
            *fragments,
        ]
    )


async def cost(served: Api, statements: list[str], limit: int) -> tuple[int, int]:
    """How many runs were listed, and by how many statements."""
    statements.clear()
    data = await served.get(run_page_over_a_list(), limit=limit)
    nodes = data["runsOrError"]["nodes"]
    assert all(len(node["stepStats"]) == 3 and len(node["events"]["nodes"]) == 5 for node in nodes)
    return len(nodes), len(statements)


async def test_statements_do_not_grow_with_the_runs(served: Api, statements: list[str]) -> None:
    """A list of 100 runs with everything that a run's own page shows costs as many statements as a list of 1."""
    await cost(served, statements, 1)
    one, many = await cost(served, statements, 1), await cost(served, statements, MANY)
    assert (one[0], many[0]) == (1, MANY)
    assert one[1] == many[1]
    assert one[1] > 3


async def test_a_second_field_of_a_kind_costs_no_second_read(served: Api, statements: list[str]) -> None:
    """Runs asked for one by one in one operation are read together."""
    runs = " ".join(
        f'r{n}: runOrError(runId: "run-{n}") {{ ... on Run {{ status stats {{ events }} }} }}' for n in range(20)
    )
    one = 'r0: runOrError(runId: "run-0") { ... on Run { status stats { events } } }'
    counts = []
    for fields in (one, one, runs):
        statements.clear()
        await served.get(f"{{ {fields} }}")
        counts.append(len(statements))
    assert counts[1] == counts[2]
