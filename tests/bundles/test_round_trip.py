"""Export, import, export: the same bytes, from any storage and into any."""

from __future__ import annotations

import json
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import given, settings

from daglens.bundles.exporting import export_file
from daglens.bundles.importing import import_file
from daglens.bundles.serving import open_bundles
from daglens.instance import Instance
from daglens.storage import event_types as et
from daglens.storage.records import ComputeIO, EventDraft, EventQuery, LogKey, NewRun, RunRecord, RunStatus
from tests.bundles.conftest import RUN, bundle_of
from tests.bundles.histories import History, histories


def without_own_clock(run: RunRecord | None) -> RunRecord:
    """A row without what its storage alone says: when it last changed, who was heard, how it was created."""
    assert run is not None
    return run._replace(updated_at_us=0, created_with="", heartbeat_at_us=None, heartbeat_timeout_s=None)


@settings(max_examples=120)
@given(histories())
def test_any_history_comes_back(tmp_path_factory, history: History):
    """Whatever was recorded: from memory to SQLite and back into memory, and read as a bundle, each export is equal,
    and so are rows, events, heads and steps."""
    folder = tmp_path_factory.mktemp("trip")
    run_id = history.run.run_id
    with Instance.ephemeral() as first, Instance.open(home=folder / "home") as second, Instance.ephemeral() as third:
        history.record(first)
        path = folder / "bundle"
        export_file(first, run_id, path)
        import_file(second, path)
        export_file(second, run_id, path, overwrite=True)
        import_file(third, path)
        with open_bundles([path]) as served:
            instances = (first, second, third, served)
            assert len({bundle_of(instance, run_id) for instance in instances}) == 1
            assert len({without_own_clock(instance.run(run_id)) for instance in instances}) == 1
            for one, other in pairwise(instances):
                query = EventQuery(run_id, limit=1000)
                assert list(one.events.read([query])[0].events) == list(other.events.read([query])[0].events)
                assert one.events.steps([run_id]).get(run_id, []) == other.events.steps([run_id]).get(run_id, [])


def test_everything_travels(source, target, file):
    """Run row, every type of event, counts, step states and logs are the same on the other side."""
    done = import_file(target, file)
    assert (done.created, done.events, done.logs, done.log_bytes, done.notes) == (True, 22, 4, 68, ())
    assert without_own_clock(target.run(RUN)) == without_own_clock(source.run(RUN))
    theirs, ours = source.events.heads([RUN])[RUN], target.events.heads([RUN])[RUN]
    assert (ours.last_seq, ours.state, ours.counts) == (theirs.last_seq, theirs.state, theirs.counts)
    assert target.events.steps([RUN]) == source.events.steps([RUN])
    for listed, other in zip(*(i.compute_logs.list([RUN])[RUN] for i in (source, target)), strict=True):
        assert (listed.key, listed.io, listed.complete) == (other.key, other.io, other.complete)
        read = [i.compute_logs.read(listed.key, listed.io, 0, 100) for i in (source, target)]
        assert read[0] == read[1]


def test_what_belongs_to_the_instance_stays_there(source, target, file):
    """No heartbeat, no sign of a recorder and no cursor travels: an imported run that has not ended is never presumed
    dead, and its log is another log."""
    source.heartbeat(RUN, 60)
    assert bundle_of(source) == file.read_bytes()
    import_file(target, file)
    run = target.run(RUN)
    assert run is not None
    assert (run.heartbeat_at_us, run.heartbeat_timeout_s) == (None, None)
    ours, theirs = target.events.heads([RUN])[RUN], source.events.heads([RUN])[RUN]
    assert ours.heard_at_us is None
    assert ours.incarnation != theirs.incarnation


def test_a_presumed_failure_stays_presumed(source, target, tmp_path):
    """The end that the recorder reports later replaces it, also where it was imported."""
    source.create_run(NewRun("lost", "nightly"))
    source.append("lost", [EventDraft(et.RUN_START), EventDraft(et.RUN_FAILURE, data={"presumed": True})])
    export_file(source, "lost", tmp_path / "lost")
    import_file(target, tmp_path / "lost")
    run = target.run("lost")
    assert run is not None
    assert (run.status, run.presumed) == (RunStatus.FAILURE, True)
    target.append("lost", [EventDraft(et.RUN_SUCCESS)])
    run = target.run("lost")
    assert run is not None
    assert (run.status, run.presumed) == (RunStatus.SUCCESS, False)


def test_a_row_behind_its_log_is_written_as_the_log_has_it(source, target, tmp_path):
    """Where the storages share no transaction, a row may be behind; the bundle isn't."""
    source.create_run(NewRun("behind", "nightly"))
    with Instance.ephemeral() as other:
        other.create_run(NewRun("behind", "nightly"))
        other.events.append("behind", [EventDraft(et.RUN_START), EventDraft(et.RUN_SUCCESS)])
        assert without_own_clock(other.run("behind")).status == "NOT_STARTED"
        export_file(other, "behind", tmp_path / "behind")
    assert json.loads((tmp_path / "behind").read_bytes().splitlines()[1])["run"]["status"] == "SUCCESS"
    import_file(target, tmp_path / "behind")
    assert without_own_clock(target.run("behind")).status == "SUCCESS"


@pytest.mark.parametrize("size", [0, 1, 49_151, 49_152, 49_153, 98_304, 4_000_000])
def test_logs_of_every_size(source, target, tmp_path, size):
    """Also those that end where a line ends, and those that need several appends."""
    data = (bytes(range(256)) * (size // 256 + 1))[:size]
    key = LogKey(RUN, "load")
    source.compute_logs.append(key, ComputeIO.STDOUT, 0, data, complete=True)
    export_file(source, RUN, tmp_path / "bundle")
    import_file(target, tmp_path / "bundle")
    found = target.compute_logs.read(key, ComputeIO.STDOUT, 0, size + 1)
    assert (found.data, found.complete) == (data, True)


def test_an_instance_that_keeps_no_logs_says_so(file, tmp_path):
    """The run and its events come; that the logs were left out is told."""
    (tmp_path / "quiet").mkdir()
    (tmp_path / "quiet" / "dagster.yaml").write_text(
        "compute_logs: {module: daglens.storage.compute_logs, class: NoOpComputeLogManager}\n"
    )
    with Instance.open(home=tmp_path / "quiet") as quiet:
        done = import_file(quiet, file)
        assert (done.events, done.log_bytes) == (22, 0)
        assert done.notes == ("This instance keeps no compute logs; 4 were left out.",)


def test_logs_can_be_left_out(source, target, tmp_path: Path):
    """A bundle without them is smaller, and sound."""
    exported = export_file(source, RUN, tmp_path / "bundle", logs=False)
    assert (exported.logs, exported.log_bytes) == (0, 0)
    assert import_file(target, tmp_path / "bundle").logs == 0
    assert target.compute_logs.list([RUN])[RUN] == []
