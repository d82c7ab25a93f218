"""Points in time as people type them."""

from __future__ import annotations

import re
from datetime import datetime

import typer

_AGE = re.compile(r"(\d+)\s*([smhdw])")
_UNIT_US = {"s": 1_000_000, "m": 60_000_000, "h": 3_600_000_000, "d": 86_400_000_000, "w": 604_800_000_000}


def parse_time(text: str, now_us: int) -> int:
    """`30m`, `2h`, `7d`, `1w` ago, or an ISO date or time (local unless it has an offset); microseconds.

    Raises:
        typer.BadParameter: It is neither.
    """
    if age := _AGE.fullmatch(text.strip()):
        return now_us - int(age[1]) * _UNIT_US[age[2]]
    try:
        return int(datetime.fromisoformat(text.strip()).astimezone().timestamp() * 1_000_000)
    except (ValueError, OverflowError, OSError):
        raise typer.BadParameter(f"{text!r} is no time; write e.g. 2h, 7d or 2026-11-22T09:30.") from None
