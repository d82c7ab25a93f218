"""What a recorded run leaves behind."""

from __future__ import annotations

import logging
import os
import shlex
import socket
import sys
import threading
import uuid
from typing import Any

import pytest

from daglens.instance import Instance, default_fallback
from daglens.recorder import (
    Markdown,
    RetryRequested,
    TypeCheck,
    attach_run,
    current_run,
    current_step,
    start_run,
)
from daglens.recorder.destination import InstanceDestination
from daglens.storage.errors import InvalidName
from daglens.storage.log_places import machine
from daglens.storage.records import EventDraft, NewRun, RunStatus
from daglens.upkeep import delete_run
from tests.recorder.conftest import Told, only_run


@pytest.fixture(autouse=True)
def _no_surroundings(monkeypatch):
    for name in ("DAGSTER_HOME", "DAGLENS_RUN_ID", "DAGLENS_INSTANCE_HOME"):
        monkeypatch.delenv(name, raising=False)


def test_a_run_with_a_step(instance):
    """Run and step begin and end; what the step made and expected is told with what it said."""
    with start_run(
        "nightly", run_id="r1", tags={"team": "core"}, run_config={"n": 1}, step_keys=["a"], instance=instance
    ) as run:
        assert current_run() is run
        with run.step("a") as step:
            assert current_step() is step
            print("reading")
            print("oh", file=sys.stderr)
            step.materialize("orders", {"rows": 5}, "all of them", ["shop", "orders"], "2026-01-01")
            assert step.expect("no nulls", True) is True
            assert step.expect("few", success=False, description="there are many") is False
            step.input("rows", type_check=True)
            step.output("out", {"m": Markdown("x")}, TypeCheck(False, "frame", "not one"))
            step.object_store("SET_OBJECT", "s3://a/b", {"bytes": 1})
        assert current_step() is None
    assert current_run() is None
    told = Told(instance, "r1")
    assert told.types == [
        "RUN_START",
        "STEP_START",
        "STEP_MATERIALIZATION",
        "STEP_EXPECTATION_RESULT",
        "STEP_EXPECTATION_RESULT",
        "STEP_INPUT",
        "STEP_OUTPUT",
        "OBJECT_STORE_OPERATION",
        "STEP_SUCCESS",
        "RUN_SUCCESS",
    ]
    stored = instance.run("r1")
    assert stored is not None
    assert (stored.status, stored.tags, stored.run_config) == (RunStatus.SUCCESS, (("team", "core"),), '{"n":1}')
    assert stored.step_keys_to_execute == ("a",)
    start = told.data("RUN_START")
    assert (start["pipelineName"], start["processId"]) == ("nightly", os.getpid())
    assert start["hostname"]
    made = told.data("STEP_MATERIALIZATION")
    assert made == {
        "label": "orders",
        "description": "all of them",
        "assetKey": ["shop", "orders"],
        "partition": "2026-01-01",
        "metadataEntries": [{"label": "rows", "int": 5}],
    }
    assert told.events[-2].step_key is not None
    assert told.data("STEP_OUTPUT")["typeCheck"]["description"] == "not one"
    assert told.data("STEP_SUCCESS")["durationSeconds"] >= 0
    assert told.data("LOGS_CAPTURED") == {
        "attempt": 1,
        "stepKeys": ["a"],
        "hostname": socket.gethostname(),
        "keptIn": {
            "kind": "DISK",
            "hostname": socket.gethostname(),
            "location": str(instance.home / "storage"),
            "sent": False,
        }
        | ({} if machine() is None else {"machine": machine()}),
    }
    assert (told.log("a"), told.err("a")) == ("reading\n", "oh\n")
    assert all(told.complete().values())
    assert told.head.counts.expectations_failed == 1
    assert all(event.event_id for event in told.events)
    assert stored.heartbeat_timeout_s == 60


