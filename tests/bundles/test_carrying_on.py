"""Imports that were cut off, repeated, or met something else on their way."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from daglens.bundles import Part, claim
from daglens.bundles.event_pages import EventsGone
from daglens.bundles.exporting import BundleNotWritten, export_file
from daglens.bundles.importing import BundleConflict, ImportStopped, import_file
from daglens.bundles.serving import open_bundles
from daglens.instance import Instance
from daglens.storage import event_types as et
from daglens.storage.bundle.lines import EndLine, InvalidBundle, end_line
from daglens.storage.contract import TOMBSTONE_DAYS
from daglens.storage.errors import RunDeleted, StorageUnavailable
from daglens.storage.records import Appended, ComputeIO, EventDraft, EventQuery, LogKey, NewRun, RunFilter, RunRecord
from daglens.testing.threads import Clock
from daglens.upkeep import delete_run
from tests.bundles.conftest import RUN, bundle_of
from tests.docs.snippets import ROOT

BIG = "big"
KEY = LogKey(BIG, "extract")
MIB = 1_048_576


def run_of(instance: Instance, run_id: str) -> RunRecord:
    """A run that is there."""
    run = instance.run(run_id)
    assert run is not None
    return run


@pytest.fixture
def big(source: Instance, tmp_path: Path) -> Path:
    """The bundle of a run of 2,002 events and 5 MiB of logs: several appends of each."""
    source.create_run(NewRun(BIG, "nightly", tags=(("team", "core"),)))
    source.append(BIG, [EventDraft(et.RUN_START)])
    for start in range(0, 2000, 500):
        # Half of them without an event id: nothing but their place tells whether they are here.
        source.append(
            BIG,
            [
                EventDraft(et.LOG_MESSAGE, message=str(n), event_id=f"id {n}" if n % 2 else None)
                for n in range(start, start + 500)
            ],
        )
    source.append(BIG, [EventDraft(et.RUN_SUCCESS)])
    data = b"".join(b"%09d\n" % n for n in range(MIB // 2))
    source.compute_logs.append(KEY, ComputeIO.STDOUT, 0, data[: 4 * MIB], complete=True)
    source.compute_logs.append(KEY, ComputeIO.STDERR, 0, data[:MIB])
    source.compute_logs.mark_complete(KEY, ComputeIO.STDERR, truncated=True)
    path = tmp_path / "big.ndjson"
    export_file(source, BIG, path)
    return path


class FailingAt:
    """A storage whose nth write fails; before it is carried out, or after."""

    def __init__(self, storage: Any, nth: list[int], *, after: bool) -> None:
        self._storage = storage
        self._nth = nth
        self._after = after

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._storage, name)
        if name not in ("append", "mark_complete", "add", "add_tags"):
            return found

        def call(*args: Any, **kwargs: Any) -> Any:
            self._nth[0] -= 1
            if self._nth[0] != 0:
                return found(*args, **kwargs)
            if self._after:
                found(*args, **kwargs)
            raise StorageUnavailable("The disk is full.")

        return call


@pytest.mark.parametrize("after", [False, True], ids=["before the write", "after the write"])
def test_cut_off_at_every_write(big, source, open_instance, after):
    """Whichever write fails, stored or not: the next import carries on, and in the end nothing is missing or double.
    Until then the run doesn't look finished."""
    target = open_instance("target")
    nth, whole = 0, bundle_of(source, BIG)
    stopped = []
    while True:
        nth += 1
        counter = [nth]
        failing = dataclasses.replace(
            target,
            runs=FailingAt(target.runs, counter, after=after),
            events=FailingAt(target.events, counter, after=after),
            compute_logs=FailingAt(target.compute_logs, counter, after=after),
        )
        try:
            import_file(failing, big)
        except (ImportStopped, StorageUnavailable) as error:
            stopped.append(str(error))
        else:
            break
        if target.run(BIG) is not None and bundle_of(target, BIG) != whole:
            assert run_of(target, BIG).status != "SUCCESS"
        import_file(target, big)
        assert bundle_of(target, BIG) == whole
        delete_run(target, BIG)
        target.close()
        target = open_instance(f"target {nth}")
    assert len(stopped) > 8
    assert all("The disk is full." in message for message in stopped)


