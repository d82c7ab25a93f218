"""Bringing one spool to its server, a piece at a time, in order. Whoever does it holds the spool's lock."""

from __future__ import annotations

import contextlib
import json
import re
from collections.abc import Callable, Sequence
from typing import Any, Final

from daglens.recorder.refused import UNFORESEEN_TRIES
from daglens.recorder.remote.connection import InputRefused, ServerAway, ServerFailed
from daglens.recorder.remote.log_delivery import LogDelivery
from daglens.recorder.remote.operations import RunSeen, Server
from daglens.recorder.remote.records import EVENT, TAGS, SpooledRecord, engine_event, is_run_end
from daglens.recorder.remote.spool_files import About, SpoolFiles
from daglens.storage.errors import RunConflict, RunDeleted, RunNotFound

MAX_EVENTS: Final = 500
MAX_BYTES: Final = 1024 * 1024
"""Of one request; an event that is larger goes alone."""

_INDEX: Final = re.compile(r"events\.(\d{1,9})(?:\.|$)")

Tell = Callable[[str, str], None]
"""Takes a kind, of which one is told, and a sentence."""


class RunGone(Exception):
    """Nothing of the run can be recorded, now or later; its spool is of no use. Its text is a sentence."""


class RunUnknown(ServerAway):
    """The server has no such run, and the spool doesn't tell how to create it: another spool may."""