def test_an_exception_fails_step_and_run(instance):
    """It goes on to the caller; step and run tell it with its causes."""

    def fail() -> None:
        try:
            raise KeyError("inner")
        except KeyError as error:
            raise ValueError("outer") from error

    with pytest.raises(ValueError, match="outer"), start_run("p", instance=instance) as run, run.step("a"):
        fail()
    told = Told(instance, run.run_id)
    assert told.status == "FAILURE"
    for event_type in ("STEP_FAILURE", "RUN_FAILURE"):
        error = told.data(event_type)["error"]
        assert (error["className"], error["message"]) == ("ValueError", "outer")
        assert error["cause"]["className"] == "KeyError"
        assert "in fail" in error["stack"][-1]
    assert told.data("RUN_FAILURE")["presumed"] is False


def test_a_step_that_fails_and_is_caught(instance):
    """Who catches a step's exception lets the run end well."""
    with start_run("p", instance=instance) as run:
        with pytest.raises(ValueError, match="no"), run.step("a"):
            raise ValueError("no")
        with run.step("b"):
            pass
    told = Told(instance, run.run_id)
    assert (told.status, told.step_status("a"), told.step_status("b")) == ("SUCCESS", "FAILURE", "SUCCESS")


@pytest.mark.parametrize("error", [KeyboardInterrupt(), KeyboardInterrupt("^C")])
def test_ctrl_c_cancels(instance, error):
    """KeyboardInterrupt: the run is canceled, the step says that it was interrupted."""
    with pytest.raises(KeyboardInterrupt), start_run("p", instance=instance) as run, run.step("a"):
        raise error
    told = Told(instance, run.run_id)
    assert told.status == "CANCELED"
    assert "interrupted" in told.one("STEP_FAILURE").message


@pytest.mark.parametrize(("code", "status"), [(None, "SUCCESS"), (0, "SUCCESS"), (3, "FAILURE"), ("no", "FAILURE")])
def test_sys_exit(instance, code, status):
    """sys.exit() is a success with 0 or nothing, else a failure."""
    with pytest.raises(SystemExit), start_run("p", instance=instance) as run, run.step("a"):
        sys.exit(code)
    told = Told(instance, run.run_id)
    assert (told.status, told.step_status("a")) == (status, status)


def test_finish_without_with(instance):
    """A run may be ended by hand, once; an error makes it a failure."""
    run = start_run("p", instance=instance)
    with run.step("a"):
        pass
    run.finish(error=ValueError("bad"))
    run.finish()
    told = Told(instance, run.run_id)
    assert told.types[-1] == "RUN_FAILURE"
    assert told.data("RUN_FAILURE")["error"]["message"] == "bad"
    assert told.types.count("RUN_FAILURE") == 1


@pytest.mark.parametrize(
    ("status", "stored"), [("success", "SUCCESS"), ("failure", "FAILURE"), ("canceled", "CANCELED")]
)
def test_finish_with_a_status(instance, status, stored):
    """The three ends."""
    run = start_run("p", instance=instance)
    run.finish(status)
    assert Told(instance, run.run_id).status == stored


def test_skipping(instance):
    """`skip` ends a step, also through its own `except Exception`; the run goes on."""
    told_more = False
    with start_run("p", instance=instance) as run:
        with run.step("a") as step:
            try:
                if step.attempt:
                    step.skip("nothing new")
            except Exception:
                pytest.fail("caught")
            told_more = True
        run.skip_step("b", "not today")
        run.skip_step("c")
        assert run.call_step("d", lambda: current_step().skip()) is None  # type: ignore[union-attr]
    told = Told(instance, run.run_id)
    assert [told.step_status(key) for key in "abcd"] == ["SKIPPED"] * 4
    assert not told_more
    assert told.one("STEP_SKIPPED", "a").message == "Step a skipped: nothing new."
    assert told.status == "SUCCESS"


