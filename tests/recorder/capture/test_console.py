"""The console shows what is captured; what is wrong with it is never the step's error."""

from __future__ import annotations

import os
import pty
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from .conftest import PROLOGUE, environment


def test_the_console_is_live(script, logs: Path):
    """What a step writes is on the console while the step goes on, not only at its end."""
    command = script(
        """
        step = open_step("a")
        print("printed"); fd(1, "by descriptor\\n")
        sys.stdin.readline()
        step.close()
        """
    )
    with subprocess.Popen(
        command, env=environment(logs), stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdin is not None and process.stdout is not None
        assert [process.stdout.readline(), process.stdout.readline()] == ["printed\n", "by descriptor\n"]
        process.stdin.write("go\n")
        process.stdin.close()
        assert process.wait() == 0


def test_a_console_that_nobody_reads_does_not_hold_up_the_log(script, logs: Path):
    """With a full pipe as the console a step still writes its log; the console gets all of it once it is read."""
    ready, told = os.pipe()
    command = script(
        """
        step = open_step("a")
        for number in range(20_000):
            print("line", number)
        os.write(int(os.environ["READY"]), b"x")
        step.close()
        """
    )
    with subprocess.Popen(
        command, env=environment(logs) | {"READY": str(told)}, pass_fds=[told], stdout=subprocess.PIPE, text=True
    ) as process:
        os.close(told)
        assert os.read(ready, 1) == b"x"
        os.close(ready)
        expected = "".join(f"line {number}\n" for number in range(20_000))
        assert (logs / "a.out").read_text() == expected
        assert process.stdout is not None
        assert process.stdout.read() == expected
        assert process.wait() == 0


def test_a_console_that_is_gone_ends_nothing(script, logs: Path):
    """The reader of the console went away (`| head`): the step goes on, its log is whole, the exit code is 0."""
    read, write = os.pipe()
    os.close(read)
    done = subprocess.run(
        script(
            """
            step = open_step("a")
            for number in range(5000):
                print("line", number)
            fd(1, "last\\n")
            step.close()
            """
        ),
        env=environment(logs),
        stdout=write,
        stderr=subprocess.PIPE,
        text=True,
        check=False,
        timeout=60,
    )
    os.close(write)
    assert (done.returncode, done.stderr) == (0, "")
    assert (logs / "a.out").read_text() == "".join(f"line {number}\n" for number in range(5000)) + "last\n"


def test_a_terminal_is_no_terminal_while_captured(script, logs: Path):
    """On a terminal: programs are told that output goes to a file (no cursor movements in a log); afterwards again."""
    main, side = pty.openpty()
    with subprocess.Popen(
        script(
            """
            before = sys.stdout.isatty()
            step = open_step("a")
            print(before, sys.stdout.isatty(), os.isatty(1))
            step.close()
            print(sys.stdout.isatty())
            """
        ),
        env=environment(logs),
        stdout=side,
    ) as process:
        assert process.wait() == 0
    os.close(side)
    shown = b""
    while shown.count(b"\n") < 2:
        shown += os.read(main, 4096)
    os.close(main)
    assert shown == b"True False False\r\nTrue\r\n"
    assert (logs / "a.out").read_text() == "True False False\n"


UNDER_PYTEST = PROLOGUE + textwrap.dedent(
    """
    import asyncio, pytest

    def test_one_step(capfd):
        step = open_step("one")
        print("printed"); fd(1, "by descriptor\\n"); subprocess.run(["echo", "child"])
        step.close()
        shown = capfd.readouterr().out
        assert sorted(shown.split("\\n")) == sorted("printed\\nby descriptor\\nchild\\n".split("\\n"))

    def test_a_users_own_test_sees_each_print_once(capsys):
        step = open_step("seen")
        print("half", end="")
        assert capsys.readouterr().out == "half"
        print(" and half")
        sys.stdout.buffer.write(b"bytes\\n")
        step.close()
        assert capsys.readouterr().out == " and half\\nbytes\\n"

    def test_several():
        shared = shared_log()
        def work(name):
            step = open_step(name, shared=shared)
            for n in range(20): print(name, n)
            step.close()
        async def task(name):
            step = open_step(name, shared=shared)
            for n in range(20):
                print(name, n)
                await asyncio.sleep(0)
            step.close()
        async def tasks():
            await asyncio.gather(task("task1"), task("task2"))
        threads = [threading.Thread(target=work, args=(f"thread{n}",)) for n in (1, 2)]
        for thread in threads: thread.start()
        asyncio.run(tasks())
        for thread in threads: thread.join()
        shared.close()

    @pytest.fixture
    def over_phases():
        step = open_step("phases")
        print("setup")
        yield
        step.close()

    def test_step_of_a_fixture(over_phases):
        inner = open_step("inner", shared=shared_log())
        print("inside")
        inner.close()
    """
)


@pytest.mark.parametrize("mode", ["fd", "sys", "no"])
def test_under_pytest(mode: str, tmp_path: Path, logs: Path):
    """Under each of pytest's capture modes steps in the main thread, threads and tasks have their own output, and
    pytest shows each line once."""
    (tmp_path / "test_it.py").write_text(UNDER_PYTEST)
    done = subprocess.run(
        [
            sys.executable,
            "-m",
            "pytest",
            "-q",
            "-rP",
            "-p",
            "no:cacheprovider",
            f"--capture={mode}",
            "--rootdir=.",
            ".",
        ],
        cwd=tmp_path,
        env=environment(logs),
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert done.returncode == 0, done.stdout + done.stderr

    def log(name: str) -> str:
        return (logs / f"{name}.out").read_text()

    assert log("one") == "printed\nby descriptor\nchild\n"
    assert log("seen") == "half and half\nbytes\n"
    for name in ("thread1", "thread2", "task1", "task2"):
        assert log(name) == "".join(f"{name} {n}\n" for n in range(20))
        assert done.stdout.count(name) == 20
    assert log("phases").startswith("setup\n")
    assert log("inner") == "inside\n"
