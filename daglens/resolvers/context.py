"""What the resolvers of one operation share."""

from __future__ import annotations

from collections.abc import Callable, Hashable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from daglens.access import EVERYBODY, Identity
from daglens.resolvers.calls import StorageCalls
from daglens.resolvers.errors import BadWait, NothingLive
from daglens.resolvers.limits import capped
from daglens.resolvers.loaders import Loaders
from daglens.storage.drafts import now_us

if TYPE_CHECKING:
    from daglens.instance import Instance
    from daglens.resolvers.live import LiveHub


@dataclass
class RequestContext:
    """One per operation; what lives longer (instance, calls, hub) is handed in by the server.

    Attributes:
        calls: Calls of the instance's storages; one for the whole server.
        hub: The live feeds of this server; None where there are none (a script).
        url_prefix: The path below which the server is reached, without a slash at its end; "" at the root.
        clock: Microseconds since 1970-01-01 UTC.
        identity: Who asks. By default code that holds the instance itself, which may do everything.
        loaders: Batched reads of this operation.
        resume_after: Where a subscription goes on, whatever its `after` says: a client that reconnects names it beside
            the operation. None leaves it to `after`.
        cursor: Of the message that a subscription delivered last, selected or not: set before the message is executed,
            it stays until the next one is asked for. None where that message has none.
    """

    calls: StorageCalls
    hub: LiveHub | None = None
    url_prefix: str = ""
    clock: Callable[[], int] = now_us
    identity: Identity = EVERYBODY
    loaders: Loaders = field(init=False)
    resume_after: str | None = None
    cursor: str | None = field(default=None, init=False)
    _waiting_field: bool = field(default=False, init=False)

    def __post_init__(self) -> None:
        self.loaders = Loaders(self.calls)

    @property
    def instance(self) -> Instance:
        """The instance that is served."""
        return self.calls.instance

    @property
    def rights(self) -> Hashable:
        """Whoever has equal rights may be given this operation's results, where they ask the same."""
        return self.identity.rights

    def page_limit(self, limit: int, cap: int) -> int:
        """The limit of a list that holds: 0 … `cap`, or the instance's own cap (`daglens: limits: max_page`).

        Raises:
            BadLimit: It is negative.
        """
        return capped(limit, min(cap, self.instance.settings.limits.max_page))

    def place(self, after: str | None) -> str | None:
        """Where a subscription with this argument `after` begins."""
        return after if self.resume_after is None else self.resume_after

    def live(self) -> LiveHub:
        """The hub.

        Raises:
            NothingLive: There is none.
        """
        if self.hub is None:
            raise NothingLive
        return self.hub

    def begin_waiting(self) -> LiveHub:
        """The hub, for the one field of this operation that may wait.

        Raises:
            BadWait: Another field waits already.
            NothingLive: There is no hub.
        """
        if self._waiting_field:
            raise BadWait("Only one field of an operation may have `waitSeconds`.")
        hub = self.live()
        self._waiting_field = True
        return hub
