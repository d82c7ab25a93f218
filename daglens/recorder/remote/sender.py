"""The thread that brings a spool to its server while its process records, and what dead processes left, too."""

from __future__ import annotations

import math
import threading
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from daglens.recorder.problems import Problems
from daglens.recorder.processes import has_ended
from daglens.recorder.refused import UNFORESEEN_TRIES
from daglens.recorder.remote.connection import AccessDenied, InputRefused, ServerAway, ServerFailed
from daglens.recorder.remote.delivery import Delivery, RunGone, RunUnknown
from daglens.recorder.remote.operations import RunSeen, Server
from daglens.recorder.remote.outbox import Outbox
from daglens.recorder.remote.spool_folder import SpoolFolder


@dataclass(frozen=True, slots=True)
class SenderPace:
    """How often the sender does what.

    Attributes:
        look_at_logs_s: Between two looks whether captured output has grown.
        look_at_run_s: At least so often it asks whether somebody wants the run's end, when nothing else tells.
        look_for_orphans_s: Between two looks for spools of dead processes.
        first_pause_s, longest_pause_s: Between tries while the server is away.
        denied_pause_s: Between tries while the server denies access: a token may be renewed.
    """

    look_at_logs_s: float = 0.5
    look_at_run_s: float = 3.0
    look_for_orphans_s: float = 5.0
    first_pause_s: float = 0.1
    longest_pause_s: float = 5.0
    denied_pause_s: float = 30.0


DEFAULT_PACE: Final = SenderPace()

_HURRIED_S: Final = 0.5
"""What a server that isn't known to be away has for the rest, when somebody is in a hurry."""
_PARTS_S: Final = 5.0
"""How long the end of a run waits for parts of it that somebody else has in hand."""
_PARTS_LOOK_S: Final = 0.05
_JOIN_S: Final = 2.0
_JOIN_HURRIED_S: Final = 0.2


