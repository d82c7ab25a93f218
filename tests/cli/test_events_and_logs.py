"""`daglens events` and `daglens logs`."""

import json

from daglens.instance import Instance
from daglens.storage import event_types as et
from daglens.storage.records import ComputeIO, EventDraft, LogKey
from tests.cli.conftest import START


def seqs(answer):
    """Seqs in the order printed."""
    return [event["seq"] for event in answer.objects]


def test_all_events_in_order(filled):
    """Events are printed oldest first, each with its data."""
    answer = filled("events", "bad", "--json")
    assert seqs(answer) == [1, 2, 3, 4, 5, 6, 7]
    assert answer.objects[2]["data"] == {"label": "orders", "metadataEntries": []}
    assert answer.objects[2]["level"] == "INFO"


def test_filters_and_ends(filled):
    """Type, step, level, a start and the last N can be asked for."""
    assert seqs(filled("events", "bad", "--type", "step_start", "--json")) == [2, 5]
    assert seqs(filled("events", "bad", "--step", "load", "--json")) == [5, 6]
    assert seqs(filled("events", "bad", "--level", "error", "--json")) == [6, 7]
    assert seqs(filled("events", "bad", "--after", "5", "--json")) == [6, 7]
    assert seqs(filled("events", "bad", "--last", "2", "--json")) == [6, 7]
    assert seqs(filled("events", "bad", "--last", "1", "--type", "STEP_START", "--json")) == [5]


def test_none_is_said(filled):
    """A misspelt type doesn't look like a run in which nothing happened; a program gets nothing."""
    answer = filled("events", "bad", "--type", "STEP_FALIURE")
    assert (answer.code, answer.out, answer.err) == (0, "", "No event of this run matches.\n")
    answer = filled("events", "bad", "--type", "STEP_FALIURE", "--json")
    assert (answer.code, answer.out, answer.err) == (0, "", "")


def test_more_than_a_page(filled):
    """A long log is printed whole, each event once."""
    with Instance.open(home=filled.home) as instance:
        instance.append("open", [EventDraft(et.LOG_MESSAGE)] * 1200)
    assert seqs(filled("events", "open", "--json")) == list(range(1, 1207))
    assert seqs(filled("events", "open", "--last", "700", "--json")) == list(range(507, 1207))


def test_lines_for_people(filled):
    """A line has seq, type, step and message; an error follows with its causes; no control character gets through."""
    out = filled("events", "bad").out
    assert "STEP_FAILURE" in out
    assert "caused by OSError" in out
    assert "\x1b" not in out


def test_the_day_stands_above_its_events(filled):
    """At the head, and again wherever it changes, also between what was there and what is followed."""
    day_us = 86_400_000_000
    with Instance.open(home=filled.home) as instance:
        for day in (1, 1, 2):
            instance.append("open", [EventDraft(et.LOG_MESSAGE, message="m", timestamp_us=START + day * day_us)])
        instance.append("open", [EventDraft(et.RUN_SUCCESS, timestamp_us=START + 2 * day_us)])
    lines = filled("events", "open").out.splitlines()
    days = [index for index, line in enumerate(lines) if line.startswith("       2026-")]
    assert [lines[index].strip() for index in days] == ["2026-09-21", "2026-09-22", "2026-09-23"]
    assert days[0] == 0 and days[2] - days[1] == 3
    followed = filled("events", "open", "--last", "3", "--follow").out.splitlines()
    assert [line.strip() for line in followed if line.startswith("       2026-")] == ["2026-09-22", "2026-09-23"]


def test_follow_ends_with_the_run(filled):
    """--follow goes on until the run has ended."""
    program = filled.start("events", "open", "--follow", "--after", "6", "--json")
    assert program.stdout is not None
    with Instance.open(home=filled.home) as instance:
        instance.append("open", [EventDraft(et.LOG_MESSAGE, message="more")])
        assert json.loads(program.stdout.readline())["seq"] == 7
        instance.append("open", [EventDraft(et.RUN_SUCCESS)])
    assert [json.loads(line)["seq"] for line in program.communicate(timeout=60)[0].splitlines()] == [8]


def test_bad_level_is_a_usage_error(filled):
    """A level that there isn't is named with those there are."""
    answer = filled("events", "bad", "--level", "LOUD")
    assert answer.code == 2
    assert "take one of DEBUG" in answer.err


def test_logs_are_listed(filled):
    """Without a step the logs of the run are listed."""
    found = filled("logs", "good", "--json").objects
    assert [(f["stepKey"], f["ioType"], f["sizeBytes"], f["complete"]) for f in found] == [
        ("extract", "STDOUT", 13, True),
        ("extract", "STDERR", 7, True),
    ]
    assert "extract" in filled("logs", "good").out


def test_a_log_comes_byte_for_byte(filled):
    """A log is printed as it was written, stray bytes included."""
    with filled.start("logs", "good", "extract") as program:
        assert program.stdout is not None
        assert program.stdout.buffer.read() == b"read 5 rows\n\xff"
    assert filled("logs", "good", "extract", "--stderr").out == "warned\n"


def test_a_log_that_never_came_says_why(filled):
    """A step without a log, or an attempt that wasn't, is a sentence."""
    for args in (("logs", "good", "load"), ("logs", "good", "extract", "--attempt", "2")):
        answer = filled(*args)
        assert answer.code == 1
        assert answer.err.startswith("daglens: The compute log can't be read.")
        assert "wasn't captured in this run. `daglens logs good` lists what was." in answer.err


def test_following_a_log(filled):
    """--follow waits for a log that has not begun, and ends when it is closed."""
    program = filled.start("logs", "open", "load", "--follow")
    assert program.stdout is not None
    key = LogKey("open", "load")
    with Instance.open(home=filled.home) as instance:
        instance.compute_logs.append(key, ComputeIO.STDOUT, 0, b"one\n")
        assert program.stdout.readline() == "one\n"
        instance.compute_logs.append(key, ComputeIO.STDOUT, 4, b"two\n", complete=True)
    assert program.communicate(timeout=60)[0] == "two\n"
    assert program.returncode == 0