class Delivery:
    """One spool on its way.

    Attributes:
        seen: The run, as the server last told.
        created: False when the server had the run before; None until that is known, or when others create it.
    """

    def __init__(self, files: SpoolFiles, about: About, server: Server, tell: Tell) -> None:
        self.files = files
        self.about = about
        self.sent = files.sent()
        self.seen: RunSeen | None = None
        self.created: bool | None = None
        self.logs = LogDelivery(files, about.run_id, self.sent, server, self._note)
        self._server = server
        self._tell = tell
        self._is_repeat = False

    # ------------------------------------------------------------ pieces

    def send_events(self) -> bool:
        """Send the next events; False when there are none now.

        Raises:
            RunGone, RunUnknown
            ServerAway: Try again later; nothing is lost.
        """
        self._create()
        batch, damaged = self._batch()
        if batch:
            self._send_batch(batch)
            self.sent.failures = 0
            self.sent.offset = batch[-1].end
            self.sent.run_ended = self.sent.run_ended or any(is_run_end(record.json) for record in batch)
        elif not damaged:
            return self.files.next_segment(self.sent)
        if damaged:
            message = "An event was dropped: its place in the spool is damaged."
            self._note(f"damaged-{self.sent.segment}-{damaged}", message)
            self.sent.offset = damaged
        self._save(None)
        return True

    def send_log(self) -> bool:
        """Send a piece of each log that has grown or ended; False when there is none now. Raises as `send_events`."""
        with self._run_errors():
            moved = self.logs.send()
        if moved:
            self._save(None)
        return moved

    def beat(self, timeout_s: int) -> None:
        """Say that the recorder lives. Raises as `send_events`."""
        self._create()
        with self._run_errors():
            self.seen = self._server.heartbeat(self.about.run_id, timeout_s)

    def sign_of_life(self) -> None:
        """The same, without a timeout. Raises as `send_events`."""
        self._create()
        with self._run_errors():
            self.seen = self._server.report_events(self.about.run_id, [])

    def look(self) -> None:
        """Ask how the run stands. Raises as `send_events`."""
        with self._run_errors():
            self.seen = self._server.look(self.about.run_id)

    def end_orphan(self) -> None:
        """After everything of a dead recorder was sent: have its run watched, so that it is presumed dead in its time.
        Raises as `send_events`."""
        if self.about.heartbeat_timeout_s is not None and not self.sent.run_ended:
            self.beat(self.about.heartbeat_timeout_s)

    def failed(self, problem: str) -> None:
        """Note why it isn't further, for `daglens recorder status`."""
        with contextlib.suppress(OSError):
            self._save(problem)

    def _save(self, problem: str | None) -> None:
        self.sent.problem = problem
        self.files.write_sent(self.sent)

    # ------------------------------------------------------------ the run

    def _create(self) -> None:
        given = self.about.create
        if given is None or self.sent.created:
            return
        try:
            self.created, self.seen = self._server.create_run(given)
        except InputRefused as error:
            self._tell("create", f"The run is recorded without its tags and configuration: {error}")
            self._create_bare(given)
        except RunConflict:
            self._take_over(given)
        except RunDeleted:
            raise self._deleted() from None
        self.sent.created = True
        self._save(None)

    def _create_bare(self, given: dict[str, Any]) -> None:
        bare = {key: given[key] for key in ("runId", "pipelineName", "createdAt")}
        try:
            self.created, self.seen = self._server.create_run(bare)
        except (InputRefused, RunConflict) as error:
            raise RunGone(f"{self.about.url} doesn't take run {self.about.run_id}: {error}") from None
        except RunDeleted:
            raise self._deleted() from None

    def _take_over(self, given: dict[str, Any]) -> None:
        """Somebody else created the run, a launcher for one; or it is recorded a second time."""
        with self._run_errors():
            self.seen = self._server.look(self.about.run_id)
        if self.seen.pipeline_name != given["pipelineName"]:
            raise RunGone(
                f"Run {self.about.run_id} on {self.about.url} is one of {self.seen.pipeline_name!r}, not of "
                f"{given['pipelineName']!r}. Recording stops; the pipeline goes on."
            )
        self.created = False
        self._tell("conflict", f"Run {self.about.run_id} was created before, with other values; they stay.")

    def _run_errors(self) -> contextlib.AbstractContextManager[None]:
        return _RunErrors(self)

    def missing(self) -> Exception:
        """What it means that the server has no such run."""
        if self.about.create is not None:
            if self._is_repeat:
                return ServerAway(f"{self.about.url} doesn't keep run {self.about.run_id}, which it has taken.")
            # It was deleted, which creating it tells, or the server has lost it: then it is made again.
            self._is_repeat, self.sent.created = True, False
            try:
                self._create()
            except (RunGone, ServerAway) as error:
                return error
            return ServerAway(f"{self.about.url} had lost run {self.about.run_id}; it is made again.")
        if self.sent.reported:
            return self._deleted()
        return RunUnknown(f"{self.about.url} has no run {self.about.run_id}.")

    def _deleted(self) -> RunGone:
        return RunGone(f"Run {self.about.run_id} was deleted. Recording stops; the pipeline goes on.")

    # ------------------------------------------------------------ events

    def _batch(self) -> tuple[list[SpooledRecord], int]:
        """The next records of one kind; and, where a damaged line comes before or behind them, its end (else 0)."""
        batch: list[SpooledRecord] = []
        start = self.sent.offset
        for record in self.files.read(self.sent, MAX_EVENTS, MAX_BYTES):
            if record is None:
                line_end = self._line_end(batch[-1].end if batch else start)
                return batch, line_end
            if batch and (record.kind != batch[0].kind or record.kind != EVENT):
                break
            batch.append(record)
        return batch, 0

    def _line_end(self, start: int) -> int:
        with self.files.segment(self.sent.segment).open("rb") as file:
            file.seek(start)
            return start + len(file.readline())

    def _send_batch(self, batch: Sequence[SpooledRecord]) -> None:
        if batch[0].kind == TAGS:
            try:
                with self._run_errors():
                    self.seen = self._server.add_tags(self.about.run_id, json.loads(batch[0].json))
            except InputRefused as error:
                self._note(f"tags-{self.sent.segment}-{batch[0].end}", f"Tags were not added: {error}")
        else:
            events = [record.json for record in batch if record.kind == EVENT]
            try:
                self._report(events, set())
            except ServerFailed as error:
                self.sent.failures += 1
                self._save(str(error))
                if self.sent.failures < UNFORESEEN_TRIES:
                    raise
                # An event that the server fails at must not hold up for ever what comes behind it. But a server that
                # fails at anything is away: then this raises.
                try:
                    self.sign_of_life()
                except ServerFailed as away:
                    raise ServerAway(str(away)) from away
                self._report(events, set(), takes_apart=True)

    def _report(self, events: list[bytes], replaced: set[int], *, takes_apart: bool = False) -> None:
        """Report events; one that is refused is replaced by a note of it, the rest goes on.

        Args:
            replaced: Indices of those that are such notes.
            takes_apart: An event that the server fails at counts as refused, if the server takes the note.
        """
        while events:
            try:
                with self._run_errors():
                    self.seen = self._server.report_events(self.about.run_id, events)
                    self.sent.reported = True
                    self._is_repeat = False
                    return
            except (InputRefused, ServerFailed) as failure:
                if isinstance(failure, InputRefused):
                    error = failure
                elif takes_apart and not (len(events) == 1 and replaced):
                    error = InputRefused(str(failure))
                else:
                    raise
                if error.code == "RUN_FULL":
                    raise RunGone(f"{error} Recording stops; the pipeline goes on.") from None
                index = _index(error, len(events))
                if index is None:
                    # It doesn't say which one: look in each half.
                    half = len(events) // 2
                    self._report(events[:half], {i for i in replaced if i < half}, takes_apart=takes_apart)
                    events, replaced = events[half:], {i - half for i in replaced if i >= half}
                elif index in replaced:
                    self._tell(
                        "refused-note", f"{self.about.url} takes neither an event nor a note in its place: {error}"
                    )
                    del events[index]
                    replaced = {i - (i > index) for i in replaced if i != index}
                else:
                    replaced.add(index)
                    events[index] = self._stand_in(events[index], error)

    def _stand_in(self, event: bytes, error: InputRefused) -> bytes:
        given = json.loads(event)
        name = str(given.get("eventType"))[:100]
        self._tell("refused", f"An event {name} was refused; a note takes its place. {error}")
        event_id = given.get("eventId")
        # The same id, so that a repeated refusal is noted once; a longer one may be what was refused.
        return engine_event(
            event_id if isinstance(event_id, str) and 0 < len(event_id) <= 64 else f"daglens:refused-{hash_of(event)}",
            f"Dropped an event {name!r}: {error}",
            given.get("timestamp"),
            str(given.get("message")),
        )

    def _note(self, key: str, message: str) -> None:
        """Tell of a loss, here and in the log of the run."""
        self._tell(key.split("-")[0], message)
        note = engine_event(f"daglens:{self.files.name}:{key}", message)
        with contextlib.suppress(RunUnknown):
            self._report([note], {0})


class _RunErrors(contextlib.AbstractContextManager[None]):
    """Says what RunNotFound means for the delivery."""

    def __init__(self, delivery: Delivery) -> None:
        self._delivery = delivery

    def __exit__(self, kind: object, error: BaseException | None, traceback: object) -> None:
        if isinstance(error, RunNotFound):
            raise self._delivery.missing() from None


def _index(error: InputRefused, count: int) -> int | None:
    """Which event was refused; None when the server doesn't say, and there are several."""
    if count == 1:
        return 0
    found = _INDEX.match(error.path)
    return int(found[1]) if found is not None and int(found[1]) < count else None


def hash_of(text: bytes) -> str:
    """16 characters that tell texts apart."""
    import hashlib

    return hashlib.sha256(text).hexdigest()[:16]
