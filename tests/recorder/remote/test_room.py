"""Memory and disk are bounded while the server is away, and what that costs is said."""

from __future__ import annotations

import os
import subprocess

import pytest

import daglens
from daglens.instance import Instance
from daglens.recorder.drafts import draft
from daglens.recorder.problems import Problems
from daglens.recorder.remote.address import Token
from daglens.recorder.remote.flush import flush
from daglens.recorder.remote.freeing import free
from daglens.recorder.remote.operations import run_input
from daglens.recorder.remote.outbox import Outbox
from daglens.recorder.remote.spool_files import About
from daglens.recorder.remote.spool_folder import SpoolFolder, SpoolRoom
from daglens.storage.records import NewRun
from tests.recorder.conftest import Told, until
from tests.recorder.remote.conftest import dense
from tests.recorder.remote.gate import Gate

KIB, MIB = 1024, 1024 * 1024


def notes(told: Told) -> list[str]:
    """Messages of engine events."""
    return [event.message for event in told.all("ENGINE_EVENT")]


def test_events_beyond_the_bound(instance: Instance, gate: Gate, spool: SpoolFolder, capsys) -> None:
    """Without room, events that say where run and steps stand are kept, the others are dropped: the run's log says
    from where on and how many, stderr says it once. When there is room again, events are kept again."""
    folder = SpoolFolder(spool.path, max_bytes=64 * KIB)
    about = About(gate.url, "r", create=run_input(NewRun("r", "p", created_at_us=1)))
    box = Outbox(folder, about, Problems(), overdraft_bytes=8 * KIB)
    box.append([draft("RUN_START", "began", {"pipelineName": "p"})])
    for n in range(200):
        box.append([draft("LOG_MESSAGE", f"m{n} {'x' * 500}", {"logger": "l"})])
        if n % 50 == 0:
            box.append([draft("STEP_START", f"s{n}", {"attempt": 1}, step_key=f"s{n}")])
    folder.max_bytes = MIB
    until(lambda: box.room.left_bytes() > 8 * KIB, "room")
    box.append([draft("LOG_MESSAGE", "room again", {"logger": "l"}), draft("RUN_SUCCESS", "ended")])
    box.close()
    box.files.release()
    assert [outcome.problem for outcome in flush(folder, Token.none())] == [None]
    told = Told(instance, "r")
    assert dense(told)
    kept = [e.message.split()[0] for e in told.all("LOG_MESSAGE")]
    assert kept[-1] == "room"
    assert kept[:-1] == [f"m{n}" for n in range(len(kept) - 1)]
    assert 50 < len(kept) < 150
    assert [e.step_key for e in told.all("STEP_START")] == ["s0", "s50", "s100", "s150"]
    dropped = 200 - (len(kept) - 1)
    assert notes(told) == [
        "There is no room in the spool: from here on events are dropped.",
        f"{dropped} events were dropped: there was no room in the spool.",
    ]
    assert told.types[-3:] == ["ENGINE_EVENT", "LOG_MESSAGE", "RUN_SUCCESS"]
    assert capsys.readouterr().err.count("from here on events are dropped. ") == 1


def test_no_bound_is_overdrawn_without_end(spool: SpoolFolder, gate: Gate) -> None:
    """Not even events that are always wanted take room without end; those that go are counted."""
    folder = SpoolFolder(spool.path, max_bytes=0)
    box = Outbox(folder, About(gate.url, "r"), Problems(), overdraft_bytes=16 * KIB)
    for n in range(300):
        box.append([draft("STEP_START", "x" * 1000, {"attempt": 1}, step_key=f"s{n}")])
    box.close()
    assert box.files.segment(1).stat().st_size < 20 * KIB
    text = box.files.segment(1).read_bytes()
    assert b"%d events were dropped" % (300 - text.count(b"STEP_START")) in text
    box.files.release()


