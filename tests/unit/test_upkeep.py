"""Projection, presumed failures and deletion across the four storages."""

from dataclasses import replace

import pytest

from daglens.instance import Instance
from daglens.storage import event_types as et
from daglens.storage.errors import RunDeleted, StorageUnavailable
from daglens.storage.memory import InMemoryEventLogStorage, InMemoryRunStorage
from daglens.storage.records import (
    ComputeIO,
    EventDraft,
    EventQuery,
    LogKey,
    NewRun,
    RunState,
    RunStatus,
)
from daglens.upkeep import PRESUMED_EVENT_ID, Silences, delete_run, reap, reproject

SECOND = 1_000_000


class Clock:
    """Microseconds that only a test moves."""

    def __init__(self) -> None:
        self.now = 1_000_000 * SECOND

    def __call__(self) -> int:
        return self.now


class ForgetfulRunStorage(InMemoryRunStorage):
    """Fails to project while `broken`, as a database that is away for a moment."""

    broken = False

    def project(self, run_id, state: RunState):
        if self.broken:
            raise StorageUnavailable("Away for a moment.")
        return super().project(run_id, state)


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def instance(clock):
    with Instance.ephemeral() as made:
        yield replace(made, runs=ForgetfulRunStorage(clock=clock), events=InMemoryEventLogStorage(clock=clock))


def start(instance, run_id="r", timeout_s=60):
    instance.create_run(NewRun(run_id, "nightly"))
    instance.append(run_id, [EventDraft(et.RUN_START)])
    if timeout_s:
        instance.heartbeat(run_id, timeout_s)


class DeletedMeanwhile(InMemoryEventLogStorage):
    """Somebody deletes the run `r` right after its head was read."""

    def heads(self, run_ids):
        found = super().heads(run_ids)
        self.close_runs(["r"])
        return found


def test_run_deleted_while_reaping(instance, clock):
    """A run that is deleted meanwhile is left alone, and the silent ones behind it are presumed dead all the same."""
    instance = replace(instance, events=DeletedMeanwhile(clock=clock))
    start(instance, "r")
    clock.now += SECOND
    start(instance, "s")
    clock.now += 61 * SECOND
    assert reap(instance) == ["s"]


def test_append_projects_the_run_row(instance):
    """A run-level event moves the row's status at once, also where the storages share no transaction."""
    start(instance)
    assert instance.run("r").status is RunStatus.STARTED
    instance.append("r", [EventDraft(et.RUN_SUCCESS)])
    assert instance.run("r").status is RunStatus.SUCCESS


def test_reproject_heals_a_row_that_fell_behind(instance):
    """An append whose projection fails stores its events; the next upkeep brings the row up to them."""
    start(instance)
    instance.runs.broken = True
    assert instance.append("r", [EventDraft(et.RUN_SUCCESS)]).accepted == 1
    instance.runs.broken = False
    assert instance.run("r").status is RunStatus.STARTED
    assert reproject(instance) == 1
    assert instance.run("r").status is RunStatus.SUCCESS
    assert reproject(instance) == 0


def test_silent_run_is_presumed_dead_once(instance, clock):
    """Silence beyond the timeout gives one presumed RUN_FAILURE, however often and by whomever it is found."""
    start(instance)
    clock.now += 60 * SECOND
    assert reap(instance) == []
    clock.now += 1
    assert reap(instance) == ["r"]
    assert reap(instance) == []
    run = instance.run("r")
    assert (run.status, run.presumed) == (RunStatus.FAILURE, True)
    events = instance.events.read([EventQuery("r")])[0].events
    assert [(e.event_type, e.event_id) for e in events] == [(et.RUN_START, None), (et.RUN_FAILURE, PRESUMED_EVENT_ID)]
    assert instance.events.heads(["r"])["r"].heard_at_us == clock.now - 60 * SECOND - 1


def test_the_recorders_own_end_replaces_the_presumed_one(instance, clock):
    """A recorder that comes back and reports success is believed."""
    start(instance)
    clock.now += 61 * SECOND
    reap(instance)
    instance.append("r", [EventDraft(et.RUN_SUCCESS)])
    run = instance.run("r")
    assert (run.status, run.presumed) == (RunStatus.SUCCESS, False)


