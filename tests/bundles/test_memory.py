"""Bundles of any size go through memory of one size."""

from __future__ import annotations

import tracemalloc
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from daglens.bundles.exporting import export_file
from daglens.bundles.importing import import_file
from daglens.bundles.serving import open_bundles
from daglens.instance import Instance
from daglens.storage import event_types as et
from daglens.storage.records import ComputeIO, EventDraft, EventQuery, EventsOrder, LogKey, NewRun

MIB = 1_048_576
SMALL, LARGE = 8 * MIB, 64 * MIB
# What differs between the two is eight times as much; memory may differ by a tenth of that.
RATIO = 1.8


@contextmanager
def peak() -> Iterator[list[int]]:
    """The most memory (bytes) that Python held within the block, beyond what it held before."""
    measured: list[int] = []
    tracemalloc.start()
    try:
        yield measured
        measured.append(tracemalloc.get_traced_memory()[1])
    finally:
        tracemalloc.stop()


def with_log(instance: Instance, size: int) -> str:
    """A run with one log of `size` bytes; its id."""
    run_id = f"log of {size}"
    instance.create_run(NewRun(run_id, "nightly"))
    instance.append(run_id, [EventDraft(et.RUN_START), EventDraft(et.RUN_SUCCESS)])
    piece = bytes(range(256)) * (MIB // 256)
    for start in range(0, size, MIB):
        instance.compute_logs.append(LogKey(run_id, "extract"), ComputeIO.STDOUT, start, piece)
    instance.compute_logs.mark_complete(LogKey(run_id, "extract"), ComputeIO.STDOUT)
    return run_id


def with_events(instance: Instance, size: int) -> str:
    """A run whose events have `size` bytes of data; its id."""
    run_id = f"events of {size}"
    instance.create_run(NewRun(run_id, "nightly"))
    batch = [EventDraft(et.LOG_MESSAGE, data={"text": "x" * 65_536}) for _ in range(16)]
    for _ in range(0, size, MIB):
        instance.append(run_id, batch)
    return run_id


@pytest.mark.parametrize("record", [with_log, with_events])
def test_memory_does_not_grow_with_the_run(
    tmp_path: Path, open_instance: Callable[[str], Instance], record: Callable[[Instance, int], str]
) -> None:
    """Export, import, import once more (which compares) and serving a bundle of 64 MiB take as much memory as of 8 MiB:
    far less than either."""
    source, target = open_instance("source"), open_instance("target")
    used: dict[str, list[int]] = {"export": [], "import": [], "compare": [], "open": [], "read": []}
    # The smallest first, unmeasured: modules, caches and pools are made by the first of all.
    for size in (MIB, SMALL, LARGE):
        run_id, path = record(source, size), tmp_path / f"{size}"
        found = []
        with peak() as measured:
            export_file(source, run_id, path)
        found += measured
        for _ in ("import", "compare"):
            with peak() as measured:
                import_file(target, path)
            found += measured
        with peak() as measured:
            bundles = open_bundles([path])
        found += measured
        with bundles, peak() as measured:
            _read_everything(bundles, run_id)
        found += measured
        for name, bytes_held in zip(used, found, strict=True):
            used[name].append(bytes_held)
        path.unlink()
    for name, (_, small, large) in used.items():
        assert large < RATIO * small, (name, used)
        assert large < LARGE / 2, (name, used)


def _read_everything(bundles: Instance, run_id: str) -> None:
    for order in EventsOrder:
        place = None
        while True:
            (page,) = bundles.events.read([EventQuery(run_id, place, 10, order=order)])
            if not page.has_more:
                break
            place = page.through_seq
    for log in bundles.compute_logs.list([run_id])[run_id]:
        for start in range(0, log.size_bytes, 262_144):
            bundles.compute_logs.read(log.key, log.io, start, 262_144)
