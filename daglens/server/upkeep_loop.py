"""What a server does for its instance beside answering: projection, the presumed failure of silent runs, leftovers."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable

from daglens import upkeep
from daglens.instance import Instance
from daglens.server.telemetry.metrics import Metrics
from daglens.storage.contract import Leftovers

log = logging.getLogger("daglens.server")


async def keep_up(instance: Instance, interval_s: float, metrics: Metrics | None = None) -> None:
    """Until cancelled: at once and every `interval_s` seconds re-project, reap and finish leftovers, in a thread."""
    metrics = metrics or Metrics()
    # Silence counts from what is seen here: a server that was down presumes nothing at once. Nor does one whose storage
    # was: meanwhile no recorder could give a sign of life.
    silences = upkeep.Silences(lambda: time.monotonic())
    finishers = [
        _Finisher(storage, instance.sections[name].clean)
        for name, storage in instance.storages.items()
        if isinstance(storage, Leftovers)
    ]
    while True:
        try:
            await asyncio.to_thread(_round, instance, silences, metrics)
            metrics.upkeep_rounds.labels("ok").inc()
        except Exception as error:
            metrics.upkeep_rounds.labels("failed").inc()
            silences.keep(())
            log.warning("Upkeep is tried again in %g s: %s", interval_s, error)
        for finisher in finishers:
            await asyncio.to_thread(finisher.round)
        await asyncio.sleep(interval_s)


def _round(instance: Instance, silences: upkeep.Silences, metrics: Metrics) -> None:
    healed = upkeep.reproject(instance)
    if healed:
        metrics.runs_reprojected.inc(healed)
        log.info("%d runs' rows were behind their event logs", healed)
    for run_id in upkeep.reap(instance, silences=silences):
        metrics.runs_presumed_dead.inc()
        log.warning("Run %r is presumed dead: its recorder has fallen silent", run_id)


class _Finisher:
    """Finishes what dead processes of this machine left to one storage, and tells of it in the server's log."""

    def __init__(self, storage: Leftovers, clean: Callable[[str], str]) -> None:
        """`clean` takes the storage's secrets out of a text."""
        self._storage = storage
        self._clean = clean
        self._told = ""

    def round(self) -> None:
        """Begin with what is new; tell what is done, and what is wrong, once. Never raises."""
        wrong = ""
        try:
            # It goes on in threads of the storage: neither upkeep nor the end of the server waits for it.
            state = self._storage.finish_leftovers(0)
        except Exception as error:
            wrong = f"What processes that died have left can't be finished: {error}"
        else:
            if state.finished:
                log.info("%d %s, left by processes that died, are sent", state.finished, state.what)
            if state.problem is not None:
                wrong = f"{state.left} {state.what}, left by processes that died, wait: {state.problem}"
        wrong = self._clean(wrong)
        if wrong and wrong != self._told:
            log.warning("%s", wrong)
        self._told = wrong
