"""The spool: what a killed or cut-off writer leaves is read, once; what is damaged is told."""

from __future__ import annotations

import errno
import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from typer.testing import CliRunner

from daglens.cli.app import app
from daglens.instance import Instance
from daglens.recorder.drafts import draft
from daglens.recorder.remote.address import Token
from daglens.recorder.remote.flush import flush, waiting
from daglens.recorder.remote.operations import run_input
from daglens.recorder.remote.outbox import Outbox
from daglens.recorder.remote.records import EVENT, framed, unframed
from daglens.recorder.remote.spool_files import About, Sent, SpoolFiles
from daglens.recorder.remote.spool_folder import SpoolFolder, max_spool_bytes, spool_path
from daglens.storage.errors import StorageUnavailable
from daglens.storage.records import NewRun
from tests.recorder.conftest import Told
from tests.recorder.remote.conftest import dense
from tests.recorder.remote.gate import Gate


@pytest.fixture
def about(gate: Gate) -> About:
    """What a spool of the run `r` says."""
    return About(gate.url, "r", create=run_input(NewRun("r", "p", created_at_us=1)), process_id=os.getpid())


def fill(box: Outbox, count: int, start: int = 0) -> None:
    """Record log messages, one a batch."""
    for n in range(start, start + count):
        box.append([draft("LOG_MESSAGE", f"m{n}", {"logger": "l"})])


def send(spool: SpoolFolder) -> list[str | None]:
    """Flush; what is wrong with each spool."""
    return [outcome.problem for outcome in flush(spool, Token.none(), pauses_s=())]


def abandon(box: Outbox) -> None:
    """As if the process had been killed: nothing is closed but what the system closes."""
    box.files.release()


def stored(instance: Instance) -> list[str]:
    """Messages of the run, in order."""
    return [event.message for event in Told(instance, "r").all("LOG_MESSAGE")]


@given(st.binary(max_size=300).filter(lambda text: b"\n" not in text))
def test_a_record_is_read_as_it_was_written(text: bytes) -> None:
    """Whatever a record holds, it is read back; with any byte changed, or cut anywhere, it is known as damaged."""
    line = framed(EVENT, text)
    found = unframed(line[:-1], 7)
    assert found is not None and (found.kind, found.json, found.end) == (EVENT, text, 7)
    for index in range(len(line) - 1):
        damaged = bytearray(line[:-1])
        damaged[index] ^= 0x01
        assert unframed(bytes(damaged), 7) is None
        assert unframed(line[:index], 7) is None


def test_files_of_events_go_when_they_are_sent(instance: Instance, spool: SpoolFolder, box: Outbox) -> None:
    """Events over many files arrive in order, and the spool is gone afterwards."""
    fill(box, 100)
    assert len(list(box.files.path.glob("events-*.ndjson"))) > 5
    assert [w.events for w in waiting(spool)] == [100]
    abandon(box)
    assert send(spool) == [None]
    assert stored(instance) == [f"m{n}" for n in range(100)]
    assert not box.files.path.exists()


@pytest.mark.fault("torn_spool")
@pytest.mark.parametrize("cut", [1, 5, 20, 60])
def test_a_torn_tail(instance: Instance, spool: SpoolFolder, box: Outbox, cut: int) -> None:
    """A last record that its writer was killed in is left out without fuss: it was never acknowledged."""
    fill(box, 5)
    last = box.files.segment(1)
    os.truncate(last, last.stat().st_size - cut)
    abandon(box)
    assert send(spool) == [None]
    assert stored(instance) == [f"m{n}" for n in range(4)]
    assert dense(Told(instance, "r"))


@pytest.mark.parametrize("place", [0, 2, 4])
def test_a_damaged_record(instance: Instance, spool: SpoolFolder, box: Outbox, place: int) -> None:
    """A record that the disk has damaged is told of in the run's log, in its place; the others arrive."""
    fill(box, 5)
    path = box.files.segment(1)
    lines = path.read_bytes().splitlines(keepends=True)
    lines[place] = lines[place].replace(b"LOG", b"LUG")
    path.write_bytes(b"".join(lines))
    abandon(box)
    assert send(spool) == [None]
    told = Told(instance, "r")
    expected = [f"m{n}" for n in range(5)]
    expected[place] = "An event was dropped: its place in the spool is damaged."
    assert [event.message for event in told.events] == expected


