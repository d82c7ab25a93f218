"""Logs never fill a disk, and a full disk is never the pipeline's error."""

from __future__ import annotations

import pytest

from .conftest import SmallDisk

MIB = 2**20


@pytest.mark.fault("disk_full_capture")
def test_below_the_reserve_the_descriptors_go_back_to_the_console(run, small_disk: SmallDisk):
    """64 MB onto a disk of 32: no write fails, the log is truncated within the reserve, the console has all of it."""
    done = run(
        small_disk.setup
        + """
step = open_step("a", reserve_bytes=8 * 2**20)
block = b"x" * 65_535 + b"\\n"
for _ in range(512):
    os.write(1, block)
    time.sleep(0.0005)
for _ in range(512):
    print(block[:-1].decode())
print("end of it"); fd(1, "the very end\\n")
print("RESULT", step.close().truncated, file=sys.stderr)
later = open_step("b", reserve_bytes=8 * 2**20)
print("nothing captured")
print(later.captured, later.problem, file=sys.stderr)
later.close()
""",
        folder=small_disk.folder,
    )
    size = (small_disk.folder / "a.out").stat().st_size
    assert MIB < size < 32 * MIB
    assert (small_disk.folder / "a.out").read_bytes() == (b"x" * 65_535 + b"\n") * (size // 65_536) + b"x" * (
        size % 65_536
    )
    assert len(done.stdout) == 1024 * 65_536 + len("end of it\nthe very end\nnothing captured\n")
    assert done.stdout.endswith("end of it\nthe very end\nnothing captured\n")
    assert "RESULT True" in done.stderr
    assert "False The disk of" in done.stderr and "below the reserve of 8 MiB" in done.stderr
    assert not (small_disk.folder / "b.out").exists()


def test_the_text_of_one_of_several_steps_is_truncated_too(run, small_disk: SmallDisk):
    """Two open steps: what their files can't take is on the console, and both say truncated."""
    done = run(
        small_disk.setup
        + """
shared = shared_log()
a = open_step("a", shared=shared, reserve_bytes=8 * 2**20)
b = open_step("b", shared=shared, reserve_bytes=8 * 2**20)
for _ in range(400):
    with a.active(): print("a" * 65_535)
    print("b" * 65_535)
fd(1, "by descriptor\\n")
print(a.close().truncated, b.close().truncated, file=sys.stderr)
""",
        folder=small_disk.folder,
    )
    assert done.stderr == "True True\n"
    assert done.stdout.count("a") >= 400 * 65_535
    assert done.stdout.count("b") >= 400 * 65_535


def test_a_write_that_fails_between_two_looks_is_no_error(run, small_disk: SmallDisk):
    """No reserve at all: print fills the disk to its last byte, raises nothing, and the rest is on the console."""
    if small_disk.setup:
        setup = "import resource; resource.setrlimit(resource.RLIMIT_FSIZE, (30 * 2**20, 30 * 2**20))\n"
    else:
        setup = ""
    done = run(
        setup
        + """
step = open_step("a", reserve_bytes=0)
for _ in range(600):
    print("x" * 65_535)
print("RESULT", step.close().truncated, file=sys.stderr)
""",
        folder=small_disk.folder,
    )
    assert done.stdout == ("x" * 65_535 + "\n") * 600
    assert "RESULT True" in done.stderr


@pytest.mark.parametrize("reserve", ["10**18"])
def test_below_the_reserve_at_the_start_nothing_is_captured(run, reserve: str):
    """A disk below the reserve when the step opens: no file, a sentence that says so, output on the console."""
    done = run(
        f"""
        step = open_step("a", reserve_bytes={reserve})
        print("shown"); fd(1, "too\\n")
        print(step.close().problem)
        """
    )
    assert done.stdout.startswith("shown\ntoo\nThe disk of ")
    assert list(done.logs.iterdir()) == []
