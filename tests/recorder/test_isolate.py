"""`call_step(…, isolate=True)`: a function in a child process of its own."""

from __future__ import annotations

import os
import signal
from concurrent.futures import ThreadPoolExecutor

import pytest

from daglens.recorder import start_run
from daglens.recorder.endings import StepProcessDied, StepProcessError
from tests.recorder import isolated_work as work
from tests.recorder.conftest import Told, runs_of


def test_result_and_output_come_back(instance):
    """The result is that of the function; what it and its children print is in the step's own log."""
    with start_run("p", instance=instance) as run:
        assert run.call_step("a", work.double, 4, extra=1, isolate=True) == 9
    told = Told(instance, run.run_id)
    assert told.log("a") == "doubling 4\ngrandchild\n"
    assert told.err("a") == "on stderr\n"
    captured = told.data("LOGS_CAPTURED")
    assert (captured["attempt"], captured["stepKeys"]) == (1, ["a"])
    assert all(told.complete().values())
    assert told.step_status("a") == "SUCCESS"


def test_the_console_shows_it_too(instance, capfd):
    """What the child prints is seen on the parent's console."""
    with start_run("p", instance=instance) as run:
        run.call_step("a", work.double, 4, isolate=True)
    shown = capfd.readouterr()
    assert shown.out == "doubling 4\ngrandchild\n"
    assert shown.err == "on stderr\n"


def test_recording_in_the_child(instance):
    """What the child records reaches the run, from its threads too, in its own order, before its end."""
    with start_run("p", instance=instance) as run:
        assert run.call_step("a", work.record_everything, isolate=True) != os.getpid()
    told = Told(instance, run.run_id)
    assert told.types[:5] == [
        "RUN_START",
        "STEP_START",
        "STEP_MATERIALIZATION",
        "STEP_EXPECTATION_RESULT",
        "LOG_MESSAGE",
    ]
    assert told.types[-2:] == ["STEP_SUCCESS", "RUN_SUCCESS"]
    messages = [event.message for event in told.all("LOG_MESSAGE", "a")]
    assert messages[0] == "hello from the child"
    assert sorted(messages[1:]) == [f"thread {n}" for n in range(4)]
    assert [one.path for one in instance.artifacts.list(run.run_id).artifacts] == ["from/child.txt"]


def test_a_burst_of_events(instance):
    """Thousands of events at once: none is lost, all in order."""
    with start_run("p", instance=instance) as run:
        run.call_step("a", work.many_events, 3000, isolate=True)
    messages = [event.message for event in Told(instance, run.run_id).all("LOG_MESSAGE")]
    assert messages == [str(number) for number in range(3000)]


def test_an_exception_comes_back(instance):
    """The exception itself is raised; the step tells it with the stack of the child and its causes."""
    with pytest.raises(ValueError, match="outer") as caught, start_run("p", instance=instance) as run:
        run.call_step("a", work.fail, isolate=True)
    assert "in fail" in str(caught.value.__cause__)
    told = Told(instance, run.run_id)
    for event_type in ("STEP_FAILURE", "RUN_FAILURE"):
        error = told.data(event_type)["error"]
        assert (error["className"], error["cause"]["className"]) == ("ValueError", "KeyError")
        assert "in fail" in error["stack"][-1]


def test_an_exception_that_can_not_be_carried(instance):
    """An exception that doesn't survive pickling is told as it was; another one that names it is raised."""
    with (
        pytest.raises(StepProcessError, match="Unpicklable: two arguments"),
        start_run("p", instance=instance) as run,
    ):
        run.call_step("a", work.fail_oddly, isolate=True)
    error = Told(instance, run.run_id).data("STEP_FAILURE")["error"]
    assert (error["className"], error["message"]) == ("Unpicklable", "two arguments")


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGSEGV])
def test_a_signal_is_told(instance, number):
    """A child that a signal ends: the step says which one; what it printed before is in the log."""
    with pytest.raises(StepProcessDied) as caught, start_run("p", instance=instance) as run:
        run.call_step("a", work.die, number, isolate=True)
    assert caught.value.signal == number
    told = Told(instance, run.run_id)
    assert signal.Signals(number).name in told.one("STEP_FAILURE").message
    assert told.log("a") == "last words\n"
    assert all(told.complete().values())


