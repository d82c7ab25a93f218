"""What somebody may do beyond reading, which everybody may who is let in."""

from __future__ import annotations

from daglens.access import Forbidden, Role
from daglens.resolvers import runs
from daglens.resolvers.context import RequestContext
from daglens.storage.records import RunParts


def check_role(context: RequestContext, needed: Role) -> None:
    """Make sure that whoever asks has a role.

    Raises:
        Forbidden
    """
    if not context.identity.role.includes(needed):
        raise Forbidden(f"It takes the role {needed}; yours is {context.identity.role}.")


async def check_own_run(context: RequestContext, run_id: str) -> None:
    """Make sure that whoever asks may write to a run: whoever created it may, and admins.

    Raises:
        Forbidden, RunNotFound, StorageUnavailable
    """
    who = context.identity
    if who.role.includes(Role.ADMIN):
        return
    check_role(context, Role.RECORDER)
    # `created_by` is set by the storage's `add` alone, and no mutation takes it from a client.
    run = await runs.one(context, run_id, RunParts.NONE)
    if who.name is None or run.created_by != who.name:
        raise Forbidden("Only whoever created the run may write to it, and admins.")
