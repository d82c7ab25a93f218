"""Recording never fails the pipeline, whatever the storage does."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any, cast

import pytest

from daglens.instance import Instance
from daglens.recorder import Text, start_run
from daglens.recorder.destination import InstanceDestination
from daglens.recorder.problems import Problems
from daglens.recorder.start import record_new_run
from daglens.storage.errors import StorageUnavailable
from daglens.storage.records import EventDraft, NewRun
from daglens.testing.faults import raising
from tests.recorder.conftest import PATIENCE_S, Told, only_run, until


def with_fault(instance: Instance, part: str, fault: Callable[[str], BaseException | None]) -> Instance:
    """The instance with a faulty storage in the place of one of its four."""
    changes: dict[str, Any] = {part: raising(getattr(instance, part), fault)}
    return dataclasses.replace(instance, **changes)


class Choosy:
    """An event log of somebody else, with a bug that some messages meet."""

    def __init__(self, inner: Any) -> None:
        self._inner = inner

    def __getattr__(self, name: str) -> Any:
        return getattr(self._inner, name)

    def append(self, run_id: str, drafts: Sequence[EventDraft], **options: Any) -> Any:
        """Stores what isn't bad."""
        if any("bad" in draft.message for draft in drafts if draft.event_type == "LOG_MESSAGE"):
            raise KeyError("odd")
        return self._inner.append(run_id, drafts, **options)


def choosy(instance: Instance) -> Instance:
    """The instance with such an event log."""
    return dataclasses.replace(instance, events=cast(Any, Choosy(instance.events)))


@pytest.fixture(autouse=True)
def _no_patience(monkeypatch):
    monkeypatch.setattr("daglens.recorder.run.END_WAIT_S", 0.2)


def pipeline(instance: Instance) -> tuple[str, list[str]]:
    """A pipeline with everything in it; its run id and what it did."""
    did: list[str] = []
    with start_run("p", tags={"a": "b"}, instance=instance) as run:
        with run.step("one") as step:
            step.materialize("x", {"n": 1})
            run.artifact_path("a.txt").write_text("x")
            print("hello")
            did.append("one")
        run.add_tags({"c": "d"})
        assert run.call_step("two", lambda: did.append("two")) is None
    return run.run_id, did


ERRORS = [StorageUnavailable("Down."), OSError("disk"), ValueError("a bug of a plug-in"), TypeError("another")]


@pytest.mark.fault("plugin_raises")
@pytest.mark.parametrize("error", ERRORS, ids=lambda error: type(error).__name__)
@pytest.mark.parametrize("part", ["runs", "events", "compute_logs", "artifacts"])
def test_a_storage_that_always_fails(instance, capsys, part, error):
    """The pipeline does all its work; what is wrong is said on stderr, each kind of problem once."""
    _, did = pipeline(with_fault(instance, part, lambda name: error))
    assert did == ["one", "two"]
    said = [line for line in capsys.readouterr().err.splitlines() if line.startswith("daglens:")]
    assert said
    assert len(said) == len(set(said)) <= 5


def test_a_storage_that_comes_back(instance, capsys):
    """What could not be stored at first is stored later: the run is whole, and that it was late is said once."""
    left = [5]

    def fault(name: str) -> Exception | None:
        left[0] -= name == "append"
        return StorageUnavailable("Down.") if name == "append" and left[0] >= 0 else None

    import daglens.recorder.run as run_module

    run_module.END_WAIT_S = 60.0  # the fixture puts it back
    run_id, _ = pipeline(with_fault(instance, "events", fault))
    told = Told(instance, run_id)
    assert told.types == [
        "RUN_START",
        "STEP_START",
        "STEP_MATERIALIZATION",
        "STEP_SUCCESS",
        "STEP_START",
        "STEP_SUCCESS",
        "RUN_SUCCESS",
    ]
    assert told.status == "SUCCESS"
    assert capsys.readouterr().err.count("Recording is behind") == 1


def test_a_run_storage_that_comes_back(instance):
    """So it is when the run could not be created at first: it comes before its events."""
    left = [3]

    def fault(name: str) -> Exception | None:
        left[0] -= name == "add"
        return StorageUnavailable("Down.") if name == "add" and left[0] >= 0 else None

    import daglens.recorder.run as run_module

    run_module.END_WAIT_S = 60.0
    run_id, _ = pipeline(with_fault(instance, "runs", fault))
    stored = instance.run(run_id)
    assert stored is not None
    assert (stored.status, stored.tags[0]) == ("SUCCESS", ("a", "b"))


def test_an_instance_that_can_be_opened_only_later(instance, capsys):
    """So it is when the instance itself could not be opened at first."""
    tries: list[Instance | None] = [None, None, None, instance]

    def opener() -> Instance:
        opened = tries.pop(0)
        if opened is None:
            raise StorageUnavailable("Down.")
        return dataclasses.replace(opened, _temporary=None)

    problems = Problems()
    run = record_new_run(NewRun("r1", "p"), InstanceDestination(problems, opener=opener), problems)
    with run, run.step("a"):
        print("not captured")
        until(run.flush, "the storage")
    said = capsys.readouterr().err
    assert said.count("Recording is behind") == 1
    assert tries == []


def test_what_is_lost_is_counted(instance, capsys):
    """At the end of a run whose storage doesn't come back, the number of lost events is said."""
    pipeline(with_fault(instance, "events", lambda name: StorageUnavailable("Down.")))
    assert "9 events of run" in capsys.readouterr().err


