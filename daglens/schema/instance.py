"""The instance that is served, and its storages."""

import strawberry

from daglens.resolvers import instance as resolvers
from daglens.schema.enums import InstanceOrigin
from daglens.schema.info import Info
from daglens.schema.scalars import JSON
from daglens.schema.selection import selected


@strawberry.type(description="One of the four storages.")
class StorageInfo:
    module: str = strawberry.field(description="Python module of its class.")
    class_name: str = strawberry.field(description="Its class.")
    config: JSON = strawberry.field(description="Configuration with secrets replaced by ***.")
    healthy: bool = strawberry.field(description="True when it answered just now.")
    problem: str | None = strawberry.field(description="Why not healthy; null when it is.")
    live_mode: str | None = strawberry.field(
        description="How the live feed learns of events written by other processes, e.g. LISTEN, POLL; null where it "
        "doesn't apply."
    )


async def _storage(info: Info, section: resolvers.SectionName) -> StorageInfo:
    ask_health = not selected(info).isdisjoint({"healthy", "problem"})
    view = await resolvers.storage(info.context, section, ask_health=ask_health)
    return StorageInfo(
        module=view.module,
        class_name=view.class_name,
        config=JSON(view.config),
        healthy=view.health.healthy,
        problem=view.health.problem,
        live_mode=view.live_mode,
    )


@strawberry.type(description="Where this server's history is kept.")
class Instance:
    origin: InstanceOrigin = strawberry.field(description="Which of the four rules chose this instance.")
    home: str = strawberry.field(description="The instance's folder.")
    info: str = strawberry.field(description="The effective configuration as YAML, secrets replaced by ***.")

    @strawberry.field(description="Where runs are kept.")
    async def run_storage(self, info: Info) -> StorageInfo:
        return await _storage(info, "run_storage")

    @strawberry.field(description="Where events are kept.")
    async def event_log_storage(self, info: Info) -> StorageInfo:
        return await _storage(info, "event_log_storage")

    @strawberry.field(description="Where stdout and stderr of steps are kept.")
    async def compute_logs(self, info: Info) -> StorageInfo:
        return await _storage(info, "compute_logs")

    @strawberry.field(description="Where files that runs leave behind are kept.")
    async def local_artifact_storage(self, info: Info) -> StorageInfo:
        return await _storage(info, "local_artifact_storage")