def test_the_sentence_tells_how_far_it_came(big, target):
    """Events and bytes that are here are named, so that nobody takes the run for whole."""
    counter = [5]
    failing = dataclasses.replace(target, events=FailingAt(target.events, counter, after=False))
    with pytest.raises(ImportStopped) as stopped:
        import_file(failing, big)
    assert str(stopped.value) == (
        "The import stopped half-way; importing the same file again carries on. "
        f"Run big: 2000 of 2002 events and {5 * MIB} of {5 * MIB} bytes of logs are here. "
        "The storage does not answer. The disk is full."
    )
    done = import_file(target, big)
    assert (done.created, done.events, done.events_before) == (False, 2, 2000)
    assert (done.log_bytes, done.log_bytes_before) == (0, 5 * MIB)


@pytest.mark.parametrize("lines", [1, 2, 4, 6])
def test_killed(big, source, open_instance, tmp_path, lines):
    """`kill -9` in the middle of logs or events; the next import carries on."""
    child = subprocess.Popen(
        [sys.executable, "-m", "tests.bundles.importer", str(tmp_path / "killed"), str(big)],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert child.stdout is not None
    told = [child.stdout.readline() for _ in range(lines)]
    child.kill()
    child.communicate(timeout=60)
    assert all(told)
    target = open_instance("killed")
    import_file(target, big)
    assert bundle_of(target, BIG) == bundle_of(source, BIG)


def test_a_second_import_changes_nothing(big, target):
    """Everything is compared, nothing is stored: not even the time of the last change moves."""
    import_file(target, big)
    before = run_of(target, BIG)
    for _ in range(2):
        done = import_file(target, big)
        assert (done.created, done.events, done.log_bytes, done.notes) == (False, 0, 0, ())
    assert run_of(target, BIG) == before


def test_back_into_the_instance_it_came_from(source, file):
    """The run is here as it is in the bundle, so there is nothing to do."""
    before = bundle_of(source)
    assert import_file(source, file).events == 0
    assert bundle_of(source) == before


def test_a_run_that_went_on(source, target, tmp_path):
    """A newer bundle of a run brings what is new; an older one changes nothing and says how far the run is."""
    source.create_run(NewRun("r", "p", tags=(("a", "1"),)))
    source.append("r", [EventDraft(et.RUN_START), EventDraft(et.LOG_MESSAGE, message="one")])
    source.compute_logs.append(LogKey("r", "s"), ComputeIO.STDOUT, 0, b"begin")
    export_file(source, "r", tmp_path / "old")
    source.append("r", [EventDraft(et.LOG_MESSAGE, message="two"), EventDraft(et.RUN_SUCCESS)])
    source.runs.add_tags("r", [("a", "2"), ("b", "3")])
    source.compute_logs.append(LogKey("r", "s"), ComputeIO.STDOUT, 5, b" end", complete=True)
    source.compute_logs.append(LogKey("r", "t"), ComputeIO.STDOUT, 0, b"more", complete=True)
    export_file(source, "r", tmp_path / "new")

    assert import_file(target, tmp_path / "old").created
    assert run_of(target, "r").status == "STARTED"
    done = import_file(target, tmp_path / "new")
    assert (done.created, done.events, done.events_before, done.log_bytes) == (False, 2, 2, 8)
    assert done.notes == ("Tags that have other values here stay as they are: a.",)
    assert run_of(target, "r").tags == (("a", "1"), ("b", "3"))
    assert run_of(target, "r").status == "SUCCESS"
    done = import_file(target, tmp_path / "old")
    assert (done.events, done.log_bytes) == (0, 0)
    assert done.notes == ("The run has 2 more events here than in the bundle.",)
    target.runs.add_tags("r", [("a", "2")])
    assert bundle_of(target, "r") == bundle_of(source, "r")


def test_another_run_of_the_same_id(source, target, file):
    """What was created with other values is not mixed with it; the sentence names what differs."""
    target.create_run(NewRun(RUN, "another", run_config={"rows": 4}))
    with pytest.raises(BundleConflict) as conflict:
        import_file(target, file)
    assert str(conflict.value).endswith(
        "Run census differs in pipeline_name, run_config, step_keys_to_execute, parent_run_id, root_run_id, "
        "created_at_us, created_by."
    )
    assert target.events.heads([RUN]) == {}
    assert target.compute_logs.list([RUN])[RUN] == []


def test_other_events(source, target, file):
    """A run that went another way after the same beginning: the first event that differs is named."""
    import_file(target, file)
    source.append(RUN, [EventDraft(et.LOG_MESSAGE, message="here", timestamp_us=1)])
    target.append(RUN, [EventDraft(et.LOG_MESSAGE, message="there", timestamp_us=1)])
    source.compute_logs.append(LogKey(RUN, "new"), ComputeIO.STDOUT, 0, b"new")
    export_file(source, RUN, file, overwrite=True)
    before = bundle_of(target)
    with pytest.raises(BundleConflict, match="Run census: event 23 here is not that of the bundle"):
        import_file(target, file)
    assert bundle_of(target) == before


@pytest.mark.parametrize(
    ("theirs", "ours", "closed", "said"),
    [
        (b"abcdef", b"abX", False, "has other bytes here, behind byte 0"),
        (b"abcdef", b"abcdefghX", False, None),
        (b"abcdef", b"abc", True, "ended here after 3 bytes; the bundle has 6"),
        (b"abcdef", b"abc", False, None),
        (b"abc", b"abcdef", True, None),
    ],
)
def test_other_bytes(source, target, tmp_path, theirs, ours, closed, said):
    """A log that is here is compared before anything is stored: one is the beginning of the other, or it is told."""
    key = LogKey("r", "s")
    for instance in (source, target):
        instance.create_run(NewRun("r", "p", created_at_us=1))
    source.append("r", [EventDraft(et.RUN_SUCCESS)])
    source.compute_logs.append(key, ComputeIO.STDOUT, 0, theirs, complete=True)
    target.compute_logs.append(key, ComputeIO.STDOUT, 0, ours, complete=closed)
    export_file(source, "r", tmp_path / "bundle")
    if said is None:
        import_file(target, tmp_path / "bundle")
        longer = max(theirs, ours, key=len)
        assert target.compute_logs.read(key, ComputeIO.STDOUT, 0, 100).data == longer
    else:
        with pytest.raises(BundleConflict, match=said):
            import_file(target, tmp_path / "bundle")
        assert target.compute_logs.read(key, ComputeIO.STDOUT, 0, 100).data == ours
        assert target.events.heads(["r"]) == {}


def test_a_deleted_run_stays_deleted(target, file):
    """Its id is closed for 90 days; nothing is stored."""
    import_file(target, file)
    delete_run(target, RUN)
    with pytest.raises(RunDeleted):
        import_file(target, file)
    assert target.runs.page(RunFilter()).runs == []
    assert target.compute_logs.list([RUN])[RUN] == []


def test_a_run_that_was_deleted_long_ago(target, file, monkeypatch):
    """After 90 days its id is free, also where nothing else was deleted since."""
    import_file(target, file)
    delete_run(target, RUN)
    clock = Clock(target.runs.now_us())
    clock.advance_days(TOMBSTONE_DAYS + 1)
    monkeypatch.setattr(target.runs, "_clock", clock)
    monkeypatch.setattr(target.events, "_clock", clock)
    assert import_file(target, file).created
    assert bundle_of(target) == file.read_bytes()


def test_a_writer_in_between(big, target):
    """Somebody else who appends to the run while it is imported: told, instead of two histories in one."""
    append = target.events.append

    def late(run_id: str, drafts: Sequence[EventDraft], *, heard: bool = True) -> Appended:
        if drafts[0].message == "999":
            append(run_id, [EventDraft(et.LOG_MESSAGE, message="mine")])
        appended: Appended = append(run_id, drafts, heard=heard)
        return appended

    class Late:
        def __getattr__(self, name: str) -> Any:
            return late if name == "append" else getattr(target.events, name)

    with pytest.raises(ImportStopped, match="Somebody else writes events of the run"):
        import_file(dataclasses.replace(target, events=Late()), big)


class Meanwhile:
    """Events, with something that happens once just before the nth append, which has been decided on by then."""

    def __init__(self, events: Any, nth: int, happens: Callable[[], object]) -> None:
        self._events = events
        self._left = nth
        self._happens = happens

    def __getattr__(self, name: str) -> Any:
        return getattr(self._events, name)

    def append(self, *args: Any, **kwargs: Any) -> Any:
        self._left -= 1
        if self._left == 0:
            self._happens()
        return self._events.append(*args, **kwargs)


@pytest.fixture
def identified(source: Instance, tmp_path: Path) -> Path:
    """The bundle of a run of 1,500 events with ids."""
    source.create_run(NewRun(BIG, "p", created_at_us=1))
    ids = [f"id {n}" for n in range(1500)]
    source.append(BIG, [EventDraft(et.LOG_MESSAGE, event_id=name, message=name) for name in ids])
    path = tmp_path / "identified"
    export_file(source, BIG, path)
    return path


def test_two_imports_at_once(identified, target):
    """Of a run whose events have ids: whoever is first stores each, and both bring it to its end."""
    events = Meanwhile(target.events, 2, lambda: import_file(target, identified))
    import_file(dataclasses.replace(target, events=events), identified)
    assert bundle_of(target, BIG) == identified.read_bytes()


def test_two_imports_at_once_of_events_without_ids(big, target, monkeypatch):
    """Nothing but its place tells such an event from its copy, so one import waits for the other; it gives up where
    that takes long, and nothing is stored twice."""
    monkeypatch.setattr(claim, "LEASE_S", 60.0)
    told: list[str] = []

    def second() -> None:
        with monkeypatch.context() as patched:
            patched.setattr(claim, "LEASE_S", 0.05)
            with pytest.raises(ImportStopped) as stopped:
                import_file(target, big)
        told.append(str(stopped.value))

    import_file(dataclasses.replace(target, events=Meanwhile(target.events, 3, second)), big)
    assert ["1000 of 2002 events" in message for message in told] == [True]
    assert told[0].endswith("Another import of the run is under way.")
    assert bundle_of(target, BIG) == big.read_bytes()
    assert import_file(target, big).events == 0


def test_an_import_that_waited_for_another(big, target):
    """It goes on where the other one came to: here, to the end."""

    class Waiting:
        """Leases; before the first is given, the other import comes and goes."""

        def __init__(self) -> None:
            self.waited = False

        def __getattr__(self, name: str) -> Any:
            return getattr(target.runs, name)

        def lease(self, name: str, holder: str, ttl_s: float) -> bool:
            if not self.waited:
                self.waited = True
                import_file(target, big)
            given: bool = target.runs.lease(name, holder, ttl_s)
            return given

    runs: Any = Waiting()
    import_file(dataclasses.replace(target, runs=runs), big)
    assert runs.waited
    assert bundle_of(target, BIG) == big.read_bytes()


def test_an_import_that_lost_its_connection(identified, target):
    """A storage that was not told of its own commit sends a batch twice, and then finds it: that is no stranger."""
    append = target.events.append
    events = Gone(target.events, append=lambda *args, **kwargs: append(*args, **kwargs) and append(*args, **kwargs))
    import_file(dataclasses.replace(target, events=events), identified)
    assert bundle_of(target, BIG) == identified.read_bytes()


def test_an_event_id_that_stands_twice(target, source, tmp_path):
    """No instance can keep such a run as it is: refused before anything is stored, with the line; it can be served."""
    source.create_run(NewRun("twice", "p", created_at_us=1))
    source.append("twice", [EventDraft(et.LOG_MESSAGE, event_id=name, timestamp_us=1) for name in "abc"])
    body, _ = bundle_of(source, "twice").replace(b'"event_id":"c"', b'"event_id":"a"').rsplit(b'{"end"', 1)
    path = tmp_path / "twice"
    path.write_bytes(body + end_line(EndLine(3, 0, 0, hashlib.sha256(body).hexdigest())))
    with pytest.raises(InvalidBundle) as refused:
        import_file(target, path)
    assert str(refused.value).endswith(
        f"{path}, line 5: Event 3 has the id of event 1; no instance keeps an event id of a run twice."
    )
    assert target.run("twice") is None
    with open_bundles([path]) as served:
        assert [event.seq for event in served.events.read([EventQuery("twice")])[0].events] == [1, 2, 3]


def test_a_file_that_changes_meanwhile(big, target):
    """What was checked is no longer what is read: told."""
    content = big.read_bytes()

    def spoil(part: Part, done: int, of: int) -> None:
        if part is Part.LOGS:
            big.write_bytes(content.replace(b'"bytes"', b'"butts"'))

    with pytest.raises(ImportStopped, match="was changed after it was opened"):
        import_file(target, big, on_step=spoil)
    big.write_bytes(content)
    import_file(target, big)
    assert bundle_of(target, BIG) == content


def test_steps_are_told(big, target):
    """Progress reaches its end in each part, and never goes back."""
    told: dict[Part, list[tuple[int, int]]] = {}
    import_file(target, big, on_step=lambda part, done, of: told.setdefault(part, []).append((done, of)))
    assert {part: steps[-1] for part, steps in told.items()} == {
        Part.CHECK: (big.stat().st_size,) * 2,
        Part.LOGS: (5 * MIB, 5 * MIB),
        Part.EVENTS: (2002, 2002),
    }
    for steps in told.values():
        assert steps == sorted(steps)
        assert len(steps) > 2


# ---------------------------------------------------------------- exporting


class Gone:
    """A storage that has lost something by the time it is read."""

    def __init__(self, storage: Any, **methods: Callable[..., Any]) -> None:
        self._storage = storage
        self._methods = methods

    def __getattr__(self, name: str) -> Any:
        return self._methods.get(name) or getattr(self._storage, name)


def test_what_vanishes_while_exporting_is_told(source, tmp_path):
    """Events that are gone or a log that is shorter: no bundle is left that claims to be whole."""
    read = source.events.read
    short = Gone(source.events, read=lambda queries: [s._replace(events=s.events[3:]) for s in read(queries)])
    (tmp_path / "out").mkdir()
    with pytest.raises(EventsGone, match=r"it is being deleted\. Run census, event 1\."):
        export_file(dataclasses.replace(source, events=short), RUN, tmp_path / "out" / "bundle")
    nothing = Gone(source.compute_logs, read=lambda *args: source.compute_logs.read(*args[:2], 10_000, 0))
    with pytest.raises(
        BundleNotWritten, match="stdout of step extract, attempt 1 has become shorter than its 26 bytes"
    ):
        export_file(dataclasses.replace(source, compute_logs=nothing), RUN, tmp_path / "out" / "bundle")
    assert list((tmp_path / "out").iterdir()) == []


@pytest.mark.parametrize("when", ["before the list of logs", "before the bytes of a log"])
def test_a_run_that_is_deleted_while_its_logs_are_exported(source, tmp_path, when):
    """Logs go before events: a bundle with every event and without its logs must not claim to be whole."""

    def deleted(method: Callable[..., Any]) -> Callable[..., Any]:
        def call(*args: Any) -> Any:
            source.events.close_runs([RUN])
            source.compute_logs.delete(RUN)
            return method(*args)

        return call

    name = "list" if when == "before the list of logs" else "read"
    logs = Gone(source.compute_logs, **{name: deleted(getattr(source.compute_logs, name))})
    with pytest.raises(RunDeleted):
        export_file(dataclasses.replace(source, compute_logs=logs), RUN, tmp_path / "bundle")
    assert not (tmp_path / "bundle").exists()


def test_an_open_log_that_is_truncated(source, target, tmp_path):
    """Nothing that an import could do would make such a log, so the bundle has it as an open one."""
    source.compute_logs.append(LogKey(RUN, "load"), ComputeIO.STDOUT, 0, b"cut")
    listed = source.compute_logs.list
    cut = Gone(
        source.compute_logs,
        list=lambda run_ids: {
            run_id: [file._replace(truncated=True) for file in files] for run_id, files in listed(run_ids).items()
        },
    )
    export_file(dataclasses.replace(source, compute_logs=cut), RUN, tmp_path / "bundle")
    import_file(target, tmp_path / "bundle")
    assert bundle_of(target) == (tmp_path / "bundle").read_bytes()
    marks = {log.key.step_key: (log.complete, log.truncated) for log in target.compute_logs.list([RUN])[RUN]}
    assert marks == {"load": (False, False), "extract": (True, True)}


def test_a_log_that_was_cut_elsewhere(source, target, tmp_path):
    """Here it seems whole; the bundle knows that more was written than was kept."""
    key = LogKey("r", "s")
    for instance in (source, target):
        instance.create_run(NewRun("r", "p", created_at_us=1))
        instance.compute_logs.append(key, ComputeIO.STDOUT, 0, b"cut", complete=True)
    source.compute_logs.mark_complete(key, ComputeIO.STDOUT, truncated=True)
    export_file(source, "r", tmp_path / "bundle")
    import_file(target, tmp_path / "bundle")
    assert bundle_of(target, "r") == (tmp_path / "bundle").read_bytes()


def test_another_way_of_writing_the_same_json(source, target, file):
    """Whatever blanks and escapes a storage gives its JSON with: the bundle is the same, and an import finds nothing
    new."""

    def spelt(text: str) -> str:
        return json.dumps(json.loads(text), indent=1, ensure_ascii=True)

    read, get = source.events.read, source.runs.get
    events = Gone(
        source.events,
        read=lambda queries: [
            found._replace(events=[e._replace(data=spelt(e.data)) for e in found.events]) for found in read(queries)
        ],
    )
    runs = Gone(
        source.runs,
        get=lambda *args: {
            run_id: run._replace(run_config=spelt(run.run_config)) for run_id, run in get(*args).items()
        },
    )
    other = dataclasses.replace(source, events=events, runs=runs)
    assert bundle_of(other) == file.read_bytes()
    assert import_file(other, file).events == 0
