"""`/healthz`: the process lives. `/readyz`: the storages answer."""

from __future__ import annotations

import asyncio
from typing import Final

from starlette.requests import Request
from starlette.responses import Response

from daglens.server.admission import AuthenticatorFailed, admission_of
from daglens.server.answers import JSON_TYPE, json_bytes
from daglens.server.served import Served
from daglens.storage.records import Health

_MOST_IDENTIFYING: Final = 4


async def healthz(request: Request) -> Response:
    """Answered by the event loop alone: no storage, no thread."""
    return Response(b'{"status":"ok"}', headers={"content-type": JSON_TYPE, "cache-control": "no-store"})


class Readiness:
    """Asks the storages for their health; each by one call at a time, however many ask here."""

    def __init__(self, served: Served) -> None:
        self._served = served
        self._asking: dict[str, asyncio.Task[Health]] = {}
        self._identifying = 0

    async def answer(self, request: Request) -> Response:
        """200 when all four answer, else 503 with what is wrong, by section of dagster.yaml.

        Who isn't known is told which sections, and not what is wrong with them.
        """
        sections = list(self._served.instance.storages)
        healths = await asyncio.gather(*(self._health(section) for section in sections))
        problems = {
            section: health.problem or "The storage says that it isn't healthy."
            for section, health in zip(sections, healths, strict=True)
            if not health.healthy
        }
        if problems and not await self._is_known(request):
            problems = dict.fromkeys(problems, "It isn't healthy; the server tells those more who are signed in.")
        body = {"status": "unavailable", "problems": problems} if problems else {"status": "ok"}
        headers = {"content-type": JSON_TYPE, "cache-control": "no-store"}
        return Response(json_bytes(body), 503 if problems else 200, headers)

    async def _health(self, section: str) -> Health:
        task = self._asking.get(section)
        if task is None:
            task = self._asking[section] = asyncio.create_task(self._served.calls.health(section))
            task.add_done_callback(lambda _: self._asking.pop(section, None))
        timeout_s = self._served.settings.ready_timeout_s
        done, _ = await asyncio.wait({task}, timeout=timeout_s)
        if not done:
            return Health(False, f"The storage has not answered for {timeout_s:g} s.")
        return task.result()

    async def _is_known(self, request: Request) -> bool:
        """Whether the server knows who asks. Anybody may ask here: an own authenticator is for a few at a time."""
        admission = admission_of(request.scope)
        may_ask = self._identifying < _MOST_IDENTIFYING
        self._identifying += may_ask
        try:
            async with asyncio.timeout(self._served.settings.ready_timeout_s):
                return await admission.look(by_others=may_ask) is not None
        except (AuthenticatorFailed, TimeoutError):
            return False
        finally:
            self._identifying -= may_ask
