"""Ending a process with everything that it has started."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import time
from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

POLL_S = 0.02


class ProcessId(NamedTuple):
    """A process for certain: its id may be given to another one, its start time isn't."""

    pid: int
    started: str


def descendants(pid: int) -> list[ProcessId]:
    """Children of a process and theirs, as far as /proc tells; elsewhere none."""
    return _below(pid, _by_parent())


def _by_parent() -> dict[int, list[ProcessId]]:
    children: dict[int, list[ProcessId]] = {}
    with contextlib.suppress(OSError):
        for name in os.listdir("/proc"):
            if name.isdigit() and (found := _stat(int(name))) is not None:
                children.setdefault(found[0], []).append(found[1])
    return children


def _below(pid: int, children: Mapping[int, Sequence[ProcessId]]) -> list[ProcessId]:
    tree: list[ProcessId] = []
    below = [pid]
    while below:
        for child in children.get(below.pop(), ()):
            tree.append(child)
            below.append(child.pid)
    return tree


class Families:
    """The children of this process at one moment, each with its descendants.

    Interrupted, `subprocess.run` kills its child alone: what a shell has started lives on, and nobody knows it as ours
    any more. Children that nobody has ended, as those of a pool, keep theirs.
    """

    def __init__(self) -> None:
        children = _by_parent()
        self._below = {child: _below(child.pid, children) for child in children.get(os.getpid(), ())}

    def end_orphans(self, grace_s: float) -> None:
        """Ask what those children have left behind that have ended since to end (SIGTERM); after `grace_s`, make it."""
        orphans = [one for child, below in self._below.items() if not lives(child) for one in below if lives(one)]
        send(orphans, signal.SIGTERM)
        give_up_at = time.monotonic() + grace_s
        while any(lives(one) for one in orphans):
            if time.monotonic() > give_up_at:
                send(orphans, signal.SIGKILL)
                return
            time.sleep(POLL_S)


def _stat(pid: int) -> tuple[int, ProcessId] | None:
    """Parent and identity; None: it has ended (a zombie has, too)."""
    try:
        with open(f"/proc/{pid}/stat", encoding="utf-8", errors="replace") as file:
            # The name in parentheses may hold anything, blanks and parentheses too.
            fields = file.read().rpartition(")")[2].split()
    except OSError:
        return None
    if fields[0] in "ZX":
        return None
    return int(fields[1]), ProcessId(pid, fields[19])


def lives(process: ProcessId) -> bool:
    """Whether it still runs."""
    found = _stat(process.pid)
    return found is not None and found[1] == process


def has_ended(pid: int) -> bool:
    """Whether no process of this id runs (any more); where /proc tells, a zombie doesn't."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return True
    except OSError:
        return False
    return os.path.exists("/proc/self/stat") and _stat(pid) is None


def send(processes: Iterable[ProcessId], number: int) -> None:
    """Send a signal to those that still run."""
    for process in processes:
        if lives(process):
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.kill(process.pid, number)


def end_group(process: subprocess.Popen[bytes], grace_s: float) -> None:
    """Ask a child of ours, the process group that it leads and its descendants in others (`timeout` makes one of its
    own, and so does a new session) to end (SIGTERM); after `grace_s`, make them."""
    outside = _outside(process.pid, descendants(process.pid))
    _signal_group(process.pid, signal.SIGTERM)
    send(outside, signal.SIGTERM)
    give_up_at = time.monotonic() + grace_s
    while time.monotonic() < give_up_at:
        process.poll()  # a leader that nobody has waited for counts as a member
        if not _signal_group(process.pid, 0) and not any(lives(one) for one in outside):
            return
        time.sleep(POLL_S)
    # With what they have started since.
    left = [one for root in (process.pid, *(one.pid for one in outside if lives(one))) for one in descendants(root)]
    _signal_group(process.pid, signal.SIGKILL)
    send({*outside, *left}, signal.SIGKILL)


def _outside(group: int, processes: Iterable[ProcessId]) -> list[ProcessId]:
    """Those that are in another process group."""
    found = []
    for process in processes:
        with contextlib.suppress(OSError):
            if os.getpgid(process.pid) != group:
                found.append(process)
    return found


def _signal_group(group: int, number: int) -> bool:
    """False when the group has no members any more."""
    try:
        os.killpg(group, number)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


def end_tree(process: subprocess.Popen[bytes], grace_s: float) -> None:
    """Ask a child of ours and its descendants to end (SIGTERM); after `grace_s`, make them (SIGKILL)."""
    tree = descendants(process.pid)
    process.send_signal(signal.SIGTERM)
    send(tree, signal.SIGTERM)
    give_up_at = time.monotonic() + grace_s
    while time.monotonic() < give_up_at:
        if process.poll() is not None and not any(lives(one) for one in tree):
            return
        time.sleep(POLL_S)
    tree += [one for one in descendants(process.pid) if one not in tree]
    process.kill()
    send(tree, signal.SIGKILL)
    process.wait()
