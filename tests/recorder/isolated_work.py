"""Functions that tests call in child processes: they must be found by import."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

from daglens.recorder import current_step


def double(number: int, *, extra: int = 0) -> int:
    print("doubling", number)
    print("on stderr", file=sys.stderr)
    subprocess.run(["sh", "-c", "echo grandchild"], check=True)
    return 2 * number + extra


def record_everything() -> int:
    step = current_step()
    assert step is not None
    step.materialize("made", {"n": 1})
    step.expect("holds", True)
    step.log.warning("hello from the child")
    step.artifact_path("from/child.txt").write_text("x")
    threads = [threading.Thread(target=step.log.info, args=("thread %s", n)) for n in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return os.getpid()


def fail() -> None:
    try:
        raise KeyError("inner")
    except KeyError as error:
        raise ValueError("outer") from error


class Unpicklable(Exception):
    def __init__(self, one: int, two: int) -> None:
        super().__init__("two arguments")


def fail_oddly() -> None:
    raise Unpicklable(1, 2)


def die(number: int) -> None:
    print("last words")
    os.kill(os.getpid(), number)
    time.sleep(60)


def leave(code: int) -> None:
    os._exit(code)


def exit_with(code: int) -> None:
    sys.exit(code)


def give(value: Any) -> Any:
    return value


def give_lambda() -> Any:
    return lambda: None


def skip() -> None:
    step = current_step()
    assert step is not None
    step.skip("not today")


def flaky(folder: str) -> int:
    step = current_step()
    assert step is not None
    print("attempt", step.attempt)
    marker = Path(folder, "tried")
    if marker.exists():
        return 7
    marker.touch()
    raise OSError("first time")


def meet(folder: str, name: str, other: str) -> str:
    """Waits until the other one is there: only works when both run at once."""
    Path(folder, name).touch()
    give_up_at = time.monotonic() + 60
    while not Path(folder, other).exists():
        assert time.monotonic() < give_up_at
        time.sleep(0.01)
    return name


def wait_for_ever(folder: str, *, stubborn: bool = False) -> None:
    if stubborn:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
    grandchild = subprocess.Popen(["sleep", "3600"])
    Path(folder, "pids.part").write_text(f"{os.getpid()} {grandchild.pid}")
    Path(folder, "pids.part").rename(Path(folder, "pids"))
    print("waiting", flush=True)
    time.sleep(3600)


def many_events(count: int) -> None:
    step = current_step()
    assert step is not None
    for number in range(count):
        step.log.info("%d", number)
