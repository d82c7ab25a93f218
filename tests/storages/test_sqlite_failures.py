"""What may happen to a file: one sentence each, nothing half stored, and on with the work once it is over."""

from __future__ import annotations

import errno
import shutil
import sqlite3
from collections.abc import Iterator
from pathlib import Path

import pytest

from daglens.storage.errors import DaglensError, StorageUnavailable
from daglens.storage.records import EventDraft, EventQuery, NewRun
from daglens.storage.sqlite import SqliteDatabase, SqliteEventLogStorage, SqliteRunStorage
from daglens.storage.sqlite.failures import in_a_sentence


@pytest.fixture
def database(tmp_path: Path) -> Iterator[SqliteDatabase]:
    made = SqliteDatabase(tmp_path / "daglens.db", busy_timeout_s=0.1)
    yield made
    made.close()


@pytest.fixture
def runs(database: SqliteDatabase) -> SqliteRunStorage:
    return SqliteRunStorage(database)


@pytest.fixture
def events(database: SqliteDatabase) -> SqliteEventLogStorage:
    return SqliteEventLogStorage(database)


def logged(count: int, length: int = 10) -> list[EventDraft]:
    return [EventDraft("LOG_MESSAGE", message="x" * length, event_id=f"id {n}") for n in range(count)]


