"""Rows and columns that a database hands over as one JSON text."""

from __future__ import annotations

import json
import sys
from typing import Any


def loads(text: str) -> Any:
    """What a JSON text says."""
    # A server has orjson loaded. A recorder reads a row or two, and its start would take 3 ms more. Another thread may
    # be importing it at the moment: it is there, and empty.
    return getattr(sys.modules.get("orjson"), "loads", json.loads)(text)
