"""`daglens failed`: from nothing to why, in one command."""

from __future__ import annotations

import json

from daglens.instance import Instance
from daglens.storage import event_types as et
from daglens.storage.records import ComputeIO, EventDraft, LogKey, LogLevel, NewRun
from tests.cli.conftest import FAILURE, START, record


def fail(instance, run_id, steps, *, expectations=0, error=FAILURE, created=None):
    """A run that ends badly: these steps failed, and so many expectations before them."""
    instance.create_run(NewRun(run_id, "nightly", created_at_us=created))
    instance.append(
        run_id,
        [
            EventDraft(et.RUN_START, data={"pipelineName": "nightly"}),
            EventDraft(et.STEP_START, "check", data={"attempt": 1}),
            *(
                EventDraft(et.STEP_EXPECTATION_RESULT, "check", message=f"row {n}", data={"label": "x", "success": ok})
                for n in range(expectations)
                for ok in (True, False)
            ),
            EventDraft(et.STEP_SUCCESS, "check"),
            *(
                EventDraft(kind, step, LogLevel.ERROR, f"{step} broke", data=error if kind == et.STEP_FAILURE else {})
                for step in steps
                for kind in (et.STEP_START, et.STEP_FAILURE)
            ),
            EventDraft(et.RUN_FAILURE, None, LogLevel.ERROR, "nightly failed", data=error),
        ],
    )


def test_one_command_tells_what_failed(filled):
    """The newest failed run, its stack, and the last lines of both streams of the failed step, as a terminal would have
    left them; a run that is newer and didn't fail is not in the way. The run's own error isn't told a second time."""
    bar = b"\r 10%\r 90%\r\x1b[32m100%\x1b[0m\n"
    with Instance.open(home=filled.home) as instance:
        logs = instance.compute_logs
        logs.append(LogKey("bad", "load"), ComputeIO.STDOUT, 0, b"".join(b"row %d\n" % n for n in range(100)))
        logs.append(LogKey("bad", "load"), ComputeIO.STDERR, 0, bar + b"disk \x1b]0;t\x07full\n", complete=True)
    answer = filled("failed", "--lines", "2")
    assert answer.code == 0, answer.err
    assert answer.out.startswith("run       bad ")
    assert answer.out.count("File a.py, line 3") == 1
    assert "caused by OSError: disk" in answer.out
    assert "\nload stdout, the end of 690 B:\n  row 98\n  row 99\n" in answer.out
    assert "\nload stderr, 41 B:\n  100%\n  disk full\n" in answer.out
    assert "extract std" not in answer.out  # it went well
    assert "daglens logs bad load, and with --stderr" in answer.out
    assert "hours failed" not in answer.out
    assert filled("logs", "failed", "load", "--stderr").out.endswith("full\n")


def test_programs_get_the_same(filled):
    """JSON has failures with their data, and the lines; a step without a log says why; filters hold."""
    (found,) = filled("failed", "--pipeline", "hourly", "--json").objects
    assert found["runId"] == "bad"
    assert [event["eventType"] for event in found["failures"]] == ["STEP_FAILURE", "RUN_FAILURE"]
    assert found["failures"][0]["data"]["error"]["className"] == "ValueError"
    ((end),) = found["logEnds"]
    assert (end["stepKey"], end["lines"]) == ("load", [])
    assert "can't be read" in end["problem"]
    answer = filled("failed", "--pipeline", "nightly")
    assert (answer.code, answer.out, answer.err) == (0, "", f"No failed run matches in {filled.home}.\n")


def test_nothing_failed(command):
    """That is good news, and said; asking for that run is an error."""
    with Instance.open(home=command.home) as instance:
        record(instance, "good", et.RUN_SUCCESS)
    answer = command("failed")
    assert (answer.code, answer.out, answer.err) == (0, "", f"No run has failed in {command.home}.\n")
    answer = command("logs", "failed")
    assert (answer.code, answer.err) == (1, f"daglens: No run has failed in {command.home}.\n")


