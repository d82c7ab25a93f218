"""The storages that read bundles answer as any other: the topics of the conformance suites that are about reading.

What a topic writes goes to a storage in memory; what it reads comes out of bundles of all that.
"""

from __future__ import annotations

import dataclasses
import io
import itertools
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

from daglens.bundles.exporting import write_bundle
from daglens.bundles.serving import open_bundles
from daglens.instance import Instance
from daglens.storage.bundle import (
    BundleComputeLogManager,
    BundleConfig,
    BundleEventLogStorage,
    BundleRunStorage,
    Bundles,
    NoArtifactStorage,
)
from daglens.storage.bundle.lines import InvalidBundle
from daglens.storage.bundle.opened import ReadOnlyBundle
from daglens.storage.contract import ArtifactStorage, ComputeLogManager, EventLogStorage, RunStorage
from daglens.storage.errors import ArtifactNotFound, InvalidName, StorageUnavailable
from daglens.storage.records import (
    ComputeIO,
    EventDraft,
    EventQuery,
    EventSlice,
    EventsOrder,
    Head,
    Health,
    LogKey,
    NewRun,
    RunState,
)
from daglens.testing.compute_logs.closing import LogClosing
from daglens.testing.compute_logs.listing import LogListing
from daglens.testing.compute_logs.reading import LogReading
from daglens.testing.events.basics import EventLogStorageBasics
from daglens.testing.events.filtering import EventFiltering
from daglens.testing.events.folding import EventFolding
from daglens.testing.events.reading import EventReading
from daglens.testing.events.steps import EventSteps
from daglens.testing.runs.basics import RunStorageBasics
from daglens.testing.runs.filtering import RunFiltering
from daglens.testing.runs.paging import RunPaging
from tests.bundles.conftest import RUN

READS = {"read", "heads", "steps", "get", "page", "count", "tag_keys", "tag_values", "pipeline_names", "list"}


class ThroughBundles:
    """A storage of an instance in memory that is read through bundles of its runs, made anew after each change."""

    def __init__(self, section: str, storage_class: Callable[[Bundles], Any], folder: Path) -> None:
        self._instance = Instance.ephemeral()
        self._written = self._instance.storages[section]
        self._class = storage_class
        self._folder = folder
        self._numbers = itertools.count()
        self._run_ids: dict[str, None] = {}
        self._read: Any = None

    def __getattr__(self, name: str) -> Any:
        if name in READS:
            if self._read is None:
                self._read = self._class(Bundles([self._bundle(run_id) for run_id in self._run_ids]))
            return getattr(self._read, name)
        return self._writer(name)

    def _writer(self, name: str) -> Any:
        method = getattr(self._written, name)
        if not callable(method):
            return method

        def write(first: Any, *args: Any, **kwargs: Any) -> Any:
            answer = method(first, *args, **kwargs)
            if name == "delete":
                for run_id in first:
                    self._run_ids.pop(run_id, None)
            else:
                self._run_ids[first if isinstance(first, str) else first.run_id] = None
            self.close_read()
            return answer

        return write

    def _bundle(self, run_id: str) -> Path:
        if self._instance.run(run_id) is None:
            self._instance.create_run(NewRun(run_id, "of the test"))
        path = self._folder / str(next(self._numbers))
        with path.open("wb") as stream:
            write_bundle(self._instance, run_id, stream)
        return path

    def close_read(self) -> None:
        if self._read is not None:
            self._read.close()
            self._read = None

    def close(self) -> None:
        self.close_read()
        self._instance.close()


