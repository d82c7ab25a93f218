"""The peer's side of peer_append.py: run by a Python that has dagster. Not for running by hand.

Takes what to store into (`sqlite`, `postgres`, or `pooled` for Postgres with connections that are kept) and where.
Then, for each line with a number of seconds, it stores one event per call for so long and prints how many a second.
"""

from __future__ import annotations

import sys
import time
import uuid

from dagster import EventLogEntry


def storage(kind: str, place: str):  # type: ignore[no-untyped-def]
    """Its own event log storage, as its dagster.yaml would make it; `pooled` as its web server has it."""
    if kind == "sqlite":
        from dagster._core.storage.event_log import SqliteEventLogStorage

        return SqliteEventLogStorage(place)
    from dagster_postgres.event_log import PostgresEventLogStorage

    made = PostgresEventLogStorage(place)
    if kind == "pooled":
        made.optimize_for_webserver(statement_timeout=0, pool_recycle=3600, max_overflow=5)
    return made


def main() -> None:
    """Serve until the input ends."""
    events = storage(*sys.argv[1:])
    run_id = str(uuid.uuid4())
    number = 0

    def entry() -> EventLogEntry:
        # A log message: the least it can be asked to store. It keeps neither ids, counts nor states.
        return EventLogEntry(
            error_info=None,
            level=20,
            user_message=f"row {number} of the table was read",
            run_id=run_id,
            timestamp=time.time(),
            step_key="extract",
            job_name="benchmark",
            dagster_event=None,
        )

    events.store_event(entry())
    print("ready", flush=True)
    for line in sys.stdin:
        spent, count = 0.0, 0
        while spent < float(line):
            number += 1
            made = entry()
            begun = time.perf_counter()
            events.store_event(made)
            spent += time.perf_counter() - begun
            count += 1
        print(count / spent, flush=True)


if __name__ == "__main__":
    main()
