"""What a server does for its instance beside answering: projection and the presumed failure of silent runs."""

from __future__ import annotations

import asyncio
import logging

from daglens import upkeep
from daglens.instance import Instance

log = logging.getLogger("daglens.server")


async def keep_up(instance: Instance, interval_s: float) -> None:
    """Until cancelled: at once and every `interval_s` seconds re-project and reap, in a thread."""
    # Silence counts from here: a server that was down presumes nothing at once (design 9).
    watching_since_us: int | None = None
    while True:
        try:
            if watching_since_us is None:
                watching_since_us = await asyncio.to_thread(instance.runs.now_us)
            await asyncio.to_thread(_round, instance, watching_since_us)
        except Exception as error:
            log.warning("Upkeep is tried again in %g s: %s", interval_s, error)
        await asyncio.sleep(interval_s)


def _round(instance: Instance, watching_since_us: int) -> None:
    healed = upkeep.reproject(instance)
    if healed:
        log.info("%d runs' rows were behind their event logs", healed)
    for run_id in upkeep.reap(instance, watching_since_us=watching_since_us):
        log.warning("Run %r is presumed dead: its recorder has fallen silent", run_id)