def test_attempts_have_logs_of_their_own(instance):
    """A step that fails is tried again: each attempt has its number, its error, and its log."""
    with start_run("p", instance=instance) as run:
        for attempt in run.attempts("a", retries=2, wait_s=0.0):
            with attempt as step:
                print("attempt", step.attempt)
                if step.attempt < 3:
                    raise OSError(f"no {step.attempt}")
    told = Told(instance, run.run_id)
    assert told.types[1:-1] == [
        "STEP_START",
        "STEP_UP_FOR_RETRY",
        "STEP_RESTARTED",
        "STEP_UP_FOR_RETRY",
        "STEP_RESTARTED",
        "STEP_SUCCESS",
    ]
    assert [told.log("a", attempt=n) for n in (1, 2, 3)] == ["attempt 1\n", "attempt 2\n", "attempt 3\n"]
    step = instance.events.steps([run.run_id])[run.run_id][0]
    assert [(span.attempt, span.status) for span in step.spans] == [
        (1, "UP_FOR_RETRY"),
        (2, "UP_FOR_RETRY"),
        (3, "SUCCESS"),
    ]


def test_retries_come_to_an_end(instance):
    """After the last try the exception goes on, and the step has failed."""
    tried = []

    def work() -> None:
        tried.append(1)
        raise OSError(f"no {len(tried)}")

    with pytest.raises(OSError, match="no 2"), start_run("p", instance=instance) as run:
        run.call_step("a", work, retries=1)
    told = Told(instance, run.run_id)
    assert (len(tried), told.types[-2:]) == (2, ["STEP_FAILURE", "RUN_FAILURE"])


def test_a_step_may_ask_for_a_retry(instance):
    """RetryRequested is tried again as often as it says, with its pause; Ctrl-C never is."""
    tried = []

    def work() -> int:
        tried.append(1)
        if len(tried) < 3:
            raise RetryRequested("busy", max_retries=5, wait_s=0.0)
        return 7

    with start_run("p", instance=instance) as run:
        assert run.call_step("a", work) == 7
    told = Told(instance, run.run_id)
    waits = [event for event in told.events if event.event_type == "STEP_UP_FOR_RETRY"]
    assert [event.data.count('"secondsToWait":0.0') for event in waits] == [1, 1]

    def stop() -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt), start_run("p", instance=instance) as run:
        run.call_step("a", stop, retries=5)
    assert "STEP_UP_FOR_RETRY" not in Told(instance, run.run_id).types


def test_the_same_key_again_is_another_attempt(instance):
    """A key that is used twice makes a second attempt, with a log of its own."""
    with start_run("p", instance=instance) as run:
        for word in ("one", "two"):
            with run.step("a"):
                print(word)
    told = Told(instance, run.run_id)
    assert (told.log("a"), told.log("a", attempt=2)) == ("one\n", "two\n")
    assert told.types[1:-1] == ["STEP_START", "STEP_SUCCESS", "STEP_RESTARTED", "STEP_SUCCESS"]


def test_a_step_as_a_decorator(instance):
    """A decorated function is a step each time it is called."""
    with start_run("p", instance=instance) as run:

        @run.step("double")
        def double(x: int) -> int:
            """Docs."""
            return 2 * x

        assert double(4) == 8
        assert double.__doc__ == "Docs."
    assert Told(instance, run.run_id).step_status("double") == "SUCCESS"


def test_a_step_begins_once(instance):
    """One attempt can't be begun twice."""
    with start_run("p", instance=instance) as run:
        step = run.step("a")
        with step:
            pass
        with pytest.raises(RuntimeError, match="begun already"):
            step.__enter__()


def test_log_messages(instance, capsys):
    """Loggers of run and step make events, with levels and tracebacks, and print nothing."""
    with start_run("p", instance=instance) as run:
        run.log.warning("of the %s", "run")
        with run.step("a") as step:
            step.log.debug("deep")
            try:
                raise ValueError("bad")
            except ValueError:
                step.log.exception("caught")
            step.log.log(25, "between")
    told = Told(instance, run.run_id)
    found = told.all("LOG_MESSAGE")
    assert [(e.step_key, e.level) for e in found] == [(None, 30), ("a", 10), ("a", 40), ("a", 20)]
    assert [e.data for e in found] == ['{"logger":"p"}'] + ['{"logger":"a"}'] * 3
    assert found[0].message == "of the run"
    assert "ValueError: bad" in found[2].message
    assert told.log("a") == ""
    assert capsys.readouterr().out == ""


