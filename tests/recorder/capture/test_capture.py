"""One open step: everything that is written to descriptors 1 and 2 is in its files, and on the console."""

from __future__ import annotations

import os
import signal
import subprocess
from pathlib import Path

from .conftest import environment


def test_prints_descriptors_children_and_grandchildren_are_in_the_log(run):
    """Whoever writes to 1 or 2 while the step is open is in its log, in order, and on the console."""
    done = run(
        """
        print("before")
        step = open_step("a")
        print("printed")
        fd(1, "by descriptor\\n")
        subprocess.run(["sh", "-c", "echo child; sh -c 'echo grandchild; echo complaint >&2'"], check=True)
        print("again")
        print("wrong", file=sys.stderr)
        print(step.close().captured)
        print("after")
        """
    )
    assert done.log("a.out") == "printed\nby descriptor\nchild\ngrandchild\nagain\n"
    assert done.log("a.err") == "complaint\nwrong\n"
    assert done.stdout == "before\n" + done.log("a.out") + "True\nafter\n"
    assert done.stderr == done.log("a.err")


def test_text_that_c_holds_belongs_to_the_step_that_printed_it(run):
    """A C library that printed without flushing: its text is in the step's log, not on the console after it."""
    done = run(
        """
        import ctypes
        step = open_step("a")
        ctypes.CDLL(None).printf(b"from C\\n")
        step.close()
        """
    )
    assert done.log("a.out") == "from C\n"


def test_a_reference_to_the_stream_taken_before_is_captured_and_in_order(run):
    """A logging handler made before the step holds the old sys.stderr: its lines are in the log, line by line."""
    done = run(
        """
        import logging
        old = sys.stdout
        logging.basicConfig(stream=sys.stderr, format="%(message)s", level=logging.INFO)
        step = open_step("a")
        old.write("one\\n"); fd(1, "two\\n"); old.write("three\\n")
        logging.info("logged")
        step.close()
        logging.info("later")
        print(old.line_buffering, old is sys.stdout)
        """
    )
    assert done.log("a.out") == "one\ntwo\nthree\n"
    assert done.log("a.err") == "logged\n"
    assert done.stdout.splitlines()[-1] == "False True"


def test_a_handler_made_inside_a_step_goes_on_working_after_it(run):
    """A logging handler made in a step keeps our stream: it writes to the console afterwards, then to later ones."""
    done = run(
        """
        import logging
        step = open_step("a")
        logging.basicConfig(stream=sys.stderr, format="%(message)s", level=logging.INFO)
        logging.info("in a")
        step.close()
        logging.info("between")
        step = open_step("b")
        logging.info("in b")
        step.close()
        """
    )
    assert done.log("a.err") == "in a\n"
    assert done.log("b.err") == "in b\n"
    assert done.stderr == "in a\nbetween\nin b\n"


def test_kill_9_keeps_what_was_written(script, logs: Path):
    """After kill -9 each printed line is there, without PYTHONUNBUFFERED."""
    command = script(
        """
        step = open_step("a")
        for number in range(1000):
            print("line", number)
            if number % 100 == 0:
                subprocess.run(["echo", "child"])
        os.write(int(os.environ["READY"]), b"x")
        time.sleep(600)
        """
    )
    ready, told = os.pipe()
    process = subprocess.Popen(
        command,
        env=environment(logs) | {"READY": str(told)},
        pass_fds=[told],
        stdout=subprocess.DEVNULL,
    )
    os.close(told)
    assert os.read(ready, 1) == b"x"
    process.kill()
    assert process.wait() == -signal.SIGKILL
    os.close(ready)
    expected = "".join(f"line {number}\n" + "child\n" * (number % 100 == 0) for number in range(1000))
    assert (logs / "a.out").read_text() == expected


