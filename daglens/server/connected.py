"""What is done for a client only as long as it is there."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any

from starlette.types import Receive


async def gone(receive: Receive) -> None:
    """Return when the client of a request, whose body has been read, has gone."""
    while (await receive())["type"] != "http.disconnect":
        pass


async def until_first(*under_way: Coroutine[Any, Any, Any]) -> None:
    """Run all of them until the first ends, and end the others: when this returns or raises, none is left running.

    Raises:
        Exception: What one that had ended by itself raised.
    """
    tasks = [asyncio.create_task(one) for one in under_way]
    try:
        done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.wait(tasks)
    for task in done:
        task.result()