class EventsThroughBundles(ThroughBundles):
    """Heads say by themselves which log they are of and when it was heard: those of a bundle are its own."""

    def heads(self, run_ids: Sequence[str]) -> Mapping[str, Head]:
        found: Mapping[str, Head] = ThroughBundles.__getattr__(self, "heads")(run_ids)
        return {run_id: self._as_written(head) for run_id, head in found.items()}

    def read(self, queries: Sequence[EventQuery]) -> Sequence[EventSlice]:
        found: Sequence[EventSlice] = ThroughBundles.__getattr__(self, "read")(queries)
        return [
            answer if answer.head is None else answer._replace(head=self._as_written(answer.head)) for answer in found
        ]

    def _as_written(self, head: Head) -> Head:
        theirs = self._instance.events.heads([head.run_id])[head.run_id]
        return dataclasses.replace(head, incarnation=theirs.incarnation, heard_at_us=theirs.heard_at_us)


class TestEvents(EventReading, EventFiltering, EventFolding, EventSteps):
    """Places, order, filters, counts and step states."""

    @pytest.fixture
    def storage(self, tmp_path: Path) -> Any:
        storage = EventsThroughBundles("event_log_storage", BundleEventLogStorage, tmp_path)
        yield storage
        storage.close()


class TestRuns(RunFiltering, RunPaging):
    """Lists, filters and pages."""

    @pytest.fixture
    def storage(self, tmp_path: Path) -> Any:
        storage = ThroughBundles("run_storage", BundleRunStorage, tmp_path)
        yield storage
        storage.close()


class TestLogs(LogReading, LogListing, LogClosing):
    """Bytes from any place, and what is listed."""

    @pytest.fixture
    def compute_logs(self, tmp_path: Path) -> Any:
        storage = ThroughBundles("compute_logs", BundleComputeLogManager, tmp_path)
        yield storage
        storage.close()


class TestRunBasics(RunStorageBasics):
    """Configuration, health, closing."""

    @pytest.fixture
    def storage(self, file: Path) -> RunStorage:
        return BundleRunStorage.from_config(BundleConfig((str(file),)), file.parent)


class TestEventBasics(EventLogStorageBasics):
    """Configuration, health, closing."""

    @pytest.fixture
    def storage(self, file: Path) -> EventLogStorage:
        return BundleEventLogStorage.from_config(BundleConfig((file.name,)), file.parent)


def test_every_class_fulfils_its_contract(file):
    """Also those without a suite of their own here."""
    with open_bundles([file]) as bundles:
        assert isinstance(bundles.compute_logs, ComputeLogManager)
        assert isinstance(bundles.artifacts, ArtifactStorage)
        assert all(storage.health() == Health(True) for storage in bundles.storages.values())


def test_in_a_dagster_yaml(file, tmp_path):
    """The classes can be named there as any others; what is shown as the configuration opens the same again."""
    with open_bundles([file]) as bundles:
        yaml = bundles.info_yaml()
    (tmp_path / "home").mkdir()
    (tmp_path / "home" / "dagster.yaml").write_text(yaml)
    with Instance.open(home=tmp_path / "home") as instance:
        assert instance.run(RUN) is not None
        assert instance.info_yaml() == yaml


def test_nothing_can_be_written(file):
    """Each method that would change something says that a bundle is only read."""
    key = LogKey(RUN, "extract")
    with open_bundles([file]) as bundles:
        runs, events, logs = bundles.runs, bundles.events, bundles.compute_logs
        writes: list[Callable[[], object]] = [
            lambda: runs.add(NewRun("new", "p")),
            lambda: runs.add_tags(RUN, [("a", "b")]),
            lambda: runs.heartbeat(RUN, 60),
            lambda: runs.delete([RUN]),
            lambda: events.append(RUN, [EventDraft("LOG_MESSAGE")]),
            lambda: events.close_runs([RUN]),
            lambda: events.delete(RUN),
            lambda: logs.capture(key),
            lambda: logs.append(key, ComputeIO.STDOUT, 0, b""),
            lambda: logs.mark_complete(key, ComputeIO.STDOUT),
            lambda: logs.delete(RUN),
            lambda: bundles.artifacts.folder(RUN),
        ]
        for write in writes:
            with pytest.raises(ReadOnlyBundle, match="A run bundle can only be read"):
                write()
        assert runs.project(RUN, RunState()) == runs.get([RUN])[RUN]
        assert bundles.artifacts.list(RUN).artifacts == ()
        assert bundles.artifacts.delete(RUN) == 0
        with pytest.raises(ArtifactNotFound):
            bundles.artifacts.open(RUN, "report.html")


