"""Child processes with log files of their own from their start."""

from __future__ import annotations

from .conftest import SmallDisk

CHILD = """
import multiprocessing
from daglens.recorder.streams import open_child

def child(key, **more):
    return open_child(f"{LOGS}/{key}.out", f"{LOGS}/{key}.err", **more)
"""


def test_a_command_has_files_of_its_own_while_steps_are_open(run):
    """A command started while two steps are open: its output is in its own files alone, and on the console."""
    done = run(
        CHILD
        + """
shared = shared_log()
a, b = open_step("a", shared=shared), open_step("b", shared=shared)
mine = child("command")
subprocess.run(["sh", "-c", "echo out; echo err >&2"], stdout=mine.stdout_fd, stderr=mine.stderr_fd, check=True)
assert mine.close().captured and not mine.close().truncated
a.close(); b.close(); shared.close()
"""
    )
    assert (done.log("command.out"), done.log("command.err")) == ("out\n", "err\n")
    assert (done.stdout, done.stderr) == ("out\n", "err\n")
    assert done.log("a.out") + done.log("b.out") + done.log("(process).out") == ""


def test_spawned_children_in_parallel_are_exact(run):
    """Two spawned Python children at once: prints, descriptors and their own children are in each one's files."""
    done = run(
        CHILD
        + """
def work(streams, name):
    attached = streams.attach()
    for number in range(100):
        print(name, number)
        os.write(1, f"{name} exact {number}\\n".encode())
    subprocess.run(["sh", "-c", f"echo {name} grandchild; echo {name} complaint >&2"], check=True)
    assert attached.finish() is False

if __name__ == "__main__":
    context = multiprocessing.get_context("spawn")
    captures = {name: child(name) for name in ("one", "two")}
    processes = [context.Process(target=work, args=(mine.streams, name)) for name, mine in captures.items()]
    for process in processes: process.start()
    for process in processes: process.join()
    assert [process.exitcode for process in processes] == [0, 0]
    for mine in captures.values(): assert not mine.close().truncated
    print("parent")
"""
    )
    for name in ("one", "two"):
        lines = "".join(f"{name} {number}\n{name} exact {number}\n" for number in range(100))
        assert done.log(f"{name}.out") == lines + f"{name} grandchild\n"
        assert done.log(f"{name}.err") == f"{name} complaint\n"
    assert done.stdout.endswith("parent\n")
    assert sorted(done.stdout.splitlines()) == sorted(
        (done.log("one.out") + done.log("two.out") + "parent").split("\n")
    )


def test_a_killed_child_leaves_its_lines(run):
    """A spawned child that kills itself hard: what it printed is in its log and on the console."""
    done = run(
        CHILD
        + """
def work(streams):
    streams.attach()
    print("last words")
    os.kill(os.getpid(), 9)

if __name__ == "__main__":
    mine = child("a")
    process = multiprocessing.get_context("spawn").Process(target=work, args=(mine.streams,))
    process.start(); process.join()
    mine.close()
    print(process.exitcode)
"""
    )
    assert done.log("a.out") == "last words\n"
    assert done.stdout == "last words\n-9\n"


def test_steps_inside_an_isolated_child_are_exact(run):
    """A child that opens a step itself: the step's files have its output, the child's log shows it too."""
    done = run(
        CHILD
        + """
def work(streams):
    streams.attach()
    print("child")
    step = open_step("inner")
    print("inner"); fd(1, "exact\\n")
    step.close()
    print("after")

if __name__ == "__main__":
    mine = child("outer")
    process = multiprocessing.get_context("spawn").Process(target=work, args=(mine.streams,))
    process.start(); process.join()
    mine.close()
"""
    )
    assert done.log("inner.out") == "inner\nexact\n"
    assert done.log("outer.out") == "child\ninner\nexact\nafter\n"
    assert done.stdout == done.log("outer.out")


def test_a_python_child_gives_a_full_disk_back(run, small_disk: SmallDisk):
    """64 MB onto a disk of 32 by an isolated child: no write fails, the log is truncated, and the child says so."""
    done = run(
        small_disk.setup
        + CHILD
        + """
def work(streams, answer):
    attached = streams.attach()
    for _ in range(1024):
        os.write(1, b"x" * 65_535 + b"\\n")
        time.sleep(0.0005)
    answer.send(attached.finish())

if __name__ == "__main__":
    mine = child("a", reserve_bytes=8 * 2**20)
    here, there = multiprocessing.Pipe()
    process = multiprocessing.get_context("spawn").Process(target=work, args=(mine.streams, there))
    process.start()
    said = here.recv()
    process.join()
    print(process.exitcode, said, mine.close(said).truncated, file=sys.stderr)
""",
        folder=small_disk.folder,
    )
    assert done.stderr == "0 True True\n"
    assert len(done.stdout) == 1024 * 65_536
    assert (small_disk.folder / "a.out").stat().st_size < 32 * 2**20


def test_below_the_reserve_a_child_inherits_the_console(run):
    """Nothing is captured for a child whose disk is too full at its start; a command then inherits our descriptors."""
    done = run(
        CHILD
        + """
mine = child("a", reserve_bytes=10**18)
subprocess.run(["echo", "shown"], stdout=mine.stdout_fd, stderr=mine.stderr_fd, check=True)
print(mine.streams, mine.close().problem)
"""
    )
    assert done.stdout.startswith("shown\nNone The disk of ")
    assert list(done.logs.iterdir()) == []
