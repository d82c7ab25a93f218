"""`/metrics`, for Prometheus."""

from __future__ import annotations

from prometheus_client import CONTENT_TYPE_LATEST
from starlette.requests import Request
from starlette.responses import Response

from daglens.server.telemetry.telemetry import Telemetry


class MetricsPage:
    """The metrics of one server."""

    def __init__(self, telemetry: Telemetry) -> None:
        self._telemetry = telemetry

    async def answer(self, request: Request) -> Response:
        """All metrics, as they are now. Asks no storage."""
        headers = {"content-type": CONTENT_TYPE_LATEST, "cache-control": "no-store"}
        return Response(self._telemetry.metrics.text(), headers=headers)
