"""`daglens runs …`."""

import json
import os

from daglens.instance import Instance
from daglens.storage import event_types as et
from daglens.storage.records import EventDraft, NewRun


def ids(answer):
    """Run ids in the order printed."""
    return [run["runId"] for run in answer.objects]


def test_list_newest_first(filled):
    """Runs are listed newest first, with the field names of GraphQL in JSON."""
    answer = filled("runs", "list", "--json")
    assert answer.code == 0
    assert ids(answer) == ["open", "bad", "good"]
    good = answer.objects[2]
    assert (good["status"], good["pipelineName"], good["tags"]) == (
        "SUCCESS",
        "nightly",
        {"team": "core", "run": "good"},
    )
    assert good["startedAt"] == "2026-09-21T14:13:20.000000Z"


def test_json_has_the_counts_of_the_table(filled):
    """Steps and events are counted under the names of GraphQL's RunStats, in a list and of one run."""
    listed = {run["runId"]: run["stats"] for run in filled("runs", "list", "--json").objects}
    assert listed["bad"] == {
        "stepsInProgress": 0,
        "stepsSucceeded": 1,
        "stepsFailed": 1,
        "stepsSkipped": 0,
        "materializations": 1,
        "expectations": 0,
        "expectationsFailed": 0,
        "events": 7,
    }
    assert listed["open"]["events"] == 6
    assert json.loads(filled("runs", "show", "bad", "--json").out)["stats"] == listed["bad"]


def test_list_filters_all_hold(filled):
    """Every filter narrows the list, and they hold together."""
    assert ids(filled("runs", "list", "--status", "failure", "--json")) == ["bad"]
    assert ids(filled("runs", "list", "--tag", "run=good", "--tag", "team", "--json")) == ["good"]
    assert ids(filled("runs", "list", "--pipeline", "nightly", "--oldest-first", "--json")) == ["good", "open"]
    assert ids(filled("runs", "list", "--since", "2026-09-21T14:13:30", "--limit", "1", "--json")) == ["open"]
    assert ids(filled("runs", "list", "--before", "2026-09-21T14:13:30", "--json")) == ["good"]
    assert ids(filled("runs", "list", "--pipeline", "hourly", "--status", "SUCCESS", "--json")) == []


def test_times_beyond_the_calendar(command):
    """Times that no calendar has, as of a bundle or a plug-in, are shown as the nearest that it has."""
    far = (-(2**63) + 1, "0001-01-01T00:00:00.000000Z"), (2**63 - 1, "9999-12-31T23:59:59.999999Z")
    with Instance.open(home=command.home) as instance:
        for number, (at_us, _) in enumerate(far):
            instance.create_run(NewRun(f"r{number}", "p", created_at_us=at_us))
            instance.append(f"r{number}", [EventDraft(et.RUN_START, timestamp_us=at_us, data={"pipelineName": "p"})])
    listed = command("runs", "list", "--oldest-first", "--json")
    assert [run["createdAt"] for run in listed.objects] == [text for _, text in far]
    for run_id, zone in (("r0", "America/Anchorage"), ("r1", "Pacific/Kiritimati")):
        command.env["TZ"] = zone
        table = command("runs", "list").out
        assert "0001-01-0" in table and "9999-12-3" in table
        assert "RUN_START" in command("events", run_id).out


def test_list_as_a_table(filled):
    """A person sees status, duration and steps of each run."""
    lines = filled("runs", "list").out.splitlines()
    assert lines[0].split() == ["run", "pipeline", "status", "created", "took", "steps", "events", "tags"]
    assert "bad" in lines[2]
    assert "FAILURE" in lines[2]
    assert "1 ok, 1 failed" in lines[2]


def test_an_empty_instance_says_so(command):
    """No runs is a sentence, not an empty table; JSON is empty."""
    assert "No runs yet in" in command("runs", "list").err
    assert command("runs", "list", "--json").out == ""


def test_bad_options_are_usage_errors(filled):
    """A wrong status or time is named with what would be right, exit code 2."""
    answer = filled("runs", "list", "--status", "BROKEN")
    assert answer.code == 2
    assert "take one of" in answer.err
    answer = filled("runs", "list", "--since", "yesterday")
    assert answer.code == 2
    assert "write e.g. 2h" in answer.err


def test_show_says_what_failed_and_why(filled):
    """The failing step is shown with its error, stack and cause, and the command that prints its output; control
    characters can't steer the terminal."""
    out = filled("runs", "show", "bad").out
    assert "ValueError: no orders" in out
    assert "File a.py, line 3" in out
    assert "caused by OSError: disk" in out
    assert "\x1b" not in out
    assert "extract" in out
    assert "daglens logs bad load, and with --stderr" in out
    assert "what extract printed" not in out  # it went well


