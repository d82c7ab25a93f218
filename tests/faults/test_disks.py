"""A disk that fills up: under the events, under the logs, in the middle of a migration."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from daglens.storage.errors import StorageUnavailable
from daglens.storage.records import NewRun, RunFilter
from daglens.storage.sql.revisions import REVISIONS
from daglens.storage.sqlite import SqliteDatabase, SqliteRunStorage, migrating, opening
from daglens.testing.faults import small_disk
from tests.faults.conftest import Trial
from tests.faults.instances import ask, batch, numbers_of, opened, others_work, served

REPORT = """mutation { reportEvents(runId: "run", events: [{ eventType: "LOG_MESSAGE", message: "%s" }]) {
  ... on Error { message } } }"""

MIGRATIONS = Path(migrating.__file__).parents[1] / "migrations"

# Far more than the disk has.
LARGE_REVISION = f'''
"""Copies much."""
from alembic import op

revision = "next"
down_revision = "{REVISIONS[-1]}"


def upgrade():
    op.execute("CREATE TABLE added_later (content BLOB)")
    for _ in range(64):
        op.execute("INSERT INTO added_later VALUES (randomblob(1000000))")
'''

SMALL_REVISION = LARGE_REVISION.replace("range(64)", "range(1)").replace("1000000", "10")


@pytest.mark.fault("disk_full_append")
@pytest.mark.parametrize("mount", [True, False])
def test_appending(trial: Trial, tmp_path: Path, mount: bool) -> None:
    """What was acknowledged can be read while the disk is full, the server says what is wrong, and the batch that was
    refused is stored when there is space."""
    count, size = trial.random.randint(1, 40), trial.random.randint(500, 5000)
    with small_disk(tmp_path / "disk", 16 * 2**20, mount=mount) as disk, opened(disk.folder) as instance:
        stored = 0
        disk.fill(leave_bytes=trial.random.randint(0, 2**20))
        with pytest.raises(StorageUnavailable) as told:  # noqa: PT012 - one of many appends
            while True:
                instance.append("run", batch("w", stored, count, size))
                stored += count
        if disk.mounted:
            trial.saw(str(told.value))
        else:
            assert "not full" in str(told.value)
            trial.saw(trial.fault.seen or "")
        with served(instance) as server:
            assert ask(server)["data"]
            others_work(server)
            refused = next(
                answer for answer in iter(lambda: ask(server, REPORT % ("x" * 50_000)), None) if "errors" in answer
            )
            assert refused["errors"][0]["extensions"]["code"] == "STORAGE_UNAVAILABLE"
        trial.kept(stored, len(numbers_of(instance, "w")))
        disk.free()
        assert instance.append("run", batch("w", stored, count, size)).accepted == count
        assert numbers_of(instance, "w") == list(range(stored + count))


@pytest.mark.fault("disk_full_migrate")
@pytest.mark.parametrize("mount", [True, False])
def test_migrating(trial: Trial, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, mount: bool) -> None:
    """The older version uses the file as before, and the migration is done once there is space."""
    runs = trial.random.randint(1, 50)
    later = tmp_path / "later"
    shutil.copytree(MIGRATIONS, later)
    with small_disk(tmp_path / "disk", 16 * 2**20, mount=mount) as disk:
        path = disk.folder / "daglens.db"
        fill_with_runs(path, runs)
        disk.fill(leave_bytes=trial.random.randint(2**20, 4 * 2**20))
        with monkeypatch.context() as newer:
            newer.setattr(migrating, "SCRIPTS", str(later))
            newer.setattr(opening, "REVISIONS", (*REVISIONS, "next"))
            (later / "versions" / "next.py").write_text(LARGE_REVISION)
            with pytest.raises(StorageUnavailable) as told:
                use(path)
            if disk.mounted:
                trial.saw(str(told.value))
            else:
                assert "not full" in str(told.value)
                trial.saw(trial.fault.seen or "")
        trial.kept(runs, len(use(path)))
        disk.free()
        fill_with_runs(path, runs + 1)
        with monkeypatch.context() as newer:
            newer.setattr(migrating, "SCRIPTS", str(later))
            newer.setattr(opening, "REVISIONS", (*REVISIONS, "next"))
            (later / "versions" / "next.py").write_text(SMALL_REVISION)
            assert len(use(path)) == runs + 1


def fill_with_runs(path: Path, count: int) -> None:
    """Add so many runs, less those that are there."""
    database = SqliteDatabase(path)
    for number in range(count):
        SqliteRunStorage(database).add(NewRun(f"r{number}", "nightly"))
    database.close()


def use(path: Path) -> list[str]:
    """Open the file; ids of its runs."""
    database = SqliteDatabase(path)
    try:
        return [run.run_id for run in SqliteRunStorage(database).page(RunFilter(), limit=1000).runs]
    finally:
        database.close()


@pytest.mark.fault("disk_full_capture")
def test_capturing(trial: Trial, run: Callable[..., Any], tmp_path: Path) -> None:
    """A program prints more than the disk holds, by descriptor and by `print`: no write fails, the console has all of
    it, the log what fitted; the next step says why it keeps none."""
    blocks, size = trial.random.randint(300, 500), trial.random.randint(20_000, 40_000)
    with small_disk(tmp_path / "disk", 8 * 2**20) as disk:
        done = run(
            ("" if disk.mounted else IMITATED)
            + f"""
block = "x" * {size} + "\\n"
step = open_step("a", reserve_bytes=2 * 2**20)
for n in range({blocks}):
    fd(1, block) if n % 2 else print(block, end="")
    time.sleep(0.0005)
print(step.close().truncated, file=sys.stderr)
later = open_step("b", reserve_bytes=7 * 2**20)
print(later.problem, file=sys.stderr)
later.close()
""",
            folder=disk.folder,
        )
        kept = (disk.folder / "a.out").stat().st_size
        truncated, problem = done.stderr.splitlines()
        assert truncated == "True"
        trial.saw(problem)
        assert 0 < kept < 8 * 2**20
        trial.kept(blocks * (size + 1), len(done.stdout))


IMITATED = """
from daglens.recorder import capture_process, capture_file, streams
def _free(_):
    return 8 * 2**20 - sum(os.path.getsize(os.path.join(LOGS, name)) for name in os.listdir(LOGS))
capture_process.free_bytes = streams.free_bytes = _free
"""
