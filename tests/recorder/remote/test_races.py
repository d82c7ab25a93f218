"""What comes between two lines of those that write a spool, send it, end it and ask for it."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from typer.testing import CliRunner

from daglens.cli.app import app
from daglens.instance import Instance
from daglens.recorder.drafts import draft
from daglens.recorder.problems import Problems
from daglens.recorder.remote.address import ServerAddress, Token
from daglens.recorder.remote.connection import GraphQLConnection
from daglens.recorder.remote.delivery import Delivery
from daglens.recorder.remote.destination import RemoteDestination
from daglens.recorder.remote.operations import Server, run_input
from daglens.recorder.remote.outbox import Outbox
from daglens.recorder.remote.sender import Sender
from daglens.recorder.remote.spool_files import About, SpoolFiles, cut_path
from daglens.recorder.remote.spool_folder import SpoolFolder
from daglens.storage.errors import StorageUnavailable
from daglens.storage.records import ComputeIO, EventDraft, LogKey, NewRun
from daglens.testing.compute_logs.topic import write
from tests.recorder.conftest import PATIENCE_S, Program, Told, runs_of, until
from tests.recorder.remote.gate import Gate

RUN = run_input(NewRun("r", "p", created_at_us=1))


@pytest.fixture
def about(gate: Gate) -> About:
    """What a spool of the run `r` says."""
    return About(gate.url, "r", create=RUN, process_id=os.getpid(), hostname="here")


@pytest.fixture
def reached(gate: Gate) -> Iterator[Server]:
    """The server, as a recorder reaches it."""
    server = Server(GraphQLConnection(ServerAddress.parse(gate.url), Token.none()))
    yield server
    server.close()


def message(number: int) -> EventDraft:
    """An event with a number."""
    return draft("LOG_MESSAGE", f"m{number}", {"logger": "l"}, event_id=f"m{number}")


def send_events(box: Outbox, reached: Server) -> Delivery:
    """Send what waits, as the sender does; the log of the run is not looked at."""
    delivery = Delivery(box.files, box.about, reached, lambda kind, sentence: pytest.fail(sentence))
    while delivery.send_events():
        pass
    return delivery


def stored(instance: Instance) -> list[str]:
    """Messages of the run, in order."""
    return [event.message for event in Told(instance, "r").all("LOG_MESSAGE")]


def test_a_file_that_grows_before_it_is_left(
    instance: Instance, box: Outbox, reached: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Events that are written after the sender has read a file to its end, and before it looks for the next file, are
    sent, though there is a next file by then."""
    leave = SpoolFiles.next_segment
    writes = iter(range(3, 60))

    def left_late(files: SpoolFiles, sent: Any) -> bool:
        for number in writes:
            box.append([message(number)])
        return leave(files, sent)

    monkeypatch.setattr(SpoolFiles, "next_segment", left_late)
    for number in range(3):
        box.append([message(number)])
    send_events(box, reached)
    assert stored(instance) == [f"m{number}" for number in range(60)]


