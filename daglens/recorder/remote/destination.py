"""A server as the place that a recorder writes to."""

from __future__ import annotations

import os
import queue
import socket
import tempfile
import threading
import weakref
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Final, TypeVar

from daglens.recorder.batch import CannotRecord
from daglens.recorder.destination import TO_VARIABLE, TOKEN_FILE_VARIABLE
from daglens.recorder.problems import Problems, note
from daglens.recorder.remote.address import InvalidToken, ServerAddress, Token
from daglens.recorder.remote.connection import GraphQLConnection, InputRefused, ServerAway
from daglens.recorder.remote.log_room import LogRoom
from daglens.recorder.remote.operations import Server, run_input
from daglens.recorder.remote.outbox import Outbox
from daglens.recorder.remote.sender import DEFAULT_PACE, Sender, SenderPace
from daglens.recorder.remote.spool_files import About
from daglens.recorder.remote.spool_folder import SpoolFolder
from daglens.storage.contract import LogCapture
from daglens.storage.drafts import now_us
from daglens.storage.errors import RunNotFound
from daglens.storage.names import file_name
from daglens.storage.records import EventDraft, Head, LogKey, NewRun, RunState

T = TypeVar("T")

SETTLE_S: Final = 3.0
"""How long the beginning of a run waits for the server's first answer."""
ASK_TIMEOUT_S: Final = 3.0
"""How long a question that the pipeline waits for may take."""
FINISH_S: Final = 10.0
FINISH_AWAY_S: Final = 3.0
"""How long the end of a process sends on, and how long it does so while the server is away."""
FINISH_VARIABLE: Final = "DAGLENS_FINISH_WAIT_S"
"""Seconds that stand in for both."""


