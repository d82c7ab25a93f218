"""stub until live.py is there"""

from collections.abc import AsyncGenerator
from typing import Any


async def event_messages(*args: Any) -> AsyncGenerator[Any, None]:
    raise NotImplementedError
    yield


chunk_messages = event_messages
