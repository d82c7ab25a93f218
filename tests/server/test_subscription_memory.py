"""What a subscription keeps while it runs."""

from __future__ import annotations

import gc

from graphql.execution.collect_fields import CollectedFields

from daglens.instance import Instance
from daglens.testing.server import LiveServer
from tests.server.conftest import EVENTS, create, opened, write


def kept() -> int:
    """How many selections of fields are remembered in this process, in which the server runs."""
    gc.collect()
    return sum(isinstance(one, CollectedFields) for one in gc.get_objects())


def test_messages_leave_nothing_behind(server: LiveServer, instance: Instance) -> None:
    """A subscription that has sent sixty messages keeps no more than after its first ones."""
    create(instance)
    with opened(server) as socket:
        socket.start(EVENTS, variables={"runId": "run"})
        socket.result()
        after = []
        for messages in (5, 60):
            for _ in range(messages):
                write(instance)
                while not socket.result()["data"]["runEvents"]["events"]:
                    pass
            after.append(kept())
        assert after[1] - after[0] < 20