class RemoteDestination:
    """Records one run to a server (see Destination). What is recorded is in the spool when a method returns."""

    is_ephemeral: Final = False
    home: Final = None
    log_place: Final = None

    def __init__(
        self,
        address: ServerAddress,
        token: Token,
        run_id: str,
        problems: Problems,
        *,
        folder: SpoolFolder | None = None,
        pace: SenderPace | None = None,
    ) -> None:
        """Nothing is made or sent yet."""
        self.address = address
        self._token = token
        self._run_id = run_id
        self._problems = problems
        self._folder = folder or SpoolFolder()
        self._pace = pace or DEFAULT_PACE
        self._outbox: Outbox | None = None
        self._sender: Sender | None = None
        self._closing: tuple[Outbox, Sender | None] | None = None
        self._is_hurried = self._is_over = False
        self._room: LogRoom | None = None
        self._lock = threading.RLock()
        self._pid = os.getpid()
        _destinations.add(self)

    @property
    def environment(self) -> Mapping[str, str]:
        """Variables with which a child process records to the same place. A token that was given as a text is the
        caller's to hand on."""
        found = {TO_VARIABLE: self.address.url}
        return found if self._token.file is None else found | {TOKEN_FILE_VARIABLE: str(self._token.file)}

    def open(self) -> None:
        """Make the spool.

        Raises:
            CannotRecord: It can be made nowhere.
        """
        self._box()

    def create_run(self, run: NewRun) -> bool:
        """See Destination. Waits a moment for the answer; without one the run is taken to be new."""
        created = run if run.created_at_us is not None else replace(run, created_at_us=now_us())
        box = self._box()
        box.describe(create=run_input(created))
        sender = self._started()
        sender.wait_settled(SETTLE_S)
        self._check(sender)
        return sender.created is not False

    def add_tags(self, run_id: str, tags: Sequence[tuple[str, str]]) -> None:
        """See Destination."""
        self._box().add_tags(tags)
        self._started()

    def append(self, run_id: str, drafts: Sequence[EventDraft]) -> Head | None:
        """See Destination. None while the server has not told how the run stands."""
        if not drafts:
            self._beat(None)
            return self.head(run_id)
        box, sender = self._box(), self._started()
        self._check(sender)
        box.append(drafts)
        return self.head(run_id)

    def heartbeat(self, run_id: str, timeout_s: int) -> None:
        """See Destination."""
        self._beat(timeout_s)

    def _beat(self, timeout_s: int | None) -> None:
        with self._lock:
            if self._is_over:
                return  # a late one of the pulse's thread: it would begin a spool that nobody ends
            box, sender = self._box(), self._started()
        if timeout_s is not None:
            box.set_heartbeat(timeout_s)
        sender.beat(timeout_s)

    def head(self, run_id: str) -> Head | None:
        """What the server last told; None: nothing yet. Asks nothing."""
        sender = self._sender
        if sender is None:
            return None
        sender.abort_if_overdue()
        seen = sender.seen
        if seen is None:
            return None
        return Head(run_id, "", state=RunState(status=seen.status), heard_at_us=0 if seen.heard else None)

    def attempts(self, run_id: str, step_key: str) -> int:
        """See Destination. Where the server doesn't answer, what spools of this machine tell."""
        here = self._folder.attempts(self.address.url, run_id, step_key)
        try:
            return max(here, self._ask(lambda server: server.attempts(run_id, step_key)))
        except (ServerAway, RunNotFound, InputRefused):
            return here

    def capture(self, key: LogKey) -> LogCapture | None:
        """See Destination."""
        box = self._box()
        if box.room.left_bytes() <= 0:
            self._cut(box, f"Output of {key.step_key} is not captured: there is no room in the spool.")
            return None
        captured = box.files.logs.capture(key)
        with self._lock:
            if self._room is None:
                self._room = LogRoom(box.files, self._run_id, box.room, lambda message: self._cut(box, message))
            self._room.watch()
        return captured

    def _cut(self, box: Outbox, message: str) -> None:
        self._problems.say("spool-log", f"{message} {box.room.why_full}")
        box.note(message)

    def artifact_folder(self, run_id: str) -> Path:
        """A folder of this machine: no server takes artifacts. That is said."""
        folder = self._folder.artifacts(file_name(run_id))
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        self._problems.say("artifacts", f"Artifacts are not sent to a server; those of this run stay in {folder}.")
        return folder

    def pipeline_name(self, run_id: str) -> str | None:
        """Name of the run's pipeline; None when the server doesn't tell now.

        Raises:
            RunNotFound: The server has no such run, and nothing of it waits to be sent.
        """
        try:
            return self._ask(lambda server: server.look(run_id)).pipeline_name
        except (ServerAway, InputRefused):
            return None
        except RunNotFound:
            if any(about.run_id == run_id for _, about in self._folder.spools()):
                return None
            raise

    def hurry(self) -> None:
        """See Destination."""
        self._is_hurried = True
        closing = self._closing  # another thread may be done with it meanwhile
        for sender in (self._sender, closing[1] if closing else None):
            if sender is not None:
                sender.hurry()

    def close(self) -> None:
        """Send the rest, for a while; say what is left, and how it is sent later. May be called twice, also when
        Ctrl-C broke off the first time."""
        with self._lock:
            self._is_over = True
            if self._outbox is not None:
                self._closing = (self._outbox, self._sender)
                self._outbox = self._sender = None
            if self._room is not None:
                self._room.end()
        closing = self._closing  # another thread that ends the run may be done with it meanwhile
        if closing is not None:
            self._finish(*closing)
            self._closing = None

    def _finish(self, box: Outbox, sender: Sender | None) -> None:
        box.close()
        if sender is None or sender.finish(*_finish_waits_s()) or sender.stopped is not None:
            box.files.remove()
            return
        left = f"{box.files.waiting_events()} events and {box.files.waiting_log_bytes()} bytes of output"
        box.files.release()
        why = f" {sender.problem}" if sender.problem else ""
        note(
            f"{left} of run {self._run_id} are not sent yet; they wait in {self._folder.path}.{why} "
            f"The next recorder for {self.address.url} sends them, or: daglens recorder flush --to {self.address.url}"
        )

    # ------------------------------------------------------------ spool and sender

    def _box(self) -> Outbox:
        with self._lock:
            if self._outbox is None:
                if self.address.shows_tokens and self._has_token():
                    self._problems.say(
                        "plain", f"The token goes to {self.address.url} without encryption: who listens can use it."
                    )
                about = About(self.address.url, self._run_id, process_id=os.getpid(), hostname=socket.gethostname())
                self._outbox = self._make(about)
            return self._outbox

    def _make(self, about: About) -> Outbox:
        try:
            return Outbox(self._folder, about, self._problems, on_news=self._news)
        except OSError as error:
            why = f"{self._folder.path} can't be used: {error.strerror or error}."
        try:
            folder = SpoolFolder(Path(tempfile.mkdtemp(prefix="daglens-spool-")), self._folder.max_bytes)
            box = Outbox(folder, about, self._problems, on_news=self._news)
        except OSError:
            raise CannotRecord(f"{why} Name another folder by DAGLENS_SPOOL.") from None
        self._folder = folder
        self._problems.say("spool", f"{why} What is recorded waits in {folder.path} until it is sent.")
        return box

    def _started(self) -> Sender:
        with self._lock:
            if self._sender is None:
                server = Server(GraphQLConnection(self.address, self._token))
                self._sender = Sender(
                    self._box(),
                    self._folder,
                    server,
                    self._problems,
                    on_stop=lambda why: self._problems.say("stopped", why),
                    pace=self._pace,
                )
                if self._is_hurried:
                    self._sender.hurry()
                self._sender.start()
            return self._sender

    def _news(self) -> None:
        sender = self._sender
        if sender is not None:
            sender.news()

    def _check(self, sender: Sender) -> None:
        if sender.stopped is not None:
            raise CannotRecord(sender.stopped)

    def _ask(self, question: Callable[[Server], T]) -> T:
        """What the server answers, to this thread.

        Raises:
            ServerAway: It doesn't, or hasn't lately.
        """
        sender = self._sender
        if sender is not None and sender.problem is not None:
            raise ServerAway(sender.problem)
        answers: queue.SimpleQueue[Callable[[], T]] = queue.SimpleQueue()
        # In a thread of its own: no timeout ends a look-up of a host's name.
        thread = threading.Thread(target=self._answer, args=(question, answers), name="daglens-ask", daemon=True)
        try:
            thread.start()
            return answers.get(timeout=ASK_TIMEOUT_S)()
        except (queue.Empty, RuntimeError):
            raise ServerAway(f"{self.address.url} doesn't answer in time.") from None

    def _answer(self, question: Callable[[Server], T], answers: queue.SimpleQueue[Callable[[], T]]) -> None:
        connection = GraphQLConnection(
            self.address, self._token, connect_timeout_s=ASK_TIMEOUT_S, answer_timeout_s=ASK_TIMEOUT_S
        )
        try:
            answer = question(Server(connection))
        except Exception as error:
            answers.put(_raising(error))
        else:
            answers.put(lambda: answer)
        finally:
            connection.close()

    def _has_token(self) -> bool:
        try:
            return self._token.read() is not None
        except InvalidToken:
            return False

    def start_in_child(self) -> None:
        """After a fork, in the child: the spool is the parent's; this process makes one of its own when it records."""
        self._lock = threading.RLock()
        for box in (self._outbox, self._closing[0] if self._closing else None):
            if box is not None:
                box.forget()
        self._outbox = self._sender = self._room = self._closing = None
        self._problems.forget_lock()


def _finish_waits_s() -> tuple[float, float]:
    try:
        given = float(os.environ[FINISH_VARIABLE])
    except (KeyError, ValueError):
        return FINISH_S, FINISH_AWAY_S
    return given, given


def _raising(error: Exception) -> Callable[[], Any]:
    def raises() -> Any:
        raise error

    return raises


_destinations: weakref.WeakSet[RemoteDestination] = weakref.WeakSet()


def _start_in_child() -> None:
    for destination in list(_destinations):
        destination.start_in_child()


os.register_at_fork(after_in_child=_start_in_child)