def test_an_exit_without_a_result(instance):
    """A child that leaves in the middle: the step says with which code."""
    with pytest.raises(StepProcessDied, match="exit code 5") as caught, start_run("p", instance=instance) as run:
        run.call_step("a", work.leave, 5, isolate=True)
    assert (caught.value.exit_code, caught.value.signal) == (5, None)


def test_sys_exit_in_the_child(instance):
    """sys.exit is carried over as it is."""
    with pytest.raises(SystemExit), start_run("p", instance=instance) as run:
        run.call_step("a", work.exit_with, 3, isolate=True)
    assert Told(instance, run.run_id).status == "FAILURE"


def test_a_lambda_is_refused(instance):
    """What can't be found by import is refused in a sentence, before anything begins."""

    def inner() -> None: ...

    with start_run("p", instance=instance) as run:
        for function in (lambda: 1, inner):
            with pytest.raises(TypeError, match="Define it at the top of a module"):
                run.call_step("a", function, isolate=True)
        with pytest.raises(TypeError, match="must be picklable"):
            run.call_step("a", work.give, lambda: 1, isolate=True)
    assert Told(instance, run.run_id).types == ["RUN_START", "RUN_SUCCESS"]


def test_a_result_that_can_not_be_carried(instance):
    """A result that can't be pickled fails the step, and says so."""
    with pytest.raises(Exception, match=r"pickle|local object"), start_run("p", instance=instance) as run:
        run.call_step("a", work.give_lambda, isolate=True)
    assert Told(instance, run.run_id).step_status("a") == "FAILURE"


def test_large_arguments_and_results(instance):
    """Call and result may be larger than a pipe holds."""
    value = os.urandom(3_000_000)
    with start_run("p", instance=instance) as run:
        assert run.call_step("a", work.give, value, isolate=True) == value


def test_skipping_and_retrying(instance, tmp_path):
    """A child may skip its step; a child that fails is tried again in another one, with another log."""
    with start_run("p", instance=instance) as run:
        assert run.call_step("a", work.skip, isolate=True) is None
        assert run.call_step("b", work.flaky, str(tmp_path), isolate=True, retries=1) == 7
    told = Told(instance, run.run_id)
    assert (told.step_status("a"), told.step_status("b")) == ("SKIPPED", "SUCCESS")
    assert (told.log("b"), told.log("b", attempt=2)) == ("attempt 1\n", "attempt 2\n")


def test_at_once(instance, tmp_path):
    """Isolated steps of several threads run at once, and share no log."""
    with start_run("p", instance=instance) as run, ThreadPoolExecutor(2) as pool:
        futures = [
            pool.submit(run.call_step, name, work.meet, str(tmp_path), name, other, isolate=True)
            for name, other in (("a", "b"), ("b", "a"))
        ]
        assert [future.result() for future in futures] == ["a", "b"]
    told = Told(instance, run.run_id)
    assert "(process)" not in {event.step_key for event in told.events}


def test_without_capture(instance, capfd):
    """capture=False: the child prints where we do."""
    with start_run("p", instance=instance, capture=False) as run:
        assert run.call_step("a", work.double, 1, isolate=True) == 2
    assert sorted(capfd.readouterr().out.splitlines()) == ["doubling 1", "grandchild"]


def test_functions_of_a_script(program, local):
    """A function of the script that is run is found, as multiprocessing finds it."""
    done = program.run(
        """
        import daglens.recorder as daglens
        def work():
            print("in the child", __name__)
            return 7
        if __name__ == "__main__":
            with daglens.start_run("p") as run:
                print(run.call_step("a", work, isolate=True), run.run_id)
        """
    )
    assert done.returncode == 0, done.stderr
    number, run_id = done.stdout.split()[-2:]
    assert number == "7"
    assert Told(local, run_id).log("a") == "in the child __mp_main__\n"


def test_a_script_that_would_begin_another_run(program, local):
    """A script without a guard is told to have one, instead of beginning runs without end."""
    done = program.run(
        """
        import daglens.recorder as daglens
        def work():
            return 7
        with daglens.start_run("p") as run:
            run.call_step("a", work, isolate=True)
        """
    )
    assert done.returncode == 1
    assert 'below `if __name__ == "__main__":`' in done.stderr
    assert len(runs_of(local)) == 1