def test_handler_for_the_program_s_loggers(instance):
    """The program's own loggers can be events too, of the step that they come from; daglens's own never are."""
    logger = logging.getLogger(f"etl.{uuid.uuid4().hex}")
    with start_run("p", instance=instance) as run:
        handler = run.log_handler(logging.INFO)
        root = logging.getLogger()
        root.addHandler(handler)
        logger.setLevel(logging.DEBUG)
        try:
            logger.warning("outside")
            with run.step("a"):
                logger.warning("inside")
                logger.debug("too fine")
                logging.getLogger("daglens.instance").warning("about recording")
        finally:
            root.removeHandler(handler)
    told = Told(instance, run.run_id)
    assert [(e.step_key, e.message) for e in told.all("LOG_MESSAGE")] == [(None, "outside"), ("a", "inside")]


def test_events_of_other_types(instance):
    """Any event type can be recorded; what JSON has no form for becomes text."""
    with start_run("p", instance=instance) as run:
        run.event("MY_EVENT", "hello", {"a": {1, 2}, "b": object})
        with run.step("a") as step:
            step.event("MY_STEP_EVENT")
    told = Told(instance, run.run_id)
    assert told.data("MY_EVENT") == {"a": [1, 2], "b": "<class 'object'>"}
    assert told.one("MY_STEP_EVENT").step_key == "a"


def test_tags_can_be_added(instance):
    """Tags of a run that goes on."""
    with start_run("p", tags={"a": "1", "b": "2"}, instance=instance) as run:
        run.add_tags({"b": "3", "c": "4"})
    stored = instance.run(run.run_id)
    assert stored is not None
    assert stored.tags == (("a", "1"), ("b", "3"), ("c", "4"))


def test_artifacts(instance):
    """Files go into the run's folder, in folders of their own too."""
    with start_run("p", instance=instance) as run:
        run.artifact_path("report.html").write_text("<p>")
        with run.step("a") as step:
            step.artifact_path("data/a.csv").write_text("1")
    listed = instance.artifacts.list(run.run_id).artifacts
    assert [(one.path, one.size_bytes) for one in listed] == [("data/a.csv", 1), ("report.html", 3)]


@pytest.mark.parametrize(
    "name", ["", ".", "../x", "a/../../x", "/etc/passwd", "\\\\host\\x", "a\0b", "x" * 300, "a/" * 1000, "\ud800"]
)
def test_hostile_artifact_names(instance, name):
    """Nothing outside the run's folder can be named."""
    with start_run("p", instance=instance) as run, pytest.raises(InvalidName):
        run.artifact_path(name)


def test_an_artifact_does_not_follow_links(instance, tmp_path):
    """A symbolic link in the run's folder leads nobody out of it."""
    with start_run("p", instance=instance) as run:
        folder = run.artifact_path("x").parent
        (folder / "out").symlink_to(tmp_path)
        (folder / "file").symlink_to(tmp_path / "target")
        for name in ("out/x", "out/deeper/x", "file"):
            with pytest.raises(InvalidName):
                run.artifact_path(name)


@pytest.mark.parametrize("key", ["../../etc/passwd", "a\0b", "x" * 4096, "ü/:*?", "\ud800", "", "~", "(process)"])
def test_hostile_step_keys(instance, key, tmp_path):
    """A step with any key is recorded with its output, if need be under a key that can be stored."""
    with start_run("p", instance=instance) as run, run.step(key):
        print("hello")
    told = Told(instance, run.run_id)
    stored = told.one("STEP_START").step_key
    assert stored
    if key not in ("", "a\0b", "\ud800") and len(key) < 256:
        assert stored == key
    assert told.log(stored) == "hello\n"
    assert told.status == "SUCCESS"


