"""What the routes of one server share."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from daglens.resolvers.calls import StorageCalls
from daglens.resolvers.context import RequestContext
from daglens.resolvers.live import LiveHub
from daglens.server.admission import admission_of
from daglens.server.connections import Clients
from daglens.server.documents import TrustedDocuments
from daglens.server.gatekeeping import documents_file, gate_of
from daglens.server.live_results import LiveResults
from daglens.server.settings import ServerSettings
from daglens.server.telemetry.names import EXAMPLES
from daglens.server.telemetry.operations import measuring
from daglens.server.telemetry.telemetry import Telemetry

if TYPE_CHECKING:
    from starlette.types import Scope
    from strawberry import Schema

    from daglens.instance import Instance


class Served:
    """An instance as one server process serves it.

    Attributes:
        calls: Calls of the instance's storages, each in threads of its own.
        schema: What `/graphql` answers by.
        gate: Tells who asks.
        clients: What each of them has open.
        documents: Tells which documents are executed.
        telemetry: Measures what is done.
        stopping: Set when the server is about to stop: event streams end now.
        results: Executes operations for transports that deliver many results.
    """

    def __init__(self, instance: Instance, settings: ServerSettings) -> None:
        """
        Raises:
            InvalidTokens, InvalidDocuments, InvalidServerSetting
        """
        from daglens.schema.build import build_schema

        self.instance = instance
        self.settings = settings
        self.telemetry = Telemetry(EXAMPLES)
        self.telemetry.state.served = self
        self.calls = StorageCalls(instance, self.telemetry)
        self.schema: Schema = build_schema(
            read_only=settings.read_only, limits=settings.limits, extensions=[measuring(self.telemetry)]
        )
        self.gate = gate_of(instance, settings)
        limits = settings.limits
        self.clients = Clients(limits.max_connections, limits.max_client_bytes, limits.max_held_bytes)
        self.documents = TrustedDocuments(
            documents_file(instance, settings.documents),
            settings.documents_mode,
            most_chars=settings.limits.max_document_chars,
            on_read=self.telemetry.operation_names.know,
        )
        self.stopping = asyncio.Event()
        self.results = LiveResults(lambda: self.schema, most_bytes=settings.limits.max_answer_bytes)
        self._hub: LiveHub | None = None

    @property
    def hub(self) -> LiveHub:
        """The live hub, made when it is first asked for: it belongs to the event loop that runs then."""
        if self._hub is None:
            self._hub = LiveHub(self.calls, self.settings.live)
        return self._hub

    @property
    def hub_if_any(self) -> LiveHub | None:
        """The live hub; None while nobody has asked for it."""
        return self._hub

    def context(self, scope: Scope, hub: LiveHub | None = None) -> RequestContext:
        """What the resolvers of one operation share. `hub` stands in for the server's.

        Raises:
            Unauthenticated: The gate has let nobody in by this scope.
        """
        return RequestContext(
            self.calls, hub or self.hub, scope.get("root_path", ""), identity=admission_of(scope).admitted
        )

    def drain(self) -> None:
        """The server is about to stop: long polls have their answer now, and event streams end."""
        self.stopping.set()
        if self._hub is not None:
            self._hub.drain()

    async def close(self) -> None:
        """End the live feeds. The instance stays open."""
        if self._hub is not None:
            await self._hub.close()
        await self.results.close()
