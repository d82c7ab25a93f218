"""A process that appends to a run of an instance: HOME RUN NAME EVENTS LARGEST STOP.

It prints "ready", waits for a line, and then appends events NAME:0, NAME:1, … in batches of random size up to LARGEST:
EVENTS of them, and then more until there is a file STOP. While the storage doesn't answer, it sends the same events
again, by the same ids. At the end it prints how many events it has sent.
"""

from __future__ import annotations

import random
import sys
import time
from pathlib import Path

from daglens.instance import Instance
from daglens.storage.errors import StorageUnavailable
from daglens.storage.records import EventDraft


def main(home: str, run_id: str, name: str, count: str, largest: str, stop: str) -> None:
    chosen = random.Random(name)
    with Instance.open(home=home) as instance:
        instance.append(run_id, [])
        print("ready", flush=True)
        sys.stdin.readline()
        number = 0
        while number < int(count) or not Path(stop).exists():
            size = chosen.choice((1, 1 + int(largest) // 20, int(largest)))
            if number < int(count):
                size = min(size, int(count) - number)
            texts = [f"{name}:{number + n}" for n in range(size)]
            drafts = [EventDraft("LOG_MESSAGE", message=text, event_id=text) for text in texts]
            while True:
                try:
                    appended = instance.append(run_id, drafts)
                    break
                except StorageUnavailable:
                    time.sleep(chosen.random() * 0.1)
            assert appended.accepted + appended.duplicates == size, appended
            number += size
        print(number)


if __name__ == "__main__":
    main(*sys.argv[1:])