@pytest.mark.parametrize("bad", ["", "a\0b", "x" * 256, "\ud800"])
def test_names_that_can_not_be(instance, bad):
    """A run id or pipeline name that can't be one is refused before anything begins."""
    with pytest.raises(InvalidName):
        start_run(bad, instance=instance)
    with pytest.raises(InvalidName):
        start_run("p", run_id=bad, instance=instance)


def test_tags_of_all_kinds(instance, capsys):
    """Tags are made storable; those beyond 200 are left out, with a word."""
    tags: dict[str, Any] = {f"k{i:03}": i for i in range(250)} | {"": "x"}
    with start_run("p", tags=tags, instance=instance) as run:
        pass
    stored = instance.run(run.run_id)
    assert stored is not None
    assert len(stored.tags) == 200
    assert stored.tags[7] == ("k007", "7")
    assert "at most 200" in capsys.readouterr().err


def test_without_capture(instance):
    """capture=False leaves output alone."""
    with start_run("p", instance=instance, capture=False) as run, run.step("a"):
        print("hello")
    assert Told(instance, run.run_id).complete() == {}
    assert "LOGS_CAPTURED" not in [e.event_type for e in Told(instance, run.run_id).events]


def test_without_heartbeats(instance):
    """heartbeat_timeout_s=None: the run can't be presumed dead."""
    with start_run("p", instance=instance, heartbeat_timeout_s=None) as run:
        pass
    stored = instance.run(run.run_id)
    assert stored is not None
    assert stored.heartbeat_timeout_s is None


def test_a_run_that_was_created_before(instance, capsys):
    """A launcher created and queued the run: the recorder takes it over as it is."""
    instance.create_run(NewRun("r1", "p", status=RunStatus.QUEUED, tags=(("by", "launcher"),)))
    with start_run("p", run_id="r1", instance=instance):
        pass
    told = only_run(instance)
    stored = instance.run("r1")
    assert stored is not None
    assert (told.status, stored.tags) == ("SUCCESS", (("by", "launcher"),))
    assert "created before" in capsys.readouterr().err


def test_steps_of_a_run_that_is_recorded_again(instance, capsys):
    """A second recording of a run counts the attempts of its steps on."""
    for _ in range(2):
        with start_run("p", run_id="r1", tags={"n": "1"}, instance=instance) as run, run.step("a"):
            print("hello")
    told = Told(instance, "r1")
    assert [event.event_type for event in told.all("STEP_RESTARTED")] == ["STEP_RESTARTED"]
    assert told.log("a", attempt=2) == "hello\n"


def test_parents_and_roots(instance):
    """The root of a chain of runs is the parent where nobody says otherwise."""
    with start_run("p", instance=instance) as first:
        pass
    with start_run("p", parent_run_id=first.run_id, instance=instance) as second:
        pass
    stored = instance.run(second.run_id)
    assert stored is not None
    assert (stored.parent_run_id, stored.root_run_id) == (first.run_id, first.run_id)


def test_a_part_of_somebody_else_s_run(instance, monkeypatch):
    """attach_run records steps into a run, and neither begins nor ends it."""
    with start_run("p", instance=instance) as outer:
        monkeypatch.setenv("DAGLENS_RUN_ID", outer.run_id)
        with attach_run(instance=instance) as run:
            assert run.run_id == outer.run_id
            with run.step("inner"):
                print("hello")
        assert Told(instance, outer.run_id).status == "STARTED"
    told = Told(instance, outer.run_id)
    assert told.types == ["RUN_START", "STEP_START", "STEP_SUCCESS", "RUN_SUCCESS"]
    assert told.log("inner") == "hello\n"