def test_another_process_writes_for_too_long(
    database: SqliteDatabase, runs: SqliteRunStorage, events: SqliteEventLogStorage
) -> None:
    """After the timeout the append fails with a sentence; reading goes on; afterwards everything works."""
    events.append("r1", logged(1))
    other = sqlite3.connect(database.path, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    with pytest.raises(StorageUnavailable, match="It is locked: another process has been writing"):
        events.append("r1", [EventDraft("RUN_START")])
    with pytest.raises(StorageUnavailable):
        runs.add(NewRun("r1", "nightly"))
    assert events.heads(["r1"])["r1"].last_seq == 1
    other.execute("ROLLBACK")
    other.close()
    assert events.append("r1", [EventDraft("RUN_START")]).last_seq == 2


@pytest.mark.fault("disk_full_append")
def test_disk_is_full(database: SqliteDatabase, runs: SqliteRunStorage, events: SqliteEventLogStorage) -> None:
    """Nothing of the batch is stored, the run row included; with space again the same batch is stored once."""
    runs.add(NewRun("r1", "nightly"))
    events.append("r1", logged(1))
    batch = [EventDraft("RUN_START", event_id="start"), *logged(200, length=5000)]
    pages = database.write(lambda connection: connection.execute("PRAGMA page_count").fetchone()[0])
    database.write(lambda connection: connection.execute(f"PRAGMA max_page_count = {pages + 20}"))
    with pytest.raises(StorageUnavailable, match=r"Its disk is full\. Nothing was stored"):
        events.append("r1", batch)
    assert events.heads(["r1"])["r1"].last_seq == 1
    assert len(events.read([EventQuery("r1")])[0].events) == 1
    assert runs.get(["r1"])["r1"].started_at_us is None
    database.write(lambda connection: connection.execute("PRAGMA max_page_count = 1000000"))
    appended = events.append("r1", batch)
    assert (appended.accepted, appended.duplicates, appended.last_seq) == (200, 1, 201)
    assert runs.get(["r1"])["r1"].started_at_us is not None


@pytest.mark.fault("corrupt_sqlite")
def test_damaged_file(database: SqliteDatabase, events: SqliteEventLogStorage) -> None:
    """The sentence says that it is damaged and what to do."""
    for run in range(50):
        events.append(f"r{run}", logged(20))
    database.write(lambda connection: connection.execute("SELECT 1"))
    database.close()
    content = bytearray(database.path.read_bytes())
    content[4096:] = b"\xff" * (len(content) - 4096)
    database.path.write_bytes(content)
    again = SqliteDatabase(database.path)
    damaged = SqliteEventLogStorage(again)
    with pytest.raises(StorageUnavailable, match=r"It is damaged\. .* `sqlite3 daglens.db .recover"):
        damaged.append("r1", logged(1))
    with pytest.raises(StorageUnavailable, match="damaged"):
        damaged.read([EventQuery("r1")])
    health = damaged.health()
    assert not health.healthy
    assert "damaged" in (health.problem or "")
    again.close()


def test_file_is_moved_away_while_in_use(database: SqliteDatabase, events: SqliteEventLogStorage) -> None:
    """What is stored from then on is in a new file at that path, where the next process finds it."""
    events.append("r1", logged(3))
    for name in ("", "-wal", "-shm"):
        beside = Path(f"{database.path}{name}")
        beside.rename(beside.with_name(f"moved{name}"))
    assert events.heads(["r1"]) == {}
    assert events.append("r1", logged(1)).last_seq == 1
    other = SqliteDatabase(database.path)
    assert SqliteEventLogStorage(other).heads(["r1"])["r1"].last_seq == 1
    other.close()
    moved = sqlite3.connect(database.path.with_name("moved"))
    assert moved.execute("SELECT last_seq FROM event_heads").fetchall() == [(3,)]
    moved.close()


def test_file_is_moved_away_in_the_middle_of_a_read(database: SqliteDatabase, events: SqliteEventLogStorage) -> None:
    """The connection that was reading the old file isn't used for the new one."""
    events.append("r1", logged(3))

    def move_and_look(connection: sqlite3.Connection) -> int:
        database.path.rename(database.path.with_name("moved"))
        Path(f"{database.path}-wal").unlink()
        Path(f"{database.path}-shm").unlink()
        return len(events.heads(["r1"]))

    assert database.read(move_and_look) == 0
    assert [len(events.heads(["r1"])) for _ in range(3)] == [0, 0, 0]


def test_folder_is_removed_while_in_use(database: SqliteDatabase, events: SqliteEventLogStorage) -> None:
    """It is made again."""
    events.append("r1", logged(3))
    shutil.rmtree(database.path.parent)
    assert events.append("r1", logged(1)).last_seq == 1


def test_error_in_the_middle_leaves_nothing(
    database: SqliteDatabase, runs: SqliteRunStorage, events: SqliteEventLogStorage
) -> None:
    """An exception of any kind inside a transaction undoes it, and the connection works on."""

    def fail(connection: sqlite3.Connection) -> None:
        connection.execute("DELETE FROM run_feed")
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        database.write(fail)
    assert runs.add(NewRun("r1", "nightly")).created


def test_bug_stays_a_bug(database: SqliteDatabase) -> None:
    """A wrong statement isn't passed off as an unavailable storage."""
    with pytest.raises(sqlite3.OperationalError, match="no such table"):
        database.read(lambda connection: connection.execute("SELECT * FROM missing"))


def test_errors_are_daglens_errors(tmp_path: Path) -> None:
    """Whoever catches DaglensError catches them; the message begins with what happened and names the file."""
    (tmp_path / "folder").mkdir()
    database = SqliteDatabase(tmp_path / "folder")
    with pytest.raises(DaglensError, match=r"^The storage does not answer\. .*folder") as caught:
        database.read(lambda connection: None)
    assert caught.value.code == "STORAGE_UNAVAILABLE"
    database.close()


@pytest.mark.parametrize(
    ("error", "hint"),
    [
        (PermissionError(errno.EACCES, "Permission denied"), "Give this user the right to write"),
        (OSError(errno.ENOSPC, "No space left on device"), "Free some space."),
        (OSError(errno.EROFS, "Read-only file system"), "that this user may write there"),
    ],
)
def test_what_the_system_refuses(error: OSError, hint: str) -> None:
    """What the system says of a file comes with what to do about it."""
    told = str(in_a_sentence(Path("/data/daglens.db"), error))
    assert f"/data/daglens.db: {error.strerror}. " in told
    assert hint in told


def test_a_statement_that_reads_too_long(tmp_path: Path) -> None:
    """It is ended, with a sentence that names the setting; the connection goes on, and 0 ends nothing."""
    database = SqliteDatabase(tmp_path / "daglens.db", statement_timeout_s=0.05)
    try:
        for _ in range(2):
            with pytest.raises(StorageUnavailable, match="statement_timeout_s"):
                database.read(lambda connection: connection.execute(ENDLESS).fetchone(), snapshot=True)
        assert database.read(lambda connection: connection.execute("SELECT 7").fetchone()) == (7,)
    finally:
        database.close()
    database = SqliteDatabase(tmp_path / "daglens.db", statement_timeout_s=0)
    try:
        assert database.read(lambda connection: connection.execute(LONG).fetchone()) == (3_000_000,)
    finally:
        database.close()


ENDLESS = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) SELECT count(*) FROM n"
LONG = f"{ENDLESS} WHERE i <= 3000000".replace("FROM n)", "FROM n WHERE i < 3000000)")


def test_the_longer_limit_counts(tmp_path: Path) -> None:
    """Of two configurations for one file the longer limit holds; without limit is the longest."""
    path = tmp_path / "daglens.db"
    one = SqliteDatabase.shared(path, statement_timeout_s=0.05)
    other = SqliteDatabase.shared(path, statement_timeout_s=0)
    try:
        assert one is other
        assert one.read(lambda connection: connection.execute(LONG).fetchone()) == (3_000_000,)
    finally:
        one.release()
        other.release()