def test_events_that_were_read_from_a_batch_which_the_disk_took_in_part(
    instance: Instance, box: Outbox, reached: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The sender reads them before the writer knows that the disk is full. What is written afterwards, other events
    too, is sent whole."""
    box.append([message(0)])
    real, budget = os.write, [400]

    def write_some(fd: int, data: Any) -> int:
        if budget[0] <= 0:
            send_events(box, reached)
            raise OSError(28, "No space left on device")
        count = real(fd, bytes(data)[: budget[0]])
        budget[0] -= count
        return count

    monkeypatch.setattr("daglens.recorder.remote.outbox.os.write", write_some)
    with pytest.raises(StorageUnavailable, match="No space left"):
        box.append([message(number) for number in range(1, 10)])
    monkeypatch.undo()
    sent = stored(instance)
    assert 1 < len(sent) < 10
    later = [message(number) for number in range(9, 0, -1)]
    box.append(later)
    box.append([message(10)])
    send_events(box, reached)
    assert sorted(stored(instance)) == sorted(f"m{number}" for number in range(11))


def test_a_log_that_is_cut_while_it_is_sent(
    instance: Instance, box: Outbox, reached: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is given back to the disk between the look at its size and the reading doesn't arrive as zeros."""
    captured = box.files.logs.capture(LogKey("r", "a"))
    write(captured, ComputeIO.STDOUT, b"x" * 100_000)
    delivery = send_events(box, reached)
    read = type(box.files.logs).read

    def cut_first(storage: Any, key: LogKey, io: ComputeIO, *place: int) -> Any:
        with open(f"{captured.stdout_path}.new", "w", encoding="ascii") as file:
            file.write("50000")
        os.replace(f"{captured.stdout_path}.new", cut_path(str(captured.stdout_path)))
        with open(captured.stdout_path, "r+b") as log:
            log.seek(50_000)
            log.write(bytes(50_000))
        return read(storage, key, io, *place)

    monkeypatch.setattr(type(box.files.logs), "read", cut_first)
    assert delivery.send_log()
    monkeypatch.undo()
    captured.close()
    while delivery.send_log():
        pass
    kept = "x" * 50_000
    assert Told(instance, "r").log("a") == f"{kept}\n[daglens: 50000 bytes are not kept: there was no room for them]\n"


def test_a_heartbeat_after_the_end(gate: Gate, spool: SpoolFolder) -> None:
    """One that is late begins no new spool, which nobody would end."""
    destination = RemoteDestination(ServerAddress.parse(gate.url), Token.none(), "r", Problems(), folder=spool)
    destination.create_run(NewRun("r", "p"))
    destination.close()
    destination.heartbeat("r", 30)
    destination.append("r", [])
    assert list(spool.runs.iterdir()) == []


def test_a_description_after_the_end(spool: SpoolFolder, box: Outbox) -> None:
    """Nor does it bring back the spool that has just been removed."""
    box.close()
    box.files.remove()
    box.set_heartbeat(30)
    assert list(spool.runs.iterdir()) == []


def test_a_fork_while_another_s_spool_is_sent(spool: SpoolFolder, box: Outbox) -> None:
    """A forked child holds no lock: what its parent lets go, half sent, another process can send."""
    theirs = SpoolFiles(box.files.path)
    box.files.release()
    assert theirs.lock()
    born, hold = os.pipe(), os.pipe()
    child = os.fork()
    if child == 0:
        os.close(hold[1])
        os.write(born[1], b".")
        os.read(hold[0], 1)
        os._exit(0)
    try:
        assert os.read(born[0], 1)
        theirs.release()
        assert [files.name for files, _ in spool.orphans()] == [box.files.name]
    finally:
        os.close(hold[1])
        os.waitpid(child, 0)
        for fd in (*born, hold[0]):
            os.close(fd)


Part = tuple[Sender, Callable[[], None]]


@pytest.fixture
def part_in_hand(instance: Instance, spool: SpoolFolder, gate: Gate, reached: Server) -> Iterator[Part]:
    """A sender whose run has a part that a dead process left, while somebody else has that in hand; and what makes
    that one let it go."""
    instance.create_run(NewRun("r", "p"))
    gone = os.fork()
    if gone == 0:
        os._exit(0)
    os.waitpid(gone, 0)
    left = Outbox(spool, About(gate.url, "r", process_id=gone, hostname="here"), Problems())
    left.append([message(1)])
    left.close()
    ours = Outbox(spool, About(gate.url, "r", process_id=os.getpid(), hostname="here"), Problems())
    sender = Sender(ours, spool, reached, Problems())
    sender.start()
    yield sender, left.files.release
    ours.files.release()
    left.files.release()


def test_a_part_that_somebody_else_has_in_hand(
    instance: Instance, spool: SpoolFolder, part_in_hand: Part, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The end of a run waits for whoever else is sending a part of it, and sends what that one leaves."""
    sender, let_go = part_in_hand
    looks = threading.Semaphore(0)
    spools = SpoolFolder.spools

    def told(folder: SpoolFolder) -> Any:
        yield from spools(folder)
        looks.release()

    monkeypatch.setattr("daglens.recorder.remote.sender._PARTS_S", PATIENCE_S)
    finished: list[bool] = []
    ends = threading.Thread(target=lambda: finished.append(sender.finish(4 * PATIENCE_S, PATIENCE_S)))
    ends.start()
    until(lambda: sender._closing, "the end has come")
    monkeypatch.setattr(SpoolFolder, "spools", told)
    for _ in range(6):  # several rounds of the end
        if not looks.acquire(timeout=2):
            break
    let_go()
    ends.join()
    assert finished == [True]
    assert stored(instance) == ["m1"]
    assert len(list(spool.spools())) == 1


def test_a_part_that_somebody_else_keeps(
    part_in_hand: Part, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """It isn't waited for without end; that it isn't sent yet is said."""
    monkeypatch.setattr("daglens.recorder.remote.sender._PARTS_S", 0.05)
    assert part_in_hand[0].finish(PATIENCE_S, PATIENCE_S)
    assert capsys.readouterr().err.count("Another process is sending what process") == 1


def test_a_look_for_parts_that_fails(part_in_hand: Part, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is tried again, as all that the sender does: its thread doesn't end, and the run's end goes on."""
    sender, let_go = part_in_hand
    waits_for_parts = sender._waits_for_parts

    def fails_once() -> bool:
        monkeypatch.setattr(sender, "_waits_for_parts", waits_for_parts)
        let_go()
        raise OSError("the disk has hiccups")

    monkeypatch.setattr(sender, "_waits_for_parts", fails_once)
    assert sender.finish(PATIENCE_S, PATIENCE_S)


def test_two_ends_that_have_each_other_s_part_in_hand(
    instance: Instance, gate: Gate, spool: SpoolFolder, box: Outbox, reached: Server
) -> None:
    """Neither waits for the other: what a recorder sends of another run it lets go when its own run ends."""
    instance.create_run(NewRun("other", "p"))
    theirs = Outbox(spool, About(gate.url, "other"), Problems())
    theirs.append([message(1)])
    theirs.close()
    theirs.files.release()
    sender = Sender(box, spool, reached, Problems())
    while sender._guest is None:
        sender._round()
    sender._closing = True
    sender._round()
    assert [files.name for files, _ in spool.orphans()] == [theirs.files.name]


def test_the_status_of_what_is_sent(
    instance: Instance, gate: Gate, spool: SpoolFolder, program: Program, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A recorder that is killed when the server has everything leaves an empty spool: it counts as sent, not as
    waiting, and the next flush removes it."""
    source = """
import sys, time
import daglens
run = daglens.start_run("p", to=sys.argv[1])
run.log.info("there")
time.sleep(3600)
"""
    child = program.start(source, gate.url, env={"DAGLENS_SPOOL": str(spool.path)})
    (files, _) = until(lambda: next(spool.spools(), None), "its spool")
    until(
        lambda: files.is_sent() and [told.types for told in runs_of(instance)] == [["RUN_START", "LOG_MESSAGE"]],
        "everything is sent",
    )
    child.kill()
    child.wait()
    shown = CliRunner().invoke(app, ["recorder", "status"], env={"COLUMNS": "200"})
    assert "gone, all is sent" in shown.stdout and "Send what dead processes left" not in shown.output
    assert "goes with the next recorder" in shown.output
    (line,) = CliRunner().invoke(app, ["recorder", "status", "--json"]).stdout.splitlines()
    assert '"sent":true' in line.replace(" ", "")
    done = CliRunner().invoke(app, ["recorder", "flush"])
    assert (done.exit_code, done.stdout.count("all of it was sent to")) == (0, 1)
    assert list(spool.runs.iterdir()) == []
