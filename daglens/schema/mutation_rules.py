"""Who may do what: one rule at each mutation. The schema isn't built with one that has none."""

from collections.abc import Awaitable, Callable
from typing import Any

from strawberry.extensions import FieldExtension
from strawberry.types.field import StrawberryField

from daglens.access import Role
from daglens.resolvers import rights
from daglens.schema.info import Info


class MutationRule(FieldExtension):
    """Asks before anything is done."""

    def __init__(self, role: Role) -> None:
        """`role` is the least that it takes."""
        self.role = role

    async def check(self, info: Info, arguments: dict[str, Any]) -> None:
        """
        Raises:
            Forbidden
        """
        rights.check_role(info.context, self.role)

    async def resolve_async(
        self, next_: Callable[..., Awaitable[Any]], source: Any, info: Info, **arguments: Any
    ) -> Any:
        """See FieldExtension."""
        await self.check(info, arguments)
        return await next_(source, info, **arguments)


class OwnRun(MutationRule):
    """Whoever created the run may, and admins. The run is the argument `run_id`, or that of `input`."""

    def __init__(self) -> None:
        super().__init__(Role.RECORDER)

    async def check(self, info: Info, arguments: dict[str, Any]) -> None:
        """
        Raises:
            Forbidden, RunNotFound, StorageUnavailable
        """
        run_id = arguments["run_id"] if "run_id" in arguments else arguments["input"].run_id
        await rights.check_own_run(info.context, run_id)


def rule_of(field: StrawberryField) -> MutationRule:
    """The rule of a mutation.

    Raises:
        LookupError: It has none, or more than one.
    """
    rules = [extension for extension in field.extensions if isinstance(extension, MutationRule)]
    if len(rules) != 1:
        raise LookupError(f"The mutation {field.python_name} needs one rule in `extensions`: who may call it?")
    return rules[0]