@pytest.mark.usefixtures("server_stays_away")
def test_output_beyond_the_bound(
    instance: Instance, gate: Gate, spool: SpoolFolder, capsys, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A step that prints more than there is room for, while the server is away, is cut: the log's end and the run's
    log say so, the console shows everything, the room stays bounded, and the other step's log is whole."""
    monkeypatch.setenv("DAGLENS_SPOOL_MAX_BYTES", str(4 * MIB))
    gate.fall()
    line = b"x" * 1023 + b"\n"
    with daglens.start_run("p", to=gate.url) as run:
        watched = SpoolFolder()
        room = SpoolRoom(watched, gate.url)
        with run.step("quiet"):
            print("a word")
        with run.step("chatty"):
            for _ in range(10):
                for _ in range(2 * KIB):
                    os.write(1, line)
                until(lambda: room.measure() > -256 * KIB, "room")
            (log,) = spool.runs.rglob("chatty.out")
            assert log.stat().st_size == 20 * MIB
    assert watched.used_bytes(gate.url) < 5 * MIB
    gate.raise_()
    assert [outcome.problem for outcome in flush(watched, Token.none())] == [None]
    told = Told(instance, run.run_id)
    assert dense(told) and told.status == "SUCCESS"
    assert told.log("quiet") == "a word\n"
    kept, _, end = told.log("chatty").rpartition("\n[daglens: ")
    assert end == f"{20 * MIB - len(kept)} bytes are not kept: there was no room for them]\n"
    assert MIB < len(kept) < 5 * MIB
    assert set(kept.split("\n")) <= {"x" * 1023, "", kept.split("\n")[-1]}
    assert notes(told) == ["There is no room in the spool: stdout of chatty is kept no further."]
    assert capsys.readouterr().err.count("stdout of chatty is kept no further.") == 1


def test_another_server_s_leftovers_take_no_room(
    instance: Instance, gate: Gate, spool: SpoolFolder, capsys, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What waits for a server that is away for ever, more than the bound even, takes no room from a recorder whose
    server is there: nothing of it is dropped or cut, and nothing is said."""
    monkeypatch.setenv("DAGLENS_SPOOL_MAX_BYTES", str(MIB))
    left_over = Outbox(SpoolFolder(max_bytes=8 * MIB), About("http://127.0.0.1:9", "old"), Problems())
    for n in range(4):
        left_over.append([draft("LOG_MESSAGE", f"m{n}", {"text": "x" * 600_000})])
    left_over.close()
    left_over.files.release()
    assert SpoolRoom(SpoolFolder(), "http://127.0.0.1:9").measure() < 0
    with daglens.start_run("p", to=gate.url) as run, run.step("a") as step:
        step.log.info("message")
        print("output")
    told = Told(instance, run.run_id)
    assert dense(told) and told.status == "SUCCESS"
    assert ([e.message for e in told.all("LOG_MESSAGE")], told.log("a"), notes(told)) == (["message"], "output\n", [])
    assert "daglens:" not in capsys.readouterr().err


def test_nothing_is_captured_without_room(instance: Instance, gate: Gate, spool: SpoolFolder, capsys, monkeypatch):
    """When there is no room to begin with, a step's output goes to the console alone, which is said."""
    monkeypatch.setenv("DAGLENS_SPOOL_MAX_BYTES", "0")
    with daglens.start_run("p", to=gate.url) as run:
        for key in ("a", "b"):
            with run.step(key):
                print("shown")
    told = Told(instance, run.run_id)
    assert told.status == "SUCCESS"
    assert told.all("LOGS_CAPTURED") == []
    assert "Output of a is not captured: there is no room in the spool." in notes(told)
    shown = capsys.readouterr()
    assert shown.out == "shown\nshown\n"
    assert shown.err.count("is not captured") == 1


def test_sent_output_takes_no_room(instance: Instance, gate: Gate, spool: SpoolFolder) -> None:
    """What the server has of a step's output is given back to the disk while the step goes on printing."""
    with daglens.start_run("p", to=gate.url) as run, run.step("a"):
        subprocess.run(["head", "-c", str(12 * MIB), "/dev/zero"], check=True)
        (log,) = spool.runs.rglob("a.out")
        until(lambda: log.stat().st_blocks * 512 < 6 * MIB, "room")
        assert log.stat().st_size == 12 * MIB
        print("end")
    assert len(Told(instance, run.run_id).log("a")) == 12 * MIB + 4


def test_room_within_a_file(tmp_path) -> None:
    """Whole pages go, their neighbours stay, and the file keeps its length."""
    path = tmp_path / "log"
    path.write_bytes(b"x" * 100_000)
    assert free(str(path), 5_000, 50_000) == 49_152
    data = path.read_bytes()
    assert len(data) == 100_000
    assert data[:8192] == b"x" * 8192
    assert data[8192:49_152] == bytes(49_152 - 8192)
    assert data[49_152:] == b"x" * (100_000 - 49_152)
    assert free(str(path), 10, 20) == 10
    assert free(str(tmp_path / "none"), 0, 50_000) == 0


@pytest.mark.usefixtures("spool")
def test_a_spool_that_can_not_be_made(instance: Instance, gate: Gate, tmp_path, monkeypatch, capsys) -> None:
    """Where the spool can't be, another folder takes its place, which is said; the run is recorded all the same."""
    blocked = tmp_path / "blocked"
    blocked.write_text("a file")
    monkeypatch.setenv("DAGLENS_SPOOL", str(blocked))
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr("tempfile.tempdir", None)
    with daglens.start_run("p", to=gate.url) as run, run.step("a"):
        print("output")
    told = Told(instance, run.run_id)
    assert (told.status, told.log("a")) == ("SUCCESS", "output\n")
    assert capsys.readouterr().err.count("What is recorded waits in") == 1


@pytest.mark.usefixtures("spool")
def test_nowhere_to_write(gate: Gate, tmp_path, monkeypatch, capsys) -> None:
    """Where nothing can be written at all, nothing is recorded, which is said once; the pipeline goes on."""
    blocked = tmp_path / "blocked"
    blocked.write_text("a file")
    monkeypatch.setenv("DAGLENS_SPOOL", str(blocked))
    monkeypatch.setattr("tempfile.mkdtemp", lambda prefix: (_ for _ in ()).throw(OSError(30, "Read-only file system")))
    with daglens.start_run("p", to=gate.url) as run, run.step("a"):
        print("shown")
    shown = capsys.readouterr()
    assert shown.err.count("Nothing is recorded") == 1
    assert shown.out == "shown\n"
