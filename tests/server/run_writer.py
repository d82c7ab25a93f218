"""A program of its own that changes runs of a SQLite instance: `run_writer.py HOME`. It creates `there-0` … `there-9`,
starts each, ends the even ones and deletes the last; then it says so."""

from __future__ import annotations

import sys

from daglens import upkeep
from daglens.instance import Instance
from daglens.storage.records import EventDraft, NewRun


def main() -> None:
    with Instance.open(home=sys.argv[1]) as instance:
        for n in range(10):
            instance.create_run(NewRun(f"there-{n}", "elsewhere", tags=(("n", str(n)),)))
            instance.append(f"there-{n}", [EventDraft("RUN_START")])
            if n % 2 == 0:
                instance.append(f"there-{n}", [EventDraft("RUN_SUCCESS")])
        upkeep.delete_run(instance, "there-8")
        print("done", flush=True)


if __name__ == "__main__":
    main()