def test_show_last_and_json(filled):
    """`last` is the newest run; JSON carries steps and logs."""
    shown = json.loads(filled("runs", "show", "last", "--json").out)
    assert shown["runId"] == "open"
    assert [(s["stepKey"], s["status"]) for s in shown["stepStats"]] == [("extract", "SUCCESS"), ("load", "FAILURE")]
    assert [(f["stepKey"], f["ioType"], f["sizeBytes"]) for f in shown["computeLogs"]] == [
        ("extract", "STDOUT", 13),
        ("extract", "STDERR", 7),
    ]


def test_show_says_who_created_it(command):
    """The name of the token by which a server let the recorder in; null where there was no server."""
    with Instance.open(home=command.home) as instance:
        instance.create_run(NewRun("by-server", "p", created_by="nightly-etl"))
        instance.create_run(NewRun("here", "p"))
    listed = {run["runId"]: run["createdBy"] for run in command("runs", "list", "--json").objects}
    assert listed == {"by-server": "nightly-etl", "here": None}
    assert " by nightly-etl" in command("runs", "show", "by-server").out
    assert " by " not in command("runs", "show", "here").out


def test_unknown_run_is_a_sentence(filled):
    """A run that isn't there is said in one line that tells where to look, without a traceback."""
    for args in (("runs", "show", "nope"), ("events", "nope"), ("logs", "nope"), ("runs", "tail", "nope")):
        answer = filled(*args)
        assert answer.code == 1
        assert answer.err.startswith("daglens: There is no such run. Run id: nope. `daglens runs list` shows the runs")
        assert answer.err.count("\n") == 1


def test_a_full_disk_is_a_sentence(filled):
    """Output that can't be written is said in one line, without a traceback; exit code 1."""
    program = filled.start("runs", "list", stdout=os.open("/dev/full", os.O_WRONLY))
    _, err = program.communicate(timeout=60)
    assert program.returncode == 1
    assert "No space left on device" in err
    assert err.count("\n") == 1


def test_last_of_none(command):
    """Without any run, `last` is none: that is said, and which folder was looked into."""
    for args in (("runs", "show"), ("events",), ("logs",), ("runs", "tail")):
        answer = command(*args, "last")
        assert (answer.code, answer.out) == (1, "")
        assert answer.err == f"daglens: No runs yet in {command.home}.\n"


def test_tail_follows_to_the_end(filled):
    """Tail shows the last events, then what another process writes, and ends with the run."""
    program = filled.start("runs", "tail", "open", "-n", "1", "--json")
    assert program.stdout is not None
    assert json.loads(program.stdout.readline())["eventType"] == "STEP_FAILURE"
    with Instance.open(home=filled.home) as instance:
        instance.append("open", [EventDraft(et.LOG_MESSAGE, message="live")])
        assert json.loads(program.stdout.readline())["message"] == "live"
        instance.append("open", [EventDraft(et.RUN_SUCCESS)])
    out, _ = program.communicate(timeout=60)
    assert [json.loads(line)["eventType"] for line in out.splitlines()] == ["RUN_SUCCESS"]
    assert program.returncode == 0


def test_delete_by_id(filled):
    """A finished run goes with all it has; one that has not ended stays and is named."""
    answer = filled("runs", "delete", "good", "open", "--yes")
    assert "Deleted 1 run with 7 events" in answer.out
    assert "open: STARTED, not finished, so it stays" in answer.err
    assert answer.code == 1
    assert ids(filled("runs", "list", "--json")) == ["open", "bad"]
    assert filled("logs", "good").code == 1


def test_delete_asks_first(filled):
    """Without a terminal to ask on and without --yes nothing goes."""
    answer = filled("runs", "delete", "good")
    assert answer.code == 2
    assert "add --yes" in answer.err
    assert len(ids(filled("runs", "list", "--json"))) == 3


def test_delete_dry_run_only_tells(filled):
    """--dry-run says what would go, logs and artifacts included, and deletes nothing."""
    with Instance.open(home=filled.home) as instance:
        (instance.artifacts.folder("good") / "report.txt").write_bytes(b"12345")
    answer = filled("runs", "delete", "--pipeline", "nightly", "--dry-run", "--json")
    assert answer.objects == [{"runId": "good", "events": 7, "bytes": 25, "dryRun": True}]
    assert len(ids(filled("runs", "list", "--json"))) == 3
    deleted = filled("runs", "delete", "--pipeline", "nightly", "--yes", "--json")
    assert deleted.objects == [{**answer.objects[0], "dryRun": False}]


def test_delete_without_any_condition_is_refused(filled):
    """Nothing named is no way to delete everything."""
    answer = filled("runs", "delete", "--yes")
    assert answer.code == 2
    assert "at least one condition" in answer.err


def test_reap(filled):
    """A run whose recorder fell silent is presumed dead by the command, too."""
    with Instance.open(home=filled.home) as instance:
        instance.heartbeat("open", 0)
    answer = filled("runs", "reap", "--json")
    assert answer.objects == [{"runId": "open"}]
    shown = json.loads(filled("runs", "show", "open", "--json").out)
    assert (shown["status"], shown["presumed"]) == ("FAILURE", True)
    assert "alive" in filled("runs", "reap").out