def test_sending_goes_on_where_it_stopped(instance: Instance, gate: Gate, spool: SpoolFolder, box: Outbox) -> None:
    """Who sends a spool that was sent in part begins behind what the server has."""
    fill(box, 30)
    abandon(box)
    passing = iter([True] * 3)

    def behave(request):
        return request.forward() if next(passing, False) else (503, "text/plain", b"")

    gate.behave = behave
    assert [problem is not None for problem in send(spool)] == [True]
    before = len(stored(instance))
    assert 0 < before < 30
    gate.requests.clear()
    gate.behave = lambda request: request.forward()
    assert send(spool) == [None]
    assert stored(instance) == [f"m{n}" for n in range(30)]
    assert len(gate.events()) == 30 - before


def test_a_lost_position_sends_everything_again(
    instance: Instance, gate: Gate, spool: SpoolFolder, box: Outbox
) -> None:
    """Without its position (a power cut) a spool is sent from the beginning, and everything is stored once."""
    fill(box, 30)
    abandon(box)
    passing = iter([True] * 3)
    gate.behave = lambda request: request.forward() if next(passing, False) else (503, "text/plain", b"")
    send(spool)
    (box.files.path / "sent.json").write_text("torn {")
    assert 0 < len(stored(instance)) < 30
    gate.behave = lambda request: request.forward()
    assert send(spool) == [None]
    assert stored(instance) == [f"m{n}" for n in range(30)]
    assert dense(Told(instance, "r"))


def test_one_sends_at_a_time(spool: SpoolFolder, box: Outbox) -> None:
    """A spool is taken by nobody while its process lives, and by one at a time afterwards."""
    fill(box, 1)
    assert list(spool.orphans()) == []
    assert box.files.is_locked()
    abandon(box)
    assert not box.files.is_locked()
    ((files, _),) = spool.orphans()
    assert list(spool.orphans()) == []
    files.release()
    ((files, _),) = spool.orphans()
    files.release()


def test_what_is_no_spool_is_left_alone(spool: SpoolFolder, about: About) -> None:
    """Folders that say nothing, and files in between, hinder nobody."""
    (spool.runs / "empty").mkdir(parents=True)
    (spool.runs / "file").write_text("x")
    odd = spool.runs / "odd"
    odd.mkdir()
    for text in ("", "[]", '{"url": 7, "run_id": "r"}', '{"url": "u"}', '{"url": "u", "run_id": "r", "more": 1}'):
        (odd / "about.json").write_text(text)
        assert list(spool.spools()) == []
    assert send(spool) == []
    os.utime(spool.runs / "empty", (0, 0))
    assert list(spool.spools()) == []
    assert not (spool.runs / "empty").exists(), "what a killed process left long ago goes"


