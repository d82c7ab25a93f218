"""Many processes write one run of one SQLite file while others read it; some of them are killed."""

from __future__ import annotations

import hashlib
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from daglens.storage.records import EventDraft, EventQuery, EventRecord
from daglens.storage.sqlite import SqliteDatabase, SqliteEventLogStorage
from daglens.testing.threads import DEADLINE_S
from tests.storages.children import outputs, start

HERE = Path(__file__).parent
WRITER = HERE / "sqlite_writer.py"
READER = HERE / "sqlite_reader.py"

WRITERS = 8
EVENTS = 5000

# Stops before each COMMIT of an append, says so, and goes on when it is told.
STOPS_BEFORE_COMMIT = """
import sys
from pathlib import Path
from daglens.storage.records import EventDraft
from daglens.storage.sqlite import SqliteDatabase, SqliteEventLogStorage

database = SqliteDatabase(Path(sys.argv[1]))
events = SqliteEventLogStorage(database)
events.append("r1", [])

def stop(statement):
    if statement == "COMMIT":
        print("before commit", flush=True)
        sys.stdin.readline()

database.on_statement = stop
drafts = [EventDraft("LOG_MESSAGE", message=f"m{n}", event_id=f"e{n}") for n in range(10)]
appended = events.append("r1", drafts)
print(appended.accepted, appended.duplicates, appended.first_seq)
"""


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "daglens.db"


@pytest.fixture
def events(path: Path) -> Iterator[SqliteEventLogStorage]:
    """The parent's own storage."""
    made = SqliteEventLogStorage(SqliteDatabase(path))
    yield made
    made.database.close()


def whole_log(events: SqliteEventLogStorage) -> list[EventRecord]:
    """Every event of the run, by pages; dense."""
    found: list[EventRecord] = []
    while True:
        (page,) = events.read([EventQuery("r1", after_seq=len(found), limit=1000)])
        found += page.events
        if not page.has_more:
            assert [event.seq for event in found] == list(range(1, len(found) + 1))
            assert page.head is not None
            assert page.head.last_seq == len(found)
            return found


def numbers_of(log: list[EventRecord], writer: int) -> list[int]:
    """What one writer stored, in the order of the log."""
    return [int(event.message.partition(":")[2]) for event in log if event.message.startswith(f"{writer}:")]


def begin(children: list[subprocess.Popen[str]]) -> None:
    """Wait until they are ready, and let the writers go."""
    for child in children:
        assert child.stdout is not None
        assert child.stdout.readline() == "ready\n", child.communicate(timeout=DEADLINE_S)
    for child in children:
        go_on(child)


def go_on(child: subprocess.Popen[str]) -> None:
    assert child.stdin is not None
    child.stdin.write("\n")
    child.stdin.flush()


@pytest.mark.parametrize("per_append", [1, 100])
def test_eight_writers_and_two_readers(path: Path, events: SqliteEventLogStorage, per_append: int) -> None:
    """40,000 events: each is stored once, every reader is given all of them in order, and no write fails."""
    events.append("r1", [])
    readers = [start(READER, path, WRITERS * EVENTS) for _ in range(2)]
    writers = [start(WRITER, path, number, EVENTS, per_append) for number in range(WRITERS)]
    begin([*readers, *writers])
    assert outputs(writers) == [f"{EVENTS} 0\n"] * WRITERS
    log = whole_log(events)
    assert len(log) == WRITERS * EVENTS
    for number in range(WRITERS):
        assert numbers_of(log, number) == list(range(EVENTS))
    digest = hashlib.sha256("".join(event.message for event in log).encode()).hexdigest()
    assert outputs(readers) == [f"{digest}\n"] * 2


@pytest.mark.fault("kill_writer")
@pytest.mark.parametrize("per_append", [1, 100])
def test_writer_is_killed(path: Path, events: SqliteEventLogStorage, per_append: int) -> None:
    """What was acknowledged is there, nothing is half there, the others go on, and a second try stores the rest."""
    total = 200 * per_append
    writers = [start(WRITER, path, number, total, per_append, "--tell") for number in range(4)]
    begin(writers)
    victim = writers[0]
    assert victim.stdout is not None
    acknowledged = 0
    for line in victim.stdout:
        acknowledged = int(line)
        if acknowledged >= 50 * per_append:
            victim.kill()
            break
    # What it still said before it was killed, a line cut short left out.
    rest = victim.communicate(timeout=DEADLINE_S)[0]
    acknowledged = max([acknowledged, *(int(line) for line in rest.splitlines(keepends=True) if line.endswith("\n"))])
    assert victim.returncode == -9
    assert acknowledged < total, "it was killed in the middle"
    outputs(writers[1:])
    log = whole_log(events)
    stored = numbers_of(log, 0)
    assert len(stored) >= acknowledged
    assert len(stored) % per_append == 0
    assert stored == list(range(len(stored)))
    for number in range(1, 4):
        assert numbers_of(log, number) == list(range(total))

    again = start(WRITER, path, 0, total, per_append)
    begin([again])
    assert outputs([again]) == [f"{total - len(stored)} {len(stored)}\n"]
    assert numbers_of(whole_log(events), 0) == list(range(total))


@pytest.mark.fault("kill_between")
def test_killed_before_its_commit(path: Path, events: SqliteEventLogStorage) -> None:
    """A writer that dies with everything written but the commit has stored nothing, and holds up nobody."""
    child = start(STOPS_BEFORE_COMMIT, path)
    assert child.stdout is not None
    assert child.stdout.readline() == "before commit\n"
    child.kill()
    child.communicate(timeout=DEADLINE_S)
    assert whole_log(events) == []
    assert events.append("r1", [EventDraft("LOG_MESSAGE")]).first_seq == 1


@pytest.mark.parametrize("first_try_is_killed", [False, True])
def test_retry_while_the_first_try_is_uncommitted(
    path: Path, events: SqliteEventLogStorage, first_try_is_killed: bool
) -> None:
    """It waits, and then counts as duplicates what was stored meanwhile, or stores it all: no gap, nothing twice."""
    child = start(STOPS_BEFORE_COMMIT, path)
    assert child.stdout is not None
    assert child.stdout.readline() == "before commit\n"
    waiting = threading.Event()

    def note(statement: str) -> None:
        if statement == "BEGIN IMMEDIATE":
            waiting.set()

    events.database.on_statement = note
    drafts = [EventDraft("LOG_MESSAGE", message=f"m{n}", event_id=f"e{n}") for n in range(12)]
    answers = []
    retry = threading.Thread(target=lambda: answers.append(events.append("r1", drafts)), daemon=True)
    retry.start()
    assert waiting.wait(DEADLINE_S)
    if first_try_is_killed:
        child.kill()
        child.communicate(timeout=DEADLINE_S)
    else:
        go_on(child)
        assert outputs([child]) == ["10 0 1\n"]
    retry.join(DEADLINE_S)
    (answer,) = answers
    stored = 0 if first_try_is_killed else 10
    assert (answer.accepted, answer.duplicates) == (12 - stored, stored)
    assert (answer.first_seq, answer.last_seq) == (stored + 1, 12)
    assert [event.message for event in whole_log(events)] == [f"m{n}" for n in range(12)]
