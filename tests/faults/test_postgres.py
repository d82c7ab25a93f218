"""PostgreSQL away, full, slow and cut off, at random points."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Any

import psycopg2
import pytest

from daglens.config.secrets import Secret
from daglens.instance import Instance
from daglens.storage.errors import StorageUnavailable
from daglens.storage.postgres import PostgresConfig, PostgresDatabase, PostgresEventLogStorage
from daglens.storage.records import EventQuery
from daglens.testing.faults import slow_commit
from tests.faults.conftest import Trial
from tests.faults.instances import (
    append_until_stored,
    batch,
    error_of,
    log_of,
    numbers_of,
    opened,
    others_work,
    postgres_home,
    served,
)
from tests.server.conftest import EVENTS as LIVE
from tests.server.conftest import opened as socket_to
from tests.storages.postgres_server import PostgresServer
from tests.storages.postgres_waiting import on_commit


@pytest.fixture
def home(postgres: PostgresServer, postgres_schema: str, tmp_path: Path) -> Path:
    """An instance on PostgreSQL."""
    return postgres_home(tmp_path / "home", postgres.url, postgres_schema)


@contextmanager
def at_work(*work: Callable[[], object]) -> Iterator[None]:
    """Threads that work during the block, and are waited for at its end; what one raises is raised there."""
    raised: list[BaseException] = []

    def guarded(call: Callable[[], object]) -> None:
        try:
            call()
        except BaseException as error:
            raised.append(error)

    threads = [threading.Thread(target=guarded, args=(call,), daemon=True) for call in work]
    for thread in threads:
        thread.start()
    yield
    for thread in threads:
        thread.join()
    if raised:
        raise raised[0]


@pytest.mark.fault("postgres_stopped")
def test_stopped(trial: Trial, home: Path, postgres: PostgresServer) -> None:
    """Queries say so in a sentence, what needs no storage works, and a subscription goes on when it is back."""
    before = trial.random.randint(1, 50)
    with opened(home) as instance, served(instance) as server, socket_to(server) as socket:
        instance.append("run", batch("w", 0, before))
        socket.start(LIVE, variables={"runId": "run"})
        got: list[int] = []
        while len(got) < before:
            got += [event["seq"] for event in socket.result()["data"]["runEvents"]["events"]]
        postgres.stop()
        try:
            trial.saw(error_of(server)["message"])
            with pytest.raises(StorageUnavailable) as told:
                instance.append("run", batch("w", before, 5))
            trial.saw(str(told.value))
            others_work(server)
        finally:
            postgres.start()
        append_until_stored(instance, batch("w", before, 5))
        while len(got) < before + 5:
            got += [event["seq"] for event in socket.result()["data"]["runEvents"]["events"]]
        assert got == list(range(1, before + 6))
        trial.kept(before + 5, len(numbers_of(instance, "w")))


@pytest.mark.fault("postgres_restarted")
def test_restarted(trial: Trial, home: Path, postgres: PostgresServer) -> None:
    """Two writers that send again what failed, while the server is restarted: each event is there once, in order."""
    told: list[str] = []
    done: list[int] = []
    size = trial.random.randint(1, 20)
    restart_at = trial.random.randint(1, 60)
    reached, back = threading.Event(), threading.Event()

    def write(instance: Instance, name: str) -> None:
        for number in range(120):
            if back.is_set() and number > restart_at + 5:
                break
            while True:
                try:
                    instance.append("run", batch(name, number * size, size))
                    break
                except StorageUnavailable as error:
                    told.append(str(error))
            done.append(size)
            if number >= restart_at:
                reached.set()

    with opened(home) as instance:
        with at_work(lambda: write(instance, "a"), lambda: write(instance, "b")):
            assert reached.wait(60)
            postgres.stop()
            try:
                with pytest.raises(StorageUnavailable) as caught:
                    log_of(instance)
            finally:
                postgres.start()
                back.set()
        trial.saw(str(caught.value))
        stored = [numbers_of(instance, name) for name in ("a", "b")]
        assert stored == [list(range(len(one))) for one in stored]
        trial.kept(sum(done), sum(map(len, stored)))
        assert sum(done) == sum(map(len, stored))


@pytest.mark.fault("postgres_crowded")
def test_crowded(trial: Trial, home: Path, postgres: PostgresServer, postgres_schema: str) -> None:
    """Who has a connection goes on; who needs one is told; the next call after one is free works."""
    stored = trial.random.randint(1, 50)
    postgres.execute("CREATE ROLE crowded LOGIN SUPERUSER")
    url = postgres.url.replace("postgres@", "crowded@")
    try:
        with opened(home) as instance, opened(postgres_home(home.parent / "crowded", url, postgres_schema)) as crowded:
            instance.append("run", batch("w", 0, stored))
            # A superuser is never turned away.
            postgres.execute("ALTER ROLE crowded NOSUPERUSER CONNECTION LIMIT 0")
            postgres.execute(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = 'crowded'",
            )
            with served(crowded) as server:
                trial.saw(error_of(server)["message"])
                others_work(server)
                instance.append("run", batch("w", stored, 1))
                postgres.execute("ALTER ROLE crowded SUPERUSER CONNECTION LIMIT -1")
                crowded.append("run", batch("w", stored + 1, 1))
            trial.kept(stored + 2, len(numbers_of(instance, "w")))
    finally:
        postgres.execute("DROP ROLE crowded")


@pytest.mark.fault("postgres_slow")
def test_slow(trial: Trial, postgres: PostgresServer, postgres_schema: str, tmp_path: Path) -> None:
    """A statement that waits too long is ended, nothing of it is stored, and the same batch is stored later."""
    first, more = trial.random.randint(1, 50), trial.random.randint(1, 50)
    home = postgres_home(tmp_path / "home", postgres.url, postgres_schema, statement_timeout_s=0.3)
    with opened(home) as instance, served(instance) as server:
        instance.append("run", batch("w", 0, first))
        holder = psycopg2.connect(postgres.url)
        try:
            with holder.cursor() as cursor:
                cursor.execute(f"SELECT 1 FROM {postgres_schema}.event_heads WHERE run_id = 'run' FOR UPDATE")
            with pytest.raises(StorageUnavailable, match="Nothing was stored") as told:
                instance.append("run", batch("w", first, more))
            trial.saw(str(told.value))
            others_work(server)
        finally:
            holder.close()
        trial.kept(first, len(numbers_of(instance, "w")))
        assert instance.append("run", batch("w", first, more)).first_seq == first + 1


@pytest.mark.fault("slow_commit")
@pytest.mark.parametrize("kind", ["sqlite", "postgres"])
def test_slow_commits(trial: Trial, kind: str, request: pytest.FixtureRequest, tmp_path: Path) -> None:
    """Writers whose commits take random times: a reader who walks meanwhile is given every event once, in order."""
    sizes = [trial.random.randint(1, 10) for _ in range(3)]
    pauses = [trial.random.random() * 0.02 for _ in range(45)]
    got: list[int] = []
    total = sum(sizes) * 15

    def write(instance: Instance, name: str, size: int) -> None:
        for number in range(15):
            instance.append("run", batch(name, number * size, size))

    def walk(instance: Instance) -> None:
        while len(got) < total:
            (page,) = instance.events.read([EventQuery("run", after_seq=len(got) or None)])
            got.extend(event.seq for event in page.events)

    slow: Any
    if kind == "sqlite":
        home = tmp_path
    else:
        home = request.getfixturevalue("home")
        schema = request.getfixturevalue("postgres_schema")
        delay = f"PERFORM pg_sleep(random() * {max(pauses)})"
        on_commit(request.getfixturevalue("postgres"), f"{schema}.event_heads", delay, "UPDATE")
    with opened(home) as instance:
        instance.append("run", [])
        database: Any = instance.events.database  # type: ignore[attr-defined]
        slow = (
            slow_commit(database, lambda: threading.Event().wait(pauses.pop())) if kind == "sqlite" else nullcontext()
        )
        with (
            slow,
            at_work(
                *(lambda n=n, size=size: write(instance, f"w{n}", size) for n, size in enumerate(sizes)),
                lambda: walk(instance),
            ),
        ):
            pass
        assert kind == "postgres" or pauses == [], "each commit was slow"
        assert got == list(range(1, total + 1))
        trial.kept(total, len(log_of(instance)))


@pytest.mark.fault("drop_connection")
def test_dropped(trial: Trial, postgres: PostgresServer, postgres_config: PostgresConfig) -> None:
    """Connections are cut at random moments while a writer appends: each event is there once, in order."""
    drops = [trial.random.randint(1, 40) for _ in range(4)]
    with postgres.proxy() as proxy:
        database = PostgresDatabase(replace(postgres_config, postgres_url=Secret(proxy.url)))
        events = PostgresEventLogStorage(database)
        messages = 0

        def cut(sql: str, parameters: object) -> None:
            nonlocal messages
            messages += 1
            if messages in drops:
                proxy.drop_connections()

        database.on_message = cut
        try:
            for number in range(40):
                drafts = batch("w", number * 3, 3)
                while True:
                    try:
                        done = events.append("run", drafts)
                        break
                    except StorageUnavailable:
                        continue
                assert done.accepted + done.duplicates == 3
            assert messages > max(drops), "all of them were dropped"
            database.on_message = None
            (page,) = events.read([EventQuery("run", limit=1000)])
            assert [event.message.strip() for event in page.events] == [f"w:{n}" for n in range(120)]
            trial.kept(120, len(page.events))
        finally:
            database.close()
