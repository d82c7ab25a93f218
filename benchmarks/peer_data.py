"""Fills a new instance of the peer's with the data of dataset.py. Run by a Python that has dagster: FOLDER RUNS.

FOLDER holds a dagster.yaml, or nothing for the peer's SQLite. Its storages store about 200 events a second, which would
take an hour and a half for a million. So the events are those of two runs that the peer itself executes, one that ends
well and one that fails, and the rows are what its own storage makes of them and of the runs; only the run ids in the
text are exchanged, and the rows go in by bulk statements. On SQLite, where each run is a file of its own, the files are
copies of one that the storage set up.
"""

import shutil
import sqlite3
import sys
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import dataset
from dagster import AssetMaterialization, DagsterInstance, DagsterRun, DagsterRunStatus, OpExecutionContext, job, op
from dagster._core.storage.event_log.schema import SqlEventLogStorageTable
from dagster._core.storage.runs.schema import RunsTable, RunTagsTable

Row = dict[str, Any]
CHUNK = 20_000
QUIET = {"loggers": {"console": {"config": {"log_level": "CRITICAL"}}}}


def entries(logs: int, fails: bool, instance: DagsterInstance) -> list[Any]:
    """The events of a run of three steps with so many log messages, as the peer records them."""
    counts = dict(zip(dataset.STEPS, dataset.shared_between(logs, len(dataset.STEPS)), strict=True))

    def step(name: str) -> Any:
        @op(name=name)
        def body(context: OpExecutionContext, before: int = 0) -> int:
            for row in range(counts[name]):
                context.log.info(dataset.message(row))
            context.log_event(AssetMaterialization(name, metadata={"rows": counts[name], "table": "orders"}))
            if fails and name == dataset.STEPS[-1]:
                raise ValueError("no such column: price")
            return counts[name]

        return body

    steps = [step(name) for name in dataset.STEPS]

    @job(name="nightly")
    def nightly() -> None:
        made = steps[0]()
        for one in steps[1:]:
            made = one(made)

    result = nightly.execute_in_process(instance=instance, raise_on_error=False, run_config=QUIET)
    return [record.event_log_entry for record in instance.get_records_for_run(result.run_id, limit=100_000).records]


class Template:
    """Rows of one kind of run; another run's are the same with its id."""

    def __init__(self, storage: Any, instance: DagsterInstance, count: int, fails: bool) -> None:
        others = len(entries(0, fails, instance))
        found = entries(count - others, fails, instance)
        assert len(found) == count, (len(found), count)
        self._run_id = found[0].run_id
        self._rows = [storage._event_to_row(entry) for entry in found]

    def rows(self, run_id: str) -> Iterator[Row]:
        """The rows of a run."""
        for row in self._rows:
            yield {**row, "run_id": run_id, "event": row["event"].replace(self._run_id, run_id)}


def run_rows(storage: Any, runs: int) -> tuple[list[Row], list[Row]]:
    """The rows of all runs, and of their tags."""
    made: list[Row] = []
    tags: list[Row] = []
    for number in range(1, runs + 1):
        status = DagsterRunStatus.FAILURE if dataset.failed(number) else DagsterRunStatus.SUCCESS
        run = DagsterRun(
            job_name=dataset.pipeline(number),
            run_id=dataset.run_id(number),
            status=status,
            tags=dataset.tags(number),
        )
        at = dataset.created_us(number) / 1e6
        created = datetime.fromtimestamp(at, UTC)
        values = storage._get_run_insertion_values(run, created)
        made.append({**values, "update_timestamp": created, "start_time": at, "end_time": at + 30})
        tags += [{"run_id": run.run_id, "key": key, "value": value} for key, value in run.tags_for_storage().items()]
    return made, tags


def insert(connection: Any, table: Any, rows: Iterator[Row] | list[Row]) -> None:
    """All rows, in large statements."""
    chunk: list[Row] = []
    for row in rows:
        chunk.append(row)
        if len(chunk) == CHUNK:
            connection.execute(table.insert(), chunk)
            chunk = []
    if chunk:
        connection.execute(table.insert(), chunk)


def fill_files(events: Any, folder: Path, runs: int, template: Any) -> None:
    """A SQLite file for each run."""
    first = dataset.run_id(0)
    with events.run_connection(first):
        pass
    empty = Path(events.path_for_shard(first))
    with sqlite3.connect(empty) as settled:
        settled.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    settled.close()
    names = [column.name for column in SqlEventLogStorageTable.columns if column.name != "id"]
    sql = f"INSERT INTO event_logs ({', '.join(names)}) VALUES ({', '.join(':' + name for name in names)})"
    for number in range(1, runs + 1):
        run_id = dataset.run_id(number)
        shutil.copy(empty, events.path_for_shard(run_id))
        opened = sqlite3.connect(events.path_for_shard(run_id))
        opened.execute("PRAGMA synchronous = OFF")
        rows = ({**row, "timestamp": row["timestamp"].isoformat(" ")} for row in template(number).rows(run_id))
        opened.executemany(sql, rows)
        opened.commit()
        opened.close()


def write_log(instance: DagsterInstance, run_id: str) -> None:
    """A complete compute log of the longer run, where its local manager reads it."""
    manager = instance.compute_log_manager
    key = [run_id, "compute_logs", dataset.LOG_STEP]
    for name, text in (("out", dataset.log_text()), ("err", b"")):
        path = Path(manager.get_captured_local_path(key, name))
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(text)
    Path(manager.get_captured_local_path(key, "complete")).touch()


def main() -> None:
    """Fill the instance."""
    folder, runs = Path(sys.argv[1]), int(sys.argv[2])
    with DagsterInstance.ephemeral() as scratch, DagsterInstance.from_config(str(folder)) as instance:
        events: Any = instance.event_log_storage
        storage: Any = instance.run_storage
        events = getattr(events, "_event_log_storage", events)
        templates = {
            (count, fails): Template(events, scratch, count, fails)
            for count in (dataset.EVENTS_PER_RUN, dataset.LONG_EVENTS)
            for fails in (False, True)
        }

        def template(number: int) -> Template:
            return templates[dataset.events_of(number, runs), dataset.failed(number)]

        made, tags = run_rows(storage, runs)
        with storage.connect() as connection:
            insert(connection, RunsTable, made)
            insert(connection, RunTagsTable, tags)
        if type(events).__name__ == "SqliteEventLogStorage":
            fill_files(events, folder, runs, template)
        else:
            with events._connect() as connection:
                every = (row for number in range(1, runs + 1) for row in template(number).rows(dataset.run_id(number)))
                insert(connection, SqlEventLogStorageTable, every)
        write_log(instance, dataset.run_id(dataset.long_run(runs)))


if __name__ == "__main__":
    main()
