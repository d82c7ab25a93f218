"""A program of its own that appends to a run: `writer.py HOME RUN COUNT`; with `end`, the run's end as well."""

from __future__ import annotations

import sys

from daglens.instance import Instance
from daglens.storage.records import EventDraft


def main() -> None:
    home, run_id, count = sys.argv[1], sys.argv[2], int(sys.argv[3])
    with Instance.open(home=home) as instance:
        print("open", flush=True)
        for _ in range(count):
            instance.append(run_id, [EventDraft("LOG_MESSAGE", message="from elsewhere")])
        if "end" in sys.argv[4:]:
            instance.append(run_id, [EventDraft("RUN_SUCCESS")])


if __name__ == "__main__":
    main()