def test_bytes_surrogates_and_unfinished_lines_are_kept(run):
    """sys.stdout.buffer, names that are no UTF-8 and a last line without its end are all in the log, in order."""
    done = run(
        """
        step = open_step("a")
        sys.stdout.buffer.write(b"\\xffraw\\n")
        print(os.fsdecode(b"caf\\xe9"), "\\ud83d")
        print("no end", end="")
        sys.stdout.buffer.write(b"!")
        step.close()
        """
    )
    assert (done.logs / "a.out").read_bytes() == b"\xffraw\ncaf\xe9 \\ud83d\nno end!"


def test_a_second_attempt_to_the_same_file_appends_and_shows_only_what_is_new(run):
    """Opening a log that has text already adds to it."""
    done = run(
        """
        for word in ("one", "two"):
            step = open_step("a")
            print(word)
            step.close()
        """
    )
    assert done.log("a.out") == "one\ntwo\n"
    assert done.stdout == "one\ntwo\n"


def test_closing_twice_is_one_close_and_everything_is_restored(run):
    """After the last close descriptors, streams and descriptor table are as before."""
    done = run(
        """
        before = [os.fstat(n).st_ino for n in (1, 2)], sys.stdout, sys.stderr, sorted(os.listdir("/proc/self/fd"))
        for _ in range(3):
            shared = shared_log()
            a = open_step("a", shared=shared); b = open_step("b", shared=shared)
            for one in (a, a, b, b, shared, shared):
                one.close()
        after = [os.fstat(n).st_ino for n in (1, 2)], sys.stdout, sys.stderr, sorted(os.listdir("/proc/self/fd"))
        print(before == after, capture.current_step())
        """
    )
    assert done.stdout == "True None\n"


def test_an_exit_inside_a_step_shows_everything(run):
    """A process that ends with a step open shows its last words, traceback included, and they are in the log."""
    done = run(
        """
        step = open_step("a")
        print("last words", end="")
        raise SystemExit("gone")
        """,
        code=1,
    )
    assert done.log("a.out") == "last words"
    assert done.stdout == "last words"
    assert done.stderr == "gone\n"


def test_a_process_without_stdout_is_captured(script, logs: Path):
    """With descriptor 1 closed at the start, no log file takes its place, and what the step writes there is kept."""
    command = script(
        """
        step = open_step("a")
        print("nowhere"); fd(1, "by descriptor\\n"); print("err", file=sys.stderr)
        step.close()
        fd(1, "to nobody\\n")
        """
    )
    done = subprocess.run(
        ["sh", "-c", 'exec "$@" >&-', "sh", *command],
        env=environment(logs),
        stderr=subprocess.PIPE,
        text=True,
        check=False,
        timeout=60,
    )
    assert (done.returncode, done.stderr) == (0, "err\n")
    assert (logs / "a.out").read_text() == "nowhere\nby descriptor\n"
    assert (logs / "a.err").read_text() == "err\n"


def test_a_file_that_cannot_be_opened_is_a_problem_not_an_error(run):
    """A folder that is missing: nothing is captured, the step says why, and its output is on the console."""
    done = run(
        """
        step = capture.open_step("a", LOGS + "/missing/a.out", LOGS + "/missing/a.err")
        print("shown"); fd(1, "too\\n")
        result = step.close()
        print(result.captured, "missing" in result.problem)
        """
    )
    assert done.stdout == "shown\ntoo\nFalse True\n"


def test_somebody_else_takes_the_descriptors_meanwhile(run):
    """A program that points descriptor 1 elsewhere during a step keeps it: the end of the step doesn't take it back."""
    done = run(
        """
        own = os.open(LOGS + "/own", os.O_WRONLY | os.O_CREAT)
        outer = open_step("outer")
        inner = open_step("inner")
        outer.close()
        fd(1, "mine\\n")
        other = open_step("other")
        os.dup2(own, 1)
        other.close()
        fd(1, "theirs\\n")
        inner.close()
        fd(1, "still theirs\\n")
        """
    )
    assert done.log("inner.out") == "mine\n"
    assert done.log("own") == "theirs\nstill theirs\n"