def test_attaching_to_nothing(instance):
    """Without a run id there is nothing to attach to."""
    with pytest.raises(ValueError, match="DAGLENS_RUN_ID"):
        attach_run(instance=instance)


def test_memory_is_said_once(capsys, monkeypatch):
    """Without DAGSTER_HOME a run goes into memory, and that is said once in a process, with what keeps it."""
    monkeypatch.setattr("daglens.recorder.start._said_ephemeral", False)
    for _ in range(2):
        with start_run("p") as run, run.step("a"):
            pass
    told = capsys.readouterr().err
    assert told.count("in memory") == 1
    assert f"export DAGSTER_HOME={shlex.quote(str(default_fallback()))}\n" in told


def test_an_instance_given_is_not_closed(instance):
    """Who opens an instance closes it."""
    for _ in range(2):
        with start_run("p", instance=instance):
            pass
    instance.append("x", [EventDraft("A")])


def test_events_of_a_deleted_run(instance, capsys):
    """A run that is deleted while it is recorded stays deleted: that is said once, and the pipeline goes on."""
    with start_run("p", instance=instance) as run:
        instance.events.close_runs([run.run_id])
        for number in range(3):
            with run.step(f"s{number}"):
                pass
    assert capsys.readouterr().err.count("daglens:") == 1
    assert Told(instance, run.run_id).types == ["RUN_START"]


def test_files_of_a_deleted_run(instance):
    """What steps print, and write as artifacts, after their run was deleted leaves nothing behind."""
    with start_run("p", instance=instance) as run:
        with run.step("before"):
            print("before")
        delete_run(instance, run.run_id)
        with run.step("after"):
            print("after")
            run.artifact_path("table.csv").write_text("1")
    assert len(instance.compute_logs.list([run.run_id])[run.run_id]) == 0
    assert len(instance.artifacts.list(run.run_id).artifacts) == 0


def test_a_run_whose_id_was_deleted(instance, capsys):
    """A deleted run's id isn't used again: nothing is recorded, with a word, and the pipeline runs."""
    with start_run("p", run_id="r1", instance=instance):
        pass
    instance.events.close_runs(["r1"])
    instance.runs.delete(["r1"])
    ran = False
    with start_run("p", run_id="r1", instance=instance) as run, run.step("a"):
        ran = True
    assert ran
    assert "deleted" in capsys.readouterr().err
    assert instance.run("r1") is None


def test_no_thread_is_left(instance):
    """The end of a run ends its threads."""
    before = set(threading.enumerate())
    with start_run("p", instance=instance) as run, run.step("a"):
        pass
    for thread in set(threading.enumerate()) - before:
        if thread.name in ("daglens-events", "daglens-pulse"):
            thread.join(30)
            assert not thread.is_alive()


def test_an_own_instance_is_closed(tmp_path, monkeypatch):
    """start_run opens the instance that DAGSTER_HOME names."""
    monkeypatch.setenv("DAGSTER_HOME", str(tmp_path / "home"))
    with start_run("p") as run:
        pass
    with Instance.open(home=tmp_path / "home") as instance:
        assert Told(instance, run.run_id).status == "SUCCESS"


def test_an_own_instance_is_closed_whatever_its_storages_do(tmp_path, monkeypatch):
    """Also when what a deleted run has left can't be removed."""
    monkeypatch.setenv("DAGSTER_HOME", str(tmp_path / "home"))
    run = start_run("p")
    destination = run._recording.destination
    assert isinstance(destination, InstanceDestination)
    opened = destination.instance
    closed: list[Instance] = []
    close = Instance.close

    def told(instance: Instance) -> None:
        closed.append(instance)
        close(instance)

    monkeypatch.setattr(Instance, "close", told)

    def refuse(logs: object, run_id: str) -> None:
        raise PermissionError("not yours")

    delete_run(opened, run.run_id)
    monkeypatch.setattr(type(opened.compute_logs), "delete", refuse)
    run.event("A")
    run.finish()
    assert closed == [opened]
