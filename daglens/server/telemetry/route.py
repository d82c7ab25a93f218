"""`/metrics`, for Prometheus."""

from __future__ import annotations

from prometheus_client import CONTENT_TYPE_LATEST
from starlette.requests import Request
from starlette.responses import Response

from daglens.server.telemetry.neighbours import Neighbours, merged
from daglens.server.telemetry.telemetry import Telemetry


class MetricsPage:
    """The metrics of one server; when it has several workers, of all."""

    def __init__(self, telemetry: Telemetry, neighbours: Neighbours | None = None) -> None:
        self._telemetry = telemetry
        self._neighbours = neighbours

    async def answer(self, request: Request) -> Response:
        """All metrics, as they are now."""
        headers = {"content-type": CONTENT_TYPE_LATEST, "cache-control": "no-store"}
        text = await self._telemetry.text()
        if self._neighbours is not None:
            text = merged(await self._neighbours.texts(text))
        return Response(text, headers=headers)
