"""A spool of the test's own, a server, and a gate in front of it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from daglens.instance import Instance
from daglens.recorder.problems import Problems
from daglens.recorder.remote import destination
from daglens.recorder.remote.outbox import Outbox
from daglens.recorder.remote.sender import SenderPace
from daglens.recorder.remote.spool_files import About
from daglens.recorder.remote.spool_folder import SPOOL_VARIABLE, SpoolFolder
from daglens.testing.server import LiveServer, serve_in_thread
from tests.recorder.conftest import PATIENCE_S, Told
from tests.recorder.remote.gate import Gate, gate_to


def dense(told: Told) -> bool:
    """Whether seqs have no gap, and no event is there twice."""
    ids = [event.event_id for event in told.events]
    return [e.seq for e in told.events] == list(range(1, len(ids) + 1)) and len(set(ids)) == len(ids)


QUICK = SenderPace(
    look_at_logs_s=0.02,
    look_at_run_s=0.05,
    look_for_orphans_s=0.05,
    first_pause_s=0.02,
    longest_pause_s=0.1,
    denied_pause_s=0.1,
)


@pytest.fixture
def spool(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> SpoolFolder:
    """The spools of this test; senders look and try again quickly, and the end of a run waits for a server as long as a
    loaded machine may take. See `server_stays_away`."""
    monkeypatch.setenv(SPOOL_VARIABLE, str(tmp_path / "spool"))
    for name in ("DAGLENS_TO", "DAGLENS_TOKEN", "DAGLENS_TOKEN_FILE", "DAGLENS_SPOOL_MAX_BYTES"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(destination, "DEFAULT_PACE", QUICK)
    monkeypatch.setattr(destination, "FINISH_S", PATIENCE_S)
    monkeypatch.setattr(destination, "FINISH_AWAY_S", PATIENCE_S)
    return SpoolFolder()


@pytest.fixture
def server_stays_away(spool: SpoolFolder, monkeypatch: pytest.MonkeyPatch) -> None:
    """The end of a run waits a moment for a server that is away: it doesn't come back in this test."""
    monkeypatch.setattr(destination, "FINISH_AWAY_S", 0.3)


@pytest.fixture
def instance() -> Iterator[Instance]:
    """An empty instance in memory: what the server does with it is tested elsewhere."""
    with Instance.ephemeral() as opened:
        yield opened


@pytest.fixture
def server(instance: Instance) -> Iterator[LiveServer]:
    """A server of the instance."""
    with serve_in_thread(instance) as serving:
        yield serving


@pytest.fixture
def gate(server: LiveServer) -> Iterator[Gate]:
    """A gate in front of the server."""
    with gate_to(server.url) as opened:
        yield opened


@pytest.fixture
def box(spool: SpoolFolder, about: About) -> Iterator[Outbox]:
    """An outbox of the run that a test's `about` tells of, whose files of events are short."""
    made = Outbox(spool, about, Problems(), segment_bytes=2_000)
    yield made
    made.close()
    made.files.release()
