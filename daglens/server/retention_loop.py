"""Deleting what retention (`daglens: retention:`) lets go: by one server of an instance at a time, bit by bit."""

from __future__ import annotations

import asyncio
import logging
import os
import socket
import threading
from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import Enum, auto
from secrets import token_hex
from time import monotonic

from daglens.config.settings import Retention
from daglens.instance import Instance
from daglens.retention import CautiousClock, Rule, Undeleted, delete_runs, expired
from daglens.server.telemetry.metrics import Metrics
from daglens.storage.contract import Leases
from daglens.storage.records import RunRecord, RunStatus

log = logging.getLogger("daglens.retention")

LEASE = "retention"
_DAY_US = 86_400_000_000


@dataclass(frozen=True, slots=True)
class RoundBounds:
    """How much one round does at most.

    Attributes:
        runs: Deleted.
        seconds: After which no other run is begun.
        pages: Of 500 runs looked at.
        lease_s: How long this server keeps the work to itself; prolonged between two runs, also where one took long.
        retry_s: How long a run that can't be deleted is left alone.
        jump_s: How long the storage's clock must have been ahead of what it should be before that counts.
    """

    runs: int = 200
    seconds: float = 20.0
    pages: int = 20
    lease_s: float = 300.0
    retry_s: float = 3600.0
    jump_s: float = 3600.0


class Round(Enum):
    """How a round ended."""

    NOT_OURS = auto()
    """Another server does it, or this one is ending."""
    MORE_TO_DELETE = auto()
    """A bound was reached while there were runs to delete."""
    MORE_TO_SEE = auto()
    """Enough runs were looked at; the next round goes on from there."""
    DONE = auto()
    """Every run was looked at; the next round begins anew."""


class Keeper:
    """Carries out an instance's retention in rounds, one at a time, from any thread."""

    def __init__(
        self,
        instance: Instance,
        retention: Retention,
        bounds: RoundBounds | None = None,
        metrics: Metrics | None = None,
    ) -> None:
        """`retention` has an age."""
        self.metrics = metrics or Metrics()
        self._instance = instance
        self._retention = retention
        self._bounds = bounds or RoundBounds()
        self._now_us = CautiousClock(instance.runs.now_us, lambda: monotonic(), self._bounds.jump_s)
        self._holder = f"{socket.gethostname()[:100]}:{os.getpid()}:{token_hex(4)}"
        self._leased_at = 0.0
        self._ending = threading.Event()
        self._rounds = threading.Lock()
        # Where the walk through the runs stands: it may take many rounds.
        self._pages: Iterator[Sequence[RunRecord]] | None = None
        self._found: deque[RunRecord] = deque()
        self._ended = Round.DONE
        self._stuck_until: dict[str, float] = {}

    @property
    def older_than_days(self) -> float:
        """How many days after their end runs go."""
        assert self._retention.older_than_days is not None
        return self._retention.older_than_days

    def work(self) -> Round:
        """A round: delete some of what has to go, oldest first, and log what went.

        Raises:
            DaglensError: What a storage says; the next round begins anew.
        """
        with self._rounds:
            deleted = events = freed_bytes = 0
            try:
                for run in delete_runs(self._instance, self._to_delete()):
                    if isinstance(run, Undeleted):
                        self._pass_over(run)
                        continue
                    deleted += 1
                    events += run.events
                    freed_bytes += run.bytes
                    self.metrics.retention_deleted_runs.inc()
                    self.metrics.retention_freed_bytes.inc(run.bytes)
            except BaseException:
                self._begin_anew()
                raise
            finally:
                if deleted:
                    log.info("Retention: deleted %d runs with %d events and %d bytes", deleted, events, freed_bytes)
            return self._ended

    def end(self) -> None:
        """Begin no other run, and, when the round under way has ended, leave the work to other servers.

        Raises:
            DaglensError: The storage doesn't answer; the lease then ends by itself.
        """
        self._ending.set()
        with self._rounds:
            self._begin_anew()
            self._lease(0)

    def _to_delete(self) -> Iterator[RunRecord]:
        # Also where another server does the work: a clock that jumps ends its lease, and whoever takes over then must
        # have seen the time before.
        self._now_us()
        until = monotonic() + self._bounds.seconds
        given = seen = 0
        self._leased_at = -self._bounds.lease_s
        while self._is_ours():
            if self._found:
                if given == self._bounds.runs or (given and monotonic() > until):
                    self._ended = Round.MORE_TO_DELETE
                    return
                run = self._found.popleft()
                if self._stuck_until.get(run.run_id, 0.0) <= monotonic():
                    given += 1
                    yield run
            elif seen == self._bounds.pages:
                self._ended = Round.MORE_TO_SEE
                return
            else:
                if self._pages is None:
                    self._pages = expired(self._instance.runs, self._rule())
                page = next(self._pages, None)
                if page is None:
                    self._begin_anew()
                    self._ended = Round.DONE
                    return
                seen += 1
                self._found.extend(page)
        self._begin_anew()
        self._ended = Round.NOT_OURS

    def _rule(self) -> Rule:
        return Rule(
            ended_before_us=self._now_us() - round(self.older_than_days * _DAY_US),
            statuses=tuple(RunStatus(status) for status in self._retention.statuses),
            keep_last=self._retention.keep_last,
        )

    def _begin_anew(self) -> None:
        self._pages = None
        self._found.clear()

    def _is_ours(self) -> bool:
        if self._ending.is_set():
            return False
        if monotonic() - self._leased_at < self._bounds.lease_s / 3:
            return True
        self._leased_at = monotonic()
        return self._lease(self._bounds.lease_s)

    def _lease(self, ttl_s: float) -> bool:
        runs = self._instance.runs
        # Without leases every server does the work, and finds done what another did.
        return runs.lease(LEASE, self._holder, ttl_s) if isinstance(runs, Leases) else True

    def _pass_over(self, run: Undeleted) -> None:
        # Or the oldest runs, if they can't be deleted, would keep all others.
        if run.run_id not in self._stuck_until:
            log.warning("Retention: run %r can't be deleted; it is tried again later: %s", run.run_id, run.error)
        self._stuck_until[run.run_id] = monotonic() + self._bounds.retry_s


async def carry_out(keeper: Keeper, interval_s: float) -> None:
    """Until cancelled: a round at once and every `interval_s` seconds, sooner while there is more to delete."""
    now = asyncio.get_running_loop().time
    rounds = keeper.metrics.retention_rounds
    log.info("Retention: finished runs are deleted %g days after their end", keeper.older_than_days)
    try:
        while True:
            pause_s, began_at = interval_s, now()
            try:
                ended = await asyncio.to_thread(keeper.work)
                rounds.labels(ended.name.lower()).inc()
                if ended is Round.MORE_TO_DELETE:
                    # A breath for others who write.
                    pause_s = min(interval_s, 1.0)
                else:
                    # Looking must not become what the storage is busy with, however long its history.
                    pause_s = max(interval_s, 20 * (now() - began_at))
            except Exception as error:
                rounds.labels("failed").inc()
                log.warning("Retention is tried again in %g s: %s", interval_s, error)
            await asyncio.sleep(pause_s)
    finally:
        await asyncio.to_thread(_end_quietly, keeper)


def _end_quietly(keeper: Keeper) -> None:
    try:
        keeper.end()
    except Exception as error:
        log.info("Retention: its lease could not be given back, and ends by itself: %s", error)
