"""The instance that is served, and its storages, without secrets."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

from daglens.resolvers.context import RequestContext
from daglens.storage.contract import EventLogStorage
from daglens.storage.records import Health

SectionName = Literal["run_storage", "event_log_storage", "compute_logs", "local_artifact_storage"]


@dataclass(frozen=True, slots=True)
class StorageView:
    """One storage.

    Attributes:
        config: JSON value; secrets are `***`.
        health: Healthy when it was not asked for.
        live_mode: Of the event log storage, how its watch learns of other processes' events.
    """

    module: str
    class_name: str
    config: Any
    health: Health
    live_mode: str | None


async def storage(context: RequestContext, name: SectionName, *, ask_health: bool) -> StorageView:
    """One of the four storages; `ask_health`: ask it whether it answers now, which may take a few seconds."""
    section = context.instance.sections[name]
    health = Health(True)
    if ask_health:
        health = await context.calls.health(name)
    return StorageView(section.module, section.class_name, section.config, health, _live_mode(context, name))


def _live_mode(context: RequestContext, name: SectionName) -> str | None:
    events: EventLogStorage = context.instance.events
    return getattr(events, "live_mode", "POLL") if name == "event_log_storage" else None
