"""Parts of a run that dead processes left, forked children for ones; the sender of the process that ends the run."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator

import pytest

from daglens.instance import Instance
from daglens.recorder.problems import Problems
from daglens.recorder.remote.address import ServerAddress, Token
from daglens.recorder.remote.connection import GraphQLConnection
from daglens.recorder.remote.operations import Server
from daglens.recorder.remote.outbox import Outbox
from daglens.recorder.remote.sender import Sender, SenderPace
from daglens.recorder.remote.spool_files import About
from daglens.recorder.remote.spool_folder import SpoolFolder
from daglens.storage.records import ComputeIO, EventDraft, LogKey, NewRun
from daglens.testing.compute_logs.topic import write
from tests.recorder.conftest import PATIENCE_S, Told, until
from tests.recorder.remote.gate import Answer, Gate, Request


@pytest.fixture
def part_of_run(instance: Instance, gate: Gate, spool: SpoolFolder) -> Iterator[tuple[Sender, Callable[[], None]]]:
    """A sender that has looked once for what dead processes left, and does so again in an hour; and what leaves an
    event and a log of the same run."""
    instance.create_run(NewRun("r", "p"))
    problems = Problems()
    pace = SenderPace(look_at_logs_s=0.01, look_at_run_s=0.02, look_for_orphans_s=3600)
    server = Server(GraphQLConnection(ServerAddress.parse(gate.url), Token.none()))
    ours = Outbox(spool, About(gate.url, "r"), problems)
    sender = Sender(ours, spool, server, problems, pace=pace)

    def die() -> None:
        childs = Outbox(spool, About(gate.url, "r"), problems)
        childs.append([EventDraft("LOG_MESSAGE", message="from the child")])
        captured = childs.files.logs.capture(LogKey("r", "in-child"))
        write(captured, ComputeIO.STDOUT, b"child's output\n")
        captured.close()
        childs.close()
        childs.files.release()

    yield sender, die
    told = Told(instance, "r")
    assert [event.message for event in told.all("LOG_MESSAGE")] == ["from the child"]
    assert told.log("in-child") == "child's output\n"
    assert [files.name for files, _ in spool.spools()] == [ours.files.name]
    ours.files.release()


class Held:
    """Requests of a field, from a moment on: they wait until they are let go."""

    def __init__(self, gate: Gate, field: str) -> None:
        self.asked = threading.Event()
        self._go = threading.Event()
        self._field = field
        gate.behave = self._behave

    def _behave(self, request: Request) -> Answer:
        if request.field == self._field:
            self.asked.set()
            self._go.wait(PATIENCE_S)
        return request.forward()

    def end_meanwhile(self, sender: Sender) -> None:
        """Let the recording end before they go on."""
        finished: list[bool] = []
        ends = threading.Thread(target=lambda: finished.append(sender.finish(PATIENCE_S, PATIENCE_S)))
        ends.start()
        until(lambda: sender._closing, "the end has come")
        self._go.set()
        ends.join()
        assert finished == [True]


def test_a_part_that_is_left_at_the_end(part_of_run: tuple[Sender, Callable[[], None]], gate: Gate) -> None:
    """It is sent before the recording ends, however lately it was looked for, and whatever the sender is doing when the
    end comes."""
    sender, die = part_of_run
    sender.start()
    assert sender.wait_settled(PATIENCE_S)
    look = Held(gate, "runOrError")
    assert look.asked.wait(PATIENCE_S)
    die()
    look.end_meanwhile(sender)


def test_a_part_that_is_left_in_a_round(part_of_run: tuple[Sender, Callable[[], None]], gate: Gate) -> None:
    """One that appears after the sender has looked for parts of its own run, and before it looks for other runs', is
    not begun as if it were one of those, which the end leaves for others."""
    sender, die = part_of_run
    reports = Held(gate, "reportEvents")
    first_look = threading.Event()

    def look(request: Request) -> Answer:
        if request.field == "runOrError" and not first_look.is_set():
            first_look.set()
            die()
        return reports._behave(request)

    gate.behave = look
    sender.start()
    until(lambda: reports.asked.is_set() or len(gate.of("runOrError")) > 3, "its rounds, or what they begin")
    reports.end_meanwhile(sender)
