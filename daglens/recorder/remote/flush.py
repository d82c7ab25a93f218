"""What waits in the spools of this machine, and sending it now."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Final

from daglens.recorder.remote.address import InvalidServerAddress, ServerAddress, Token
from daglens.recorder.remote.connection import AccessDenied, GraphQLConnection, InputRefused, ServerAway, ServerFailed
from daglens.recorder.remote.delivery import Delivery, RunGone, RunUnknown
from daglens.recorder.remote.operations import Server
from daglens.recorder.remote.spool_files import About, SpoolFiles
from daglens.recorder.remote.spool_folder import SpoolFolder
from daglens.storage.errors import DaglensError

DEFAULT_PAUSES_S: Final = (0.2, 1.0)
"""Between tries while the server is away; after the last one it is given up."""


@dataclass(frozen=True, slots=True)
class Waiting:
    """One spool.

    Attributes:
        pipeline_name: None where another process begins the run.
        recording: Its process lives, and sends it itself.
        events, log_bytes: What is not sent.
        sent: Nothing is: its process is dead, and whoever sends next for this server removes the spool.
        disk_bytes: Room that it takes.
        problem: Why it isn't sent, as far as is known.
    """

    path: str
    url: str
    run_id: str
    pipeline_name: str | None
    process_id: int
    recording: bool
    events: int
    log_bytes: int
    sent: bool
    disk_bytes: int
    problem: str | None


@dataclass(frozen=True, slots=True)
class Flushed:
    """What became of one spool.

    Attributes:
        problem: Why it is still there, or gone without being sent; None: the server has all of it.
        gone: It was removed without being sent: its run takes nothing any more.
    """

    waiting: Waiting
    problem: str | None = None
    gone: bool = False


def waiting(folder: SpoolFolder, url: str | None = None) -> Iterator[Waiting]:
    """Every spool, oldest first; for one server when `url` names one."""
    for files, about in folder.spools():
        if url in (None, about.url):
            yield _waiting(files, about, recording=files.is_locked())


def _waiting(files: SpoolFiles, about: About, *, recording: bool) -> Waiting:
    return Waiting(
        path=str(files.path),
        url=about.url,
        run_id=about.run_id,
        pipeline_name=None if about.create is None else str(about.create.get("pipelineName")),
        process_id=about.process_id,
        recording=recording,
        events=files.waiting_events(),
        log_bytes=files.waiting_log_bytes(),
        sent=not recording and files.is_sent(),
        disk_bytes=files.used_bytes(),
        problem=files.sent().problem,
    )


def flush(
    folder: SpoolFolder,
    token: Token,
    *,
    url: str | None = None,
    to: ServerAddress | None = None,
    say: Callable[[str], None] = lambda sentence: None,
    pauses_s: tuple[float, ...] = DEFAULT_PAUSES_S,
) -> Iterator[Flushed]:
    """Send what dead processes left, oldest first; what became of each.

    Args:
        url: Only what is for this server.
        to: Send it there instead.
        say: Told what had to be left out on the way.
    """
    away: dict[str, str] = {}
    for files, about in folder.orphans(url):
        found = _waiting(files, about, recording=False)
        try:
            try:
                address = to if to is not None else ServerAddress.parse(about.url)
            except InvalidServerAddress as error:
                yield Flushed(found, str(error))
                continue
            if address.url in away:
                yield Flushed(found, away[address.url])
                continue
            try:
                _send(files, replace(about, url=address.url), address, token, say, pauses_s)
            except RunGone as error:
                files.remove()
                yield Flushed(found, str(error), gone=True)
            except (AccessDenied, RunUnknown, InputRefused, ServerFailed, DaglensError, OSError) as error:
                yield Flushed(found, str(error))
            except ServerAway as error:
                away[address.url] = str(error)
                yield Flushed(found, str(error))
            else:
                files.remove()
                yield Flushed(found)
        finally:
            files.release()


def _send(
    files: SpoolFiles,
    about: About,
    address: ServerAddress,
    token: Token,
    say: Callable[[str], None],
    pauses_s: tuple[float, ...],
) -> None:
    server = Server(GraphQLConnection(address, token))
    delivery = Delivery(files, about, server, lambda kind, sentence: say(sentence))
    left = list(pauses_s)
    try:
        while True:
            try:
                if delivery.send_events() or delivery.send_log():
                    left = list(pauses_s)
                    continue
                delivery.end_orphan()
                return
            except (AccessDenied, RunUnknown):
                raise
            except ServerAway:
                if not left:
                    raise
                time.sleep(left.pop(0))
    except (ServerAway, InputRefused) as error:
        delivery.failed(str(error))
        raise
    finally:
        server.close()
