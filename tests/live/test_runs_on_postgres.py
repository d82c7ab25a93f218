"""The live list of runs over PostgreSQL, where transactions overlap and commit in any order."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import replace

import psycopg2
import pytest

from daglens.instance import Instance
from daglens.resolvers.calls import StorageCalls
from daglens.resolvers.live import LiveHub
from daglens.storage import event_types as et
from daglens.storage.postgres import PostgresDatabase, PostgresEventLogStorage, PostgresRunStorage
from daglens.storage.records import EventDraft, NewRun, RunFilter, RunParts, RunStatus
from tests.live.conftest import QUICK
from tests.live.run_lists import RunViewer
from tests.storages.postgres_server import PostgresServer, config_for, postgres, postgres_schema
from tests.storages.postgres_waiting import until, waiting

__all__ = ["postgres", "postgres_schema"]

# Work that a transaction does when it commits; the runs' names say how long.
SLOW_COMMITS = """
CREATE FUNCTION {s}.dawdle() RETURNS trigger LANGUAGE plpgsql AS
    $$ BEGIN PERFORM pg_sleep(split_part(NEW.run_id, '-', 2)::float / 1000); RETURN NULL; END $$;
CREATE CONSTRAINT TRIGGER dawdle AFTER UPDATE ON {s}.runs DEFERRABLE INITIALLY DEFERRED
    FOR EACH ROW EXECUTE FUNCTION {s}.dawdle();
"""

# A transaction that moves the head of one run stops there until the lock is free: nothing of its run is written yet.
STOPS_IN_THE_MIDDLE = """
CREATE FUNCTION {s}.stop() RETURNS trigger LANGUAGE plpgsql AS
    $$ BEGIN PERFORM pg_advisory_xact_lock_shared(4712); RETURN NULL; END $$;
CREATE TRIGGER stop AFTER UPDATE ON {s}.event_heads FOR EACH ROW WHEN (NEW.run_id = 'late-0')
    EXECUTE FUNCTION {s}.stop();
"""


@pytest.fixture
def instances(postgres: PostgresServer, postgres_schema: str) -> Iterator[tuple[Instance, Instance]]:
    """Two instances on one schema, as two processes have them, where commits of some runs take long."""
    postgres.execute(SLOW_COMMITS.replace("{s}", postgres_schema))
    with ExitStack() as stack:

        def instance(name: str) -> Instance:
            config = config_for(f"{postgres.url}&application_name={name}", postgres_schema)
            database = PostgresDatabase(config)
            stack.callback(database.close)
            base = stack.enter_context(Instance.ephemeral())
            return replace(base, runs=PostgresRunStorage(database), events=PostgresEventLogStorage(database))

        yield instance("writer"), instance("server")


async def test_a_transaction_that_commits_late(instances: tuple[Instance, Instance]) -> None:
    """A status changed in a transaction that commits late, with others begun later and committed and read in between,
    reaches the feed."""
    writer, served = instances
    names = [f"{n}-{120 if n % 4 == 0 else n}" for n in range(12)]
    for name in names:
        writer.create_run(NewRun(name, "p"))
    hub = LiveHub(StorageCalls(served), QUICK)
    viewer, started = RunViewer(hub), RunViewer(hub, RunFilter(statuses=(RunStatus.STARTED,)))
    await viewer.next()
    await started.next()
    moves = [asyncio.to_thread(writer.append, name, [EventDraft(et.RUN_START)]) for name in names]
    moving = asyncio.gather(*moves)
    await viewer.until(lambda: all(run.status is RunStatus.STARTED for run in viewer.known.values()))
    await started.until_there(*names)
    await moving
    there = writer.runs.page(RunFilter(), limit=100, parts=RunParts.TAGS).runs
    assert {run.run_id: run.status for run in there} == {run_id: run.status for run_id, run in viewer.known.items()}
    await hub.close()


async def test_one_that_began_earlier_commits_after_it_was_read(
    postgres: PostgresServer, postgres_schema: str, instances: tuple[Instance, Instance]
) -> None:
    """A run's status is changed in a transaction that stops in the middle; another run's is changed, committed and
    delivered meanwhile; then the first commits, and is delivered as well."""
    writer, served = instances
    for name in ("late-0", "soon-0"):
        writer.create_run(NewRun(name, "p"))
    postgres.execute(STOPS_IN_THE_MIDDLE.replace("{s}", postgres_schema))
    hub = LiveHub(StorageCalls(served), QUICK)
    viewer = RunViewer(hub)

    def started(name: str) -> bool:
        return viewer.known[name].status is RunStatus.STARTED

    await viewer.caught_up()
    holder = psycopg2.connect(postgres.url)
    try:
        with holder.cursor() as cursor:
            cursor.execute("SELECT pg_advisory_lock(4712)")
        moving = asyncio.create_task(asyncio.to_thread(writer.append, "late-0", [EventDraft(et.RUN_START)]))
        await asyncio.to_thread(until, lambda: waiting(postgres) == 1, "the first transaction has stopped")
        await asyncio.to_thread(writer.append, "soon-0", [EventDraft(et.RUN_START)])
        await viewer.until(lambda: started("soon-0"))
        assert not started("late-0") and not moving.done()
    finally:
        holder.close()
    await moving
    await viewer.until(lambda: started("late-0"))
    assert started("soon-0")
    await hub.close()