class Sender:
    """Sends one spool, from its beginning to its end.

    Attributes:
        stopped: Why nothing can be recorded any more, as a sentence; None while it can.
        problem: Why the server doesn't have everything yet; None when nothing is wrong.
    """

    def __init__(
        self,
        outbox: Outbox,
        folder: SpoolFolder,
        server: Server,
        problems: Problems,
        *,
        on_stop: Callable[[str], None] = lambda why: None,
        pace: SenderPace = DEFAULT_PACE,
    ) -> None:
        """`on_stop` is told, by the thread, why nothing can be recorded any more."""
        self.stopped: str | None = None
        self.problem: str | None = None
        self._outbox = outbox
        self._folder = folder
        self._server = server
        self._problems = problems
        self._on_stop = on_stop
        self._pace = pace
        self._delivery = Delivery(outbox.files, outbox.about, server, problems.say)
        self._guest: Delivery | None = None
        self._skipped: set[str] = set()
        self._guest_failures: Counter[str] = Counter()
        self._earlier_at = self._guests_at = 0.0
        self._last_seen: RunSeen | None = None
        self._seen_at = 0.0
        self._changed = threading.Condition()
        self._news = True
        self._beat: int | None = None
        self._sign = False
        self._failing_since: float | None = None
        self._settled = False
        self._closing = False
        self._refused_parts: set[str] = set()
        self._parts_until = math.inf
        self._is_done = False
        self._is_halted = False
        self._is_hurried = False
        self._thread: threading.Thread | None = None

    # ------------------------------------------------------------ for the run

    def start(self) -> None:
        """Begin. Without threads, at the end of the interpreter, `finish` sends."""
        thread = threading.Thread(target=self._run, name="daglens-sender", daemon=True)
        try:
            thread.start()
        except RuntimeError:
            return
        self._thread = thread

    def news(self) -> None:
        """There is more to send."""
        with self._changed:
            self._news = True
            self._changed.notify_all()

    def beat(self, timeout_s: int | None) -> None:
        """Say soon that the recorder lives; None: without a timeout."""
        with self._changed:
            if timeout_s is None:
                self._sign = True
            else:
                self._beat = timeout_s
            self._news = True
            self._changed.notify_all()

    @property
    def seen(self) -> RunSeen | None:
        """The run, as the server last told; None: it has told nothing yet."""
        return self._delivery.seen

    @property
    def created(self) -> bool | None:
        """See Delivery."""
        return self._delivery.created

    def abort_if_overdue(self) -> None:
        """End a request that takes too long; to be called now and then."""
        self._server.abort_if_overdue()

    def wait_settled(self, timeout_s: float) -> bool:
        """Wait until the server has taken what there was, or can't or won't; True when it has."""
        with self._changed:
            self._changed.wait_for(
                lambda: (
                    self._settled or self._failing_since is not None or self.stopped is not None or self._is_hurried
                ),
                timeout_s,
            )
            return self._settled

    def hurry(self) -> None:
        """End the waits of `wait_settled` and `finish`, now and later. From any thread, and from a signal's handler:
        the lock is one that its own thread may take again."""
        with self._changed:
            self._is_hurried = True
            self._changed.notify_all()

    def finish(self, wait_s: float, away_wait_s: float) -> bool:
        """Send the rest; True when the server has everything.

        `hurry` ends it: at once while the server is away, else after a moment in which the last piece may get there.
        An exception (Ctrl-C) ends it at once; it may be called again then.

        Args:
            wait_s: At most, while the server takes something.
            away_wait_s: At most, while it is away.
        """
        give_up_at = time.monotonic() + wait_s
        with self._changed:
            self._closing = True
            self._parts_until = time.monotonic() + min(_PARTS_S, wait_s / 2)
            # For one more round: the one that the end came into may have looked for earlier parts of the run before a
            # forked child ended.
            self._news = True
            self._changed.notify_all()
        if self._thread is None and not self._is_hurried:
            self._send_here(give_up_at)
        away_at, hurried_until = time.monotonic() + away_wait_s, math.inf
        with self._changed:
            while not self._is_done and self.stopped is None:
                now = time.monotonic()
                if self._failing_since is None:
                    away_at = now + away_wait_s
                elif self._is_hurried:
                    break
                if self._is_hurried:
                    hurried_until = min(hurried_until, now + _HURRIED_S)
                left = min(give_up_at, away_at, hurried_until) - now
                if left <= 0 or self._thread is None:
                    break
                self._changed.wait(min(left, 0.2))
            self._is_halted = True
            if not self._is_done and self.problem is None and not self._is_hurried:
                self.problem = f"{self._outbox.about.url} doesn't answer in time."
            self._changed.notify_all()
        self._server.abort()
        if self._thread is not None:
            self._thread.join(_JOIN_HURRIED_S if self._is_hurried else _JOIN_S)
        return self._is_done

    # ------------------------------------------------------------ the thread

    def _run(self) -> None:
        pause_s = self._pace.first_pause_s
        while not self._is_over():
            try:
                moved = self._round()
                pause_s = self._pace.first_pause_s
                self._went_well()
                if not moved and not self._rest():
                    break
            except RunGone as error:
                self._stop(str(error))
                return
            except Exception as error:  # any: what went wrong here must not end the recording without a word
                if not self._is_over():
                    pause_s = self._failed(error, pause_s)
        self._drop_guest()
        self._server.close()

    def _is_over(self) -> bool:
        with self._changed:
            return self._is_halted

    def _round(self) -> bool:
        """Send a little of everything that waits; False when nothing does."""
        with self._changed:
            self._news = False
        if self._closing:
            self._drop_guest()  # its own recorder may be at its end, too, and wait for it
        delivery = self._delivery
        delivery.about = self._outbox.about
        self._send_earlier()
        moved = delivery.send_events()
        self._send_life()
        moved = delivery.send_log() or moved
        return moved or (not self._closing and self._send_guest())

    def _send_life(self) -> None:
        delivery, now = self._delivery, time.monotonic()
        if delivery.seen is not self._last_seen:
            self._last_seen, self._seen_at = delivery.seen, now
        with self._changed:
            beat, self._beat = self._beat, None
            sign, self._sign = self._sign, False
        if beat is not None:
            delivery.beat(beat)
        elif sign:
            delivery.sign_of_life()
        elif not self._closing and now - self._seen_at >= self._pace.look_at_run_s:
            delivery.look()

    def _rest(self) -> bool:
        """Wait for something to do; False when everything is sent and nothing comes any more."""
        if self._closing and self._waits_for_parts():
            with self._changed:
                self._changed.wait_for(lambda: self._is_halted or self._is_hurried, _PARTS_LOOK_S)
            return True
        with self._changed:
            if self._closing:
                if not self._news:
                    self._is_done = True
                    self._changed.notify_all()
                return self._news
            self._changed.wait_for(lambda: self._news or self._closing or self._is_halted, self._pace.look_at_logs_s)
            return True

    def _went_well(self) -> None:
        with self._changed:
            self._failing_since = None
            self._settled = True
            self.problem = None
            self._changed.notify_all()

    def _failed(self, error: Exception, pause_s: float) -> float:
        """Say it, and wait; the next pause."""
        sentence = str(error) if isinstance(error, ServerAway) else f"{type(error).__name__}: {error}"
        denied = isinstance(error, AccessDenied)
        kind = "denied" if denied else "unknown" if isinstance(error, RunUnknown) else "away"
        self._problems.say(kind, f"{sentence} What is recorded waits in {self._folder.path}; the pipeline goes on.")
        self._delivery.failed(sentence)
        self._outbox.sync()
        with self._changed:
            self.problem = sentence
            if self._failing_since is None:
                self._failing_since = time.monotonic()
            self._changed.notify_all()
            wait_s = self._pace.denied_pause_s if denied else pause_s
            closing = self._closing
            # close() has it tried once more, at once.
            self._changed.wait_for(lambda: self._is_halted or self._closing is not closing, wait_s)
        return min(2 * pause_s, self._pace.longest_pause_s)

    def _stop(self, why: str) -> None:
        with self._changed:
            self.stopped = why
            self._changed.notify_all()
        self._drop_guest()
        self._server.close()
        self._on_stop(why)

    def _send_here(self, give_up_at: float) -> None:
        """Without a thread: send from this one, without trying again."""
        try:
            while self._round() and time.monotonic() < give_up_at:
                pass
            self._is_done = time.monotonic() < give_up_at
        except RunGone as error:
            self.stopped = str(error)
        except Exception as error:
            self.problem = str(error)

    # ------------------------------------------------------------ spools of dead processes

    def _send_earlier(self) -> None:
        """Send what dead processes left of this run, whole: an earlier one may tell how the run begins."""
        now = time.monotonic()
        if now < self._earlier_at and not self._closing:
            return
        about = self._outbox.about
        for files, found in self._folder.orphans(about.url, about.run_id):
            delivery = Delivery(files, found, self._server, self._problems.say)
            try:
                while not self._is_over() and self._send_piece(delivery):
                    pass
            except (AccessDenied, RunUnknown, InputRefused) as error:
                self._refused_parts.add(files.name)
                delivery.failed(str(error))
            except ServerFailed as error:
                self._refused_parts.add(files.name)
                delivery.failed(str(error))
                if files.waiting_events():
                    raise  # ours come behind them
            finally:
                files.release()
        self._earlier_at = now + self._pace.look_for_orphans_s

    def _waits_for_parts(self) -> bool:
        """Whether to look once more for what dead processes left of our run: somebody else has it in hand, another
        recorder or `recorder flush`. It may leave it half sent, and then nobody would send the rest."""
        ours = self._outbox.about
        left = [
            about
            for files, about in self._folder.spools()
            if (about.url, about.run_id, about.hostname) == (ours.url, ours.run_id, ours.hostname)
            and about.process_id > 0
            and files.name not in {self._outbox.files.name, *self._refused_parts}
            and has_ended(about.process_id)
        ]
        is_late = time.monotonic() >= self._parts_until
        if left and is_late:
            self._problems.say(
                "parts",
                f"Another process is sending what process {left[0].process_id} has recorded of run {ours.run_id}. "
                "`daglens recorder status` tells whether it still does.",
            )
        return bool(left) and not is_late and not self._is_hurried

    def _send_guest(self) -> bool:
        """Send a piece of what dead processes left of other runs; False when there is nothing."""
        if self._guest is None:
            now = time.monotonic()
            if now >= self._guests_at:
                self._guest = self._next_guest()
                if self._guest is None:
                    self._guests_at = now + self._pace.look_for_orphans_s
        if self._guest is None:
            return False
        try:
            if self._send_piece(self._guest):
                return True
        except (AccessDenied, RunUnknown, InputRefused, ServerFailed) as error:
            # Not ours to make a fuss about: `daglens recorder status` tells.
            self._guest.failed(str(error))
            name = self._guest.files.name
            self._guest_failures[name] += 1
            if not isinstance(error, ServerFailed) or self._guest_failures[name] > UNFORESEEN_TRIES:
                self._skipped.add(name)
            self._guests_at = time.monotonic() + self._pace.look_for_orphans_s
        except ServerAway:
            self._drop_guest()
            raise
        self._drop_guest()
        return True

    def _send_piece(self, delivery: Delivery) -> bool:
        """Send a piece of a dead process's spool; False when it is sent, and gone."""
        try:
            if delivery.send_events() or delivery.send_log():
                return True
            delivery.end_orphan()
        except RunGone as error:
            self._problems.say(f"gone-{delivery.files.name}", str(error))
        delivery.files.remove()
        return False

    def _next_guest(self) -> Delivery | None:
        ours = self._outbox.about
        for files, about in self._folder.orphans(ours.url):
            # Not a part of our run, which can appear here first: a guest is left half sent when we end, and while we
            # have its lock `_send_earlier` can't get it.
            if about.run_id != ours.run_id and files.name not in self._skipped:
                return Delivery(files, about, self._server, self._problems.say)
            files.release()
        return None

    def _drop_guest(self) -> None:
        guest, self._guest = self._guest, None
        if guest is not None:
            guest.files.release()