def test_an_event_is_a_sign_of_life(instance, clock):
    """Silence counts from the later of the last heartbeat and the last event."""
    start(instance)
    clock.now += 50 * SECOND
    instance.append("r", [EventDraft(et.LOG_MESSAGE)])
    clock.now += 60 * SECOND
    assert reap(instance) == []
    clock.now += SECOND
    assert reap(instance) == ["r"]


def test_silence_counts_from_the_start_of_who_watches(instance, clock):
    """A server that was down presumes nothing before a whole timeout of its own watching."""
    start(instance)
    clock.now += 1000 * SECOND
    assert reap(instance, watching_since_us=clock.now) == []
    clock.now += 61 * SECOND
    assert reap(instance, watching_since_us=clock.now - 61 * SECOND) == ["r"]


@pytest.mark.fault("clock_back")
def test_clock_that_jumped_back_hides_no_silence(instance, clock):
    """The storage's clock jumps back by an hour: who still gives signs of life is left alone, who fell silent is
    presumed dead after the timeout, by the watcher's own clock."""
    start(instance, "living")
    start(instance, "dead")
    steady, reaped = [0.0], []
    silences = Silences(lambda: steady[0])
    assert reap(instance, silences=silences) == []
    clock.now -= 3600 * SECOND
    for _ in range(3):
        steady[0] += 31
        clock.now += 31 * SECOND
        instance.heartbeat("living", 60)
        reaped += reap(instance, silences=silences)
    assert reaped == ["dead"]
    assert instance.run("dead").status is RunStatus.FAILURE
    assert instance.run("living").status is RunStatus.STARTED


def test_clock_that_jumped_forward_ends_no_run(instance, clock):
    """A laptop wakes, or a date is corrected: each recorder has a whole timeout of the watcher's own clock to speak."""
    start(instance)
    steady = [0.0]
    silences = Silences(lambda: steady[0])
    assert reap(instance, silences=silences) == []
    clock.now += 3600 * SECOND
    steady[0] += 59
    assert reap(instance, silences=silences) == []
    steady[0] += 2
    assert reap(instance, silences=silences) == ["r"]


def test_without_heartbeats_never_presumed(instance, clock):
    """A run whose recorder never sent a heartbeat, and one that has ended, are left alone."""
    start(instance, timeout_s=None)
    start(instance, "ended")
    instance.append("ended", [EventDraft(et.RUN_SUCCESS)])
    clock.now += 10**6 * SECOND
    assert reap(instance) == []


def test_more_runs_than_a_page(instance, clock):
    """Every silent run is found, however many there are."""
    for number in range(1203):
        start(instance, f"r{number}")
        clock.now += 1
    clock.now += 61 * SECOND
    assert len(reap(instance)) == 1203


def test_delete_leaves_nothing_but_a_closed_id(instance):
    """Events, logs, artifacts and row go; the id takes neither events nor a new run."""
    start(instance)
    instance.append("r", [EventDraft(et.LOG_MESSAGE)] * 25_000)
    instance.append("r", [EventDraft(et.RUN_SUCCESS)])
    instance.compute_logs.append(LogKey("r", "extract"), ComputeIO.STDOUT, 0, b"12345", complete=True)
    (instance.artifacts.folder("r") / "report.txt").write_bytes(b"123")
    gone = delete_run(instance, "r")
    assert (gone.events, gone.bytes >= 8) == (25_002, True)
    assert instance.run("r") is None
    assert instance.events.read([EventQuery("r")])[0].events == []
    assert instance.compute_logs.list(["r"]).get("r", ()) in ((), [])
    assert list(instance.artifacts.list("r").artifacts) == []
    with pytest.raises(RunDeleted):
        instance.append("r", [EventDraft(et.LOG_MESSAGE)])
    with pytest.raises(RunDeleted):
        instance.create_run(NewRun("r", "nightly"))


@pytest.mark.parametrize("killed_in", ["compute_logs", "artifacts", "events", "runs"])
def test_a_deletion_killed_anywhere_carries_on(instance, monkeypatch, killed_in):
    """After an interruption at any of its steps the run's log is closed, and a second call finishes."""
    start(instance)
    instance.append("r", [EventDraft(et.RUN_SUCCESS)])

    def die(*args):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(getattr(instance, killed_in), "delete", die)
        with pytest.raises(KeyboardInterrupt):
            delete_run(instance, "r")
    assert instance.run("r") is not None
    with pytest.raises(RunDeleted):
        instance.append("r", [EventDraft(et.LOG_MESSAGE)])
    delete_run(instance, "r")
    assert instance.run("r") is None