def test_ctrl_c_while_a_run_begins(instance):
    """An interruption before the block of the run is entered: the run is canceled, not forgotten."""
    interrupted = with_fault(instance, "runs", lambda name: KeyboardInterrupt() if name == "heartbeat" else None)
    with pytest.raises(KeyboardInterrupt):
        start_run("p", instance=interrupted)
    assert only_run(instance).status == "CANCELED"


def test_a_bug_of_a_plug_in(instance, capsys, monkeypatch):
    """An event at which a storage fails for ever is replaced by a note, and costs no other event; said once."""
    monkeypatch.setattr("daglens.recorder.run.END_WAIT_S", 60.0)
    with start_run("p", instance=choosy(instance)) as run, run.step("a") as step:
        for text in ("good 1", "bad 2", "good 3"):
            step.log.info(text)
    told = Told(instance, run.run_id)
    assert [e.message for e in told.all("LOG_MESSAGE")] == ["good 1", "good 3"]
    assert told.one("ENGINE_EVENT").message == "Dropped an event 'LOG_MESSAGE': KeyError: 'odd'"
    assert (told.types[3], told.status) == ("ENGINE_EVENT", "SUCCESS")
    assert capsys.readouterr().err.count("daglens: An event LOG_MESSAGE was refused") == 1


def test_a_time_that_no_storage_takes(local, monkeypatch):
    """An event with a time beyond 64 bits is replaced by a note with a time of now; what ends a step still ends it."""
    monkeypatch.setattr("daglens.recorder.run.END_WAIT_S", 60.0)
    with start_run("p", instance=local) as run:
        for event_type in ("STEP_START", "STEP_SUCCESS", "STEP_INPUT"):
            run._recording.record(EventDraft(event_type, message="odd", step_key="a", timestamp_us=2**70))
    told = Told(local, run.run_id)
    assert told.types == [
        "RUN_START",
        *["ENGINE_EVENT", "STEP_START", "ENGINE_EVENT", "STEP_SUCCESS"],
        "ENGINE_EVENT",
        "RUN_SUCCESS",
    ]
    assert (told.status, told.step_status("a")) == ("SUCCESS", "SUCCESS")


def test_an_event_that_is_too_large(instance, capsys):
    """An event above the limit is replaced by a note; everything else is there."""
    with start_run("p", instance=instance) as run, run.step("a") as step:
        step.materialize("huge", {"text": Text("x" * 2_000_000)})
        step.materialize("small")
    told = Told(instance, run.run_id)
    assert told.types == [
        "RUN_START",
        "STEP_START",
        "ENGINE_EVENT",
        "STEP_MATERIALIZATION",
        "STEP_SUCCESS",
        "RUN_SUCCESS",
    ]
    assert "STEP_MATERIALIZATION" in told.one("ENGINE_EVENT").message
    assert capsys.readouterr().err.count("daglens:") == 1


def test_a_message_that_is_too_long_is_cut(instance):
    """A log message of megabytes is cut, and says how long it was."""
    with start_run("p", instance=instance) as run:
        run.log.info("x" * 3_000_000)
    assert "3000000 characters" in Told(instance, run.run_id).one("LOG_MESSAGE").message


@pytest.mark.parametrize(
    "yaml",
    [
        "run_storage: {module: nonesuch_module, class: X}",
        "run_storage: [",
        "event_log_storage: {module: daglens.storage.sqlite, class: SqliteEventLogStorage, config: {nonesuch: 1}}",
    ],
)
def test_a_wrong_dagster_yaml(program, home, yaml):
    """A mistake in dagster.yaml: nothing is recorded, that is said with the file, and the pipeline runs."""
    home.mkdir()
    (home / "dagster.yaml").write_text(yaml)
    done = program.run(
        """
        import daglens.recorder as daglens
        with daglens.start_run("p") as run:
            with run.step("a") as step:
                step.expect("x", True)
                print("worked", run.artifact_path("x").parent.exists())
        """
    )
    assert (done.returncode, done.stdout) == (0, "worked True\n")
    assert "dagster.yaml" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_home_that_can_not_be(program, tmp_path):
    """DAGSTER_HOME names a file: said, and the pipeline runs."""
    (tmp_path / "file").touch()
    done = program.run(
        "import daglens.recorder as d\nwith d.start_run('p'):\n    print('worked')\n",
        env={"DAGSTER_HOME": str(tmp_path / "file")},
    )
    assert (done.returncode, done.stdout) == (0, "worked\n")
    assert "a file stands there" in done.stderr


def test_a_program_that_forgets_to_finish(program, local):
    """A run without an end is a failure when the program ends: with its error, if one ended it."""
    source = """
        import sys
        import daglens.recorder as daglens
        run = daglens.start_run("p")
        with run.step("a"):
            print("hello")
        if sys.argv[1:]:
            raise ValueError("forgotten")
        """
    program.run(source)
    told = only_run(local)
    assert told.data("RUN_FAILURE")["error"]["className"] == "RunNotFinished"
    local.events.close_runs([told.run_id])
    local.runs.delete([told.run_id])
    program.run(source, "fail")
    told = only_run(local)
    assert told.data("RUN_FAILURE")["error"]["message"] == "forgotten"
    assert told.log("a") == "hello\n"


def test_a_question_that_takes_long_is_said(capsys):
    """Who asks the storage something hears, once, that it has not answered; a quick answer is waited for in silence."""
    problems = Problems()
    with problems.waiting(PATIENCE_S):
        pass
    assert capsys.readouterr().err == ""
    heard = [""]

    def hear() -> str:
        heard[0] += capsys.readouterr().err
        return heard[0]

    for _ in range(2):
        with problems.waiting(0.001):
            until(lambda: "has not answered yet" in hear(), "the sentence")
    assert hear().count("daglens:") == 1