def test_a_killed_run_that_nobody_has_reaped(command):
    """Without a server nobody presumes it dead, so it is no failure yet: that it fell silent is told, and what to do.
    Then it is the failed run, with what its step printed."""
    with Instance.open(home=command.home) as instance:
        for run_id in ("alive", "dead"):
            instance.create_run(NewRun(run_id, "p"))
            instance.append(run_id, [EventDraft(et.RUN_START), EventDraft(et.STEP_START, "s")])
        instance.compute_logs.append(LogKey("dead", "s"), ComputeIO.STDERR, 0, b"last words")
        instance.heartbeat("alive", 3600)
        instance.heartbeat("dead", 0)
    answer = command("failed")
    assert answer.err.startswith("No run has failed in")
    assert "1 unfinished run fell silent and may be dead; `daglens runs reap`" in answer.err
    assert answer.err.endswith("The newest: dead\n")
    assert command("runs", "reap").code == 0
    answer = command("failed")
    assert answer.err == ""
    assert answer.out.count("Presumed dead") == 1
    assert "s stderr, 10 B:\n  last words\n" in answer.out


def test_a_killed_run_behind_many_that_never_end(command):
    """Of very many unfinished runs the newest are looked at: what was killed last night isn't hidden by old ones."""
    with Instance.open(home=command.home) as instance:
        for n in range(500):
            instance.create_run(NewRun(f"old{n}", "p", created_at_us=START + n))
        instance.create_run(NewRun("dead", "p"))
        instance.append("dead", [EventDraft(et.RUN_START)])
        instance.heartbeat("dead", 0)
    assert command("failed").err.endswith("The newest: dead\n")


def test_many_failures_hide_none(command):
    """However many expectations failed before it, the failed step is told; what is left out is counted. Of several runs
    that failed today the others are pointed to."""
    with Instance.open(home=command.home) as instance:
        fail(instance, "old", ["a"], created=START)
        fail(instance, "earlier", ["a"])
        fail(instance, "bad", [f"s{n}" for n in range(30)], expectations=300)
        instance.compute_logs.append(LogKey("bad", "s0"), ComputeIO.STDERR, 0, b"x" * 100_000 + b"\nthe end")
    out = command("failed").out
    assert "STEP_FAILURE s0: s0 broke" in out
    assert "… and 10 failed steps more: daglens events --type STEP_FAILURE bad" in out
    assert "… and 290 failed expectations more: daglens events --type STEP_EXPECTATION_RESULT bad" in out
    assert "RUN_FAILURE: nightly failed" in out
    assert "s0 stderr, the end of 97.7 KiB:\n  the end\n" in out
    assert "what 25 more steps printed: daglens logs bad lists it" in out
    assert "1 other run of the last 24 hours failed: daglens runs list --status FAILURE --since 1d" in out


def test_logs_that_cannot_be_listed_hide_no_error(command):
    """Where the logs don't answer, what failed is told all the same, and in their place why they are missing."""
    with Instance.open(home=command.home) as instance:
        fail(instance, "bad", ["load"])
    (command.home / "dagster.yaml").write_text(
        "compute_logs: {module: tests.cli.forbidden_logs, class: ForbiddenLogs}\n", encoding="utf-8"
    )
    answer = command("failed")
    assert answer.code == 0, answer.err
    assert "ValueError: no orders" in answer.out
    assert "load stderr: The compute log can't be read. The bucket is closed." in answer.out


def test_steps_that_share_a_log(command):
    """Output of steps that ran at once may stand in the log of their process, which is shown as well."""
    with Instance.open(home=command.home) as instance:
        fail(instance, "bad", ["load"], error={})
        captured = {"attempt": 1, "stepKeys": ["load"]}
        instance.append("bad", [EventDraft(et.LOGS_CAPTURED, "(process)", data=captured)])
        instance.compute_logs.append(LogKey("bad", "(process)"), ComputeIO.STDOUT, 0, b"below Python\n")
    shown = json.loads(command("runs", "show", "failed", "--json").out)
    assert [(end["stepKey"], end["lines"]) for end in shown["logEnds"]] == [
        ("load", []),
        ("(process)", ["below Python"]),
    ]