def test_a_spool_that_belongs_to_somebody_else(
    spool: SpoolFolder, box: Outbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One that a `sudo` of the same user has left, say, can't be looked into; it hinders nobody, and is told of."""
    (spool.runs / "0-theirs").mkdir()
    read_bytes, stat = Path.read_bytes, Path.stat

    def is_theirs(path: Path) -> bool:
        return path.parent.name == "0-theirs"

    def refused(function: Callable[..., Any]) -> Callable[..., Any]:
        def call(path: Path, **more: Any) -> Any:
            if is_theirs(path):
                raise PermissionError(errno.EACCES, "Permission denied", str(path))
            return function(path, **more)

        return call

    monkeypatch.setattr(Path, "read_bytes", refused(read_bytes))
    monkeypatch.setattr(Path, "stat", refused(stat))
    assert [about.run_id for _, about in spool.spools()] == ["r"]
    assert list(spool.unreadable()) == [spool.runs / "0-theirs"]


@pytest.mark.parametrize("text", ["", "{torn", '{"url": "http://u", "run_id": "r", "of_a_newer_version": 1}'])
def test_what_cannot_be_read_is_kept(spool: SpoolFolder, box: Outbox, text: str) -> None:
    """A spool that doesn't say any more what it is for, in words of this version, is never removed, and told of."""
    fill(box, 3)
    abandon(box)
    (box.files.path / "about.json").write_text(text)
    os.utime(box.files.path, (0, 0))
    assert list(spool.spools()) == list(spool.orphans()) == []
    assert box.files.segment(1).read_bytes().count(b"\n") == 3
    assert list(spool.unreadable()) == [box.files.path]
    result = CliRunner().invoke(
        app, ["recorder", "flush", "--to", box.about.url], env={"DAGLENS_SPOOL": str(spool.path)}
    )
    assert result.exit_code == 1
    assert str(box.files.path) in result.output.replace("\n", "") and "Nothing to send" not in result.output
    result = CliRunner().invoke(app, ["recorder", "status"], env={"DAGLENS_SPOOL": str(spool.path)})
    assert result.exit_code == 0 and "about.json is damaged" in " ".join(result.output.split())


def test_a_power_cut_while_the_server_is_away(spool: SpoolFolder, box: Outbox, monkeypatch: pytest.MonkeyPatch) -> None:
    """What waits is on the disk with what it is for, and with its place in the folders; once, until that changes."""
    synced: list[str] = []

    def note(fd: int) -> None:
        synced.append(os.readlink(f"/proc/self/fd/{fd}"))

    monkeypatch.setattr(os, "fsync", note)
    monkeypatch.setattr(os, "fdatasync", note)
    fill(box, 1)
    box.sync()
    path = box.files.path
    assert set(synced) == {str(path / "events-000001.ndjson"), str(path / "about.json"), str(path), str(spool.runs)}
    synced.clear()
    box.sync()
    assert synced == []
    box.set_heartbeat(30)
    box.sync()
    assert str(path / "about.json") in synced


def test_a_full_disk(spool: SpoolFolder, box: Outbox, monkeypatch: pytest.MonkeyPatch, instance: Instance) -> None:
    """A batch that the disk took in part is not there at all; the next one, when there is room, is whole."""
    fill(box, 2)
    real = os.write
    budget = [30]

    def write(fd: int, data) -> int:
        if budget[0] <= 0:
            raise OSError(28, "No space left on device")
        count = real(fd, bytes(data)[: budget[0]])
        budget[0] -= count
        return count

    monkeypatch.setattr("daglens.recorder.remote.outbox.os.write", write)
    with pytest.raises(StorageUnavailable, match="No space left"):
        fill(box, 1, start=2)
    monkeypatch.undo()
    fill(box, 2, start=3)
    abandon(box)
    assert send(spool) == [None]
    assert stored(instance) == ["m0", "m1", "m3", "m4"]


def test_nobody_else_reads_it(spool: SpoolFolder, box: Outbox) -> None:
    """What pipelines print is kept from other users; a folder where others may write is refused."""
    fill(box, 1)
    assert box.files.path.stat().st_mode & 0o077 == 0
    assert spool.runs.stat().st_mode & 0o077 == 0
    spool.runs.chmod(0o777)
    with pytest.raises(PermissionError):
        spool.make(About("http://127.0.0.1", "r"))


def test_where_it_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """$DAGLENS_SPOOL, else below $XDG_STATE_HOME, else below ~/.local/state; a relative $XDG_STATE_HOME is ignored."""
    monkeypatch.setenv("HOME", str(tmp_path))
    home = tmp_path / ".local/state/daglens/spool"
    assert spool_path({"DAGLENS_SPOOL": "/a/b", "XDG_STATE_HOME": "/c"}) == Path("/a/b")
    assert spool_path({"XDG_STATE_HOME": "/c"}) == Path("/c/daglens/spool")
    assert spool_path({"XDG_STATE_HOME": "c"}) == home
    assert spool_path({"DAGLENS_SPOOL": ""}) == home
    assert max_spool_bytes({}) == 2**30
    assert max_spool_bytes({"DAGLENS_SPOOL_MAX_BYTES": "1000"}) == 1000
    assert max_spool_bytes({"DAGLENS_SPOOL_MAX_BYTES": "much"}) == 2**30


def test_what_the_files_say(spool: SpoolFolder, box: Outbox) -> None:
    """The files are as the module says: JSON that a person can read, and no more of a token than none."""
    fill(box, 1)
    (line,) = box.files.segment(1).read_text().splitlines()
    checksum, kind, text = line.split(" ", 2)
    assert (len(checksum), kind, json.loads(text)["message"]) == (8, "E", "m0")
    assert json.loads((box.files.path / "about.json").read_text())["run_id"] == "r"
    assert SpoolFiles(box.files.path).sent() == Sent()
