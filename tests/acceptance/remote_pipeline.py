"""A pipeline that records to a server: numbered messages and lines of output, until it is told to stop."""

from __future__ import annotations

import sys
import time
from pathlib import Path

import daglens

if __name__ == "__main__":
    url, run_id, stop = sys.argv[1], sys.argv[2], Path(sys.argv[3])
    with daglens.start_run("remote", run_id=run_id, to=url, heartbeat_timeout_s=3600) as run:
        number = 0
        for part in range(1_000_000):
            with run.step(f"part {part}") as step:
                for _ in range(100):
                    step.log.info("message %d", number)
                    print(f"line {number}", flush=True)
                    number += 1
                    time.sleep(0.001)
            if stop.exists():
                break