def test_nothing_ever_changes(file):
    """The feed of changes has one position, and refuses those of others."""
    with open_bundles([file]) as bundles:
        position = bundles.runs.changes(None, 10).position
        assert bundles.runs.changes(position, 10) == bundles.runs.changes(None, 10)
        with pytest.raises(InvalidName):
            bundles.runs.changes("0", 10)


def test_cursors_outlive_the_server(file):
    """The log of a bundle is the same log whenever the file is opened."""
    heads = []
    for _ in range(2):
        with open_bundles([file]) as bundles:
            heads.append(bundles.events.heads([RUN])[RUN])
    assert heads[0] == heads[1]
    assert len(heads[0].incarnation) == 16


def test_cursors_of_another_bundle_are_not_taken(source, file):
    """A newer bundle of the run is another log: what a cursor of the older one meant may stand elsewhere."""
    with open_bundles([file]) as bundles:
        before = bundles.events.heads([RUN])[RUN].incarnation
    source.append(RUN, [EventDraft("LOG_MESSAGE")])
    with file.open("wb") as stream:
        write_bundle(source, RUN, stream)
    with open_bundles([file]) as bundles:
        assert bundles.events.heads([RUN])[RUN].incarnation != before


def test_two_bundles_of_one_run(file, tmp_path):
    """Which of them would be meant is not guessed."""
    (tmp_path / "copy").write_bytes(file.read_bytes())
    with pytest.raises(InvalidBundle, match=r"copy and .*census\.ndjson both hold run 'census'\. Leave one\."):
        open_bundles([file, tmp_path / "copy"])


def test_a_file_that_is_changed_while_it_is_served(file):
    """Health says so, and what can't be read any more is an error, not an answer."""
    with open_bundles([file]) as bundles:
        with file.open("r+b") as stream:
            stream.truncate(700)
        health = bundles.runs.health()
        assert not health.healthy
        assert "was changed after it was opened" in str(health.problem)
        with pytest.raises(StorageUnavailable, match="was changed after it was opened"):
            bundles.events.read([EventQuery(RUN, limit=1000)])


@pytest.mark.parametrize("size", [10, 70_000, 300_000])
def test_every_place_of_a_long_log(source, tmp_path, size):
    """Wherever a read begins and whichever way it goes, also where an event is longer than what is read at once."""
    source.create_run(NewRun("long", "p"))
    count = 150
    for n in range(1, count + 1):
        source.append(
            "long", [EventDraft("LOG_MESSAGE", message=str(n), data={"x": "y" * (size if n % 7 == 0 else 1)})]
        )
    stream = io.BytesIO()
    write_bundle(source, "long", stream)
    path = tmp_path / "long"
    path.write_bytes(stream.getvalue())
    with open_bundles([path]) as bundles:
        for after in range(0, count + 2, 1 if size == 10 else 13):
            for order, expected in (
                (EventsOrder.OLDEST_FIRST, list(range(after + 1, count + 1))[:5]),
                (EventsOrder.NEWEST_FIRST, list(range(min(after - 1, count), 0, -1))[:5]),
            ):
                (page,) = bundles.events.read([EventQuery("long", after, 5, order=order)])
                assert [event.seq for event in page.events] == expected
                assert [event.message for event in page.events] == list(map(str, expected))


def test_artifacts_take_no_configuration():
    """There is nothing to say about what isn't there."""
    assert isinstance(NoArtifactStorage.from_config(NoArtifactStorage.Config(), Path("/")), NoArtifactStorage)
