"""The promise, with processes: every event, to every reader, exactly once, in order, with no gap."""

from __future__ import annotations

import threading
from collections.abc import Iterator

import pytest

from daglens.storage.postgres import PostgresConfig, PostgresDatabase, PostgresEventLogStorage
from daglens.storage.records import EventFilter, EventQuery, EventRecord
from daglens.testing.threads import DEADLINE_S
from tests.storages.children import outputs, start
from tests.storages.postgres_server import PostgresServer
from tests.storages.postgres_waiting import on_commit

WRITERS = 8
EVENTS = 5000

# Batches of 1, of 10 and of 200; some of them move steps. Each is acknowledged on a line of its own.
WRITE = """
import random
import sys
from daglens.config.secrets import Secret
from daglens.storage.postgres import PostgresConfig, PostgresDatabase, PostgresEventLogStorage
from daglens.storage.records import EventDraft

url, schema, worker, total = sys.argv[1], sys.argv[2], sys.argv[3], int(sys.argv[4])
chosen = random.Random(worker)
database = PostgresDatabase(PostgresConfig(postgres_url=Secret(url), schema_name=schema, pool_size=2))
events = PostgresEventLogStorage(database)
database.get_ready()
print("ready", flush=True)
sys.stdin.readline()
number = 0
while number < total:
    size = min(chosen.choice((1, 10, 200, 200, 200)), total - number)
    drafts = [
        EventDraft(
            "STEP_OUTPUT" if chosen.random() < 0.01 else "LOG_MESSAGE",
            step_key=worker,
            message=str(number + n),
            event_id=f"{worker}-{number + n}",
        )
        for n in range(size)
    ]
    appended = events.append("shared", drafts)
    assert appended.accepted + appended.duplicates == size
    number += size
    print(number, flush=True)
database.close()
"""


@pytest.fixture
def events(postgres_config: PostgresConfig) -> Iterator[PostgresEventLogStorage]:
    database = PostgresDatabase(postgres_config)
    yield PostgresEventLogStorage(database)
    database.close()


class Reader(threading.Thread):
    """Follows the run from its beginning: when it is told of news, or at the latest after a moment."""

    def __init__(self, events: PostgresEventLogStorage, filter: EventFilter | None) -> None:
        super().__init__(daemon=True)
        self.got: list[EventRecord] = []
        self.error: BaseException | None = None
        self._events = events
        self._filter = filter
        self._last = threading.Event()
        self._news = threading.Event()
        self._watch = events.watch(lambda run_id: self._news.set())
        self.start()

    def run(self) -> None:
        place = 0
        try:
            while True:
                last = self._last.is_set()
                self._news.clear()
                while True:
                    (page,) = self._events.read([EventQuery("shared", place, 700, self._filter)])
                    assert page.through_seq >= place
                    self.got += page.events
                    place = page.through_seq
                    if not page.has_more:
                        break
                if last:
                    return
                self._news.wait(0.25)
        except BaseException as error:
            self.error = error

    def end(self) -> list[EventRecord]:
        """What it got, when it has come to the end."""
        self._last.set()
        self._news.set()
        self.join(DEADLINE_S)
        self._watch.stop()
        assert self.error is None, self.error
        assert not self.is_alive()
        return self.got


def check(events: PostgresEventLogStorage, read: list[list[EventRecord]]) -> list[EventRecord]:
    """All of the log, which is what every reader got."""
    stored: list[EventRecord] = []
    while True:
        (page,) = events.read([EventQuery("shared", len(stored), 1000)])
        stored += page.events
        if not page.has_more:
            break
    assert [event.seq for event in stored] == list(range(1, len(stored) + 1))
    for got in read:
        assert got == stored
    return stored


def test_eight_writers_with_commits_delayed_at_random(
    postgres: PostgresServer, postgres_schema: str, events: PostgresEventLogStorage
) -> None:
    """8 processes × 5,000 events to one run: dense, each once, in each writer's order, for readers that follow."""
    on_commit(postgres, f"{postgres_schema}.event_heads", "PERFORM pg_sleep(random() * 0.01)", "UPDATE")
    children = [start(WRITE, postgres.url, postgres_schema, f"w{n}", EVENTS) for n in range(WRITERS)]
    for child in children:
        assert child.stdout is not None
        assert child.stdin is not None
        assert child.stdout.readline() == "ready\n"
    readers = [Reader(events, None), Reader(events, EventFilter(min_level=10))]
    for child in children:
        assert child.stdin is not None
        child.stdin.write("\n")
        child.stdin.flush()
    outputs(children)
    stored = check(events, [reader.end() for reader in readers])
    assert len(stored) == WRITERS * EVENTS == events.heads(["shared"])["shared"].last_seq
    for n in range(WRITERS):
        assert [e.message for e in stored if e.step_key == f"w{n}"] == [str(number) for number in range(EVENTS)]


def test_writers_that_are_killed(
    postgres: PostgresServer, postgres_schema: str, events: PostgresEventLogStorage
) -> None:
    """`kill -9` in the middle: what was acknowledged is there, nothing is half there, and others go on at once."""
    on_commit(postgres, f"{postgres_schema}.event_heads", "PERFORM pg_sleep(random() * 0.01)", "UPDATE")
    children = [start(WRITE, postgres.url, postgres_schema, f"w{n}", 1_000_000 if n < 2 else 1000) for n in range(4)]
    for child in children:
        assert child.stdout is not None
        assert child.stdin is not None
        assert child.stdout.readline() == "ready\n"
        child.stdin.write("\n")
        child.stdin.flush()
    acknowledged = []
    for child in children[:2]:
        assert child.stdout is not None
        for _ in range(8):
            line = child.stdout.readline()
        child.kill()
        # Not communicate(): it would pass over what readline() has taken in already.
        acknowledged.append(int((line + child.stdout.read()).split("\n")[-2]))
        child.communicate()
    outputs(children[2:])
    # What the killed ones had sent may still be on its way to a commit; then their connections end.
    stored = check(events, [])
    for n, number in enumerate(acknowledged):
        own = [e.message for e in stored if e.step_key == f"w{n}"]
        assert own == [str(other) for other in range(len(own))]
        assert number <= len(own) <= number + 400
    for n in (2, 3):
        assert sum(e.step_key == f"w{n}" for e in stored) == 1000
    # A later process goes on where it stands, and sends some again.
    (again,) = [start(WRITE, postgres.url, postgres_schema, "w0", acknowledged[0] + 500)]
    assert again.stdin is not None
    again.stdin.write("\n")
    again.stdin.flush()
    outputs([again])
    stored = check(events, [])
    own = [e.message for e in stored if e.step_key == "w0"]
    assert own == [str(other) for other in range(len(own))]
    assert len(own) >= acknowledged[0] + 500
