"""A program that deletes runs and stands still at a place, to be killed there: `deleting.py HOME PLACE RUN…`.

It says `at PLACE` when it is there. Places: `closed`, `logs`, `artifacts`, `events` (some are gone), `rows` (only the
row is left).
"""

from __future__ import annotations

import signal
import sys
from typing import Any

from daglens import upkeep
from daglens.instance import Instance


def main() -> None:
    home, place, *run_ids = sys.argv[1:]
    with Instance.open(home=home) as instance:

        def stand(*_: Any) -> Any:
            print(f"at {place}", flush=True)
            signal.pause()

        if place == "events":
            upkeep._DELETE_EVENTS = 100
            delete = instance.events.delete

            def some(run_id: str, most: int) -> int:
                delete(run_id, most)
                return int(stand() or 0)

            instance.events.delete = some  # type: ignore[method-assign, assignment]
        else:
            storages: dict[str, Any] = {
                "closed": instance.compute_logs,
                "logs": instance.artifacts,
                "artifacts": instance.events,
                "rows": instance.runs,
            }
            storages[place].delete = stand
        for run_id in run_ids:
            upkeep.delete_run(instance, run_id)


if __name__ == "__main__":
    main()
