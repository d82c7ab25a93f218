"""The result of an operation as every transport sends it."""

from __future__ import annotations

from typing import Any


def payload_of(result: Any) -> dict[str, Any]:
    """`errors` where there are any, `data`, `extensions` where there are any."""
    payload: dict[str, Any] = {}
    if result.errors:
        payload["errors"] = [error.formatted for error in result.errors]
    payload["data"] = result.data
    if result.extensions:
        payload["extensions"] = result.extensions
    return payload


def is_rejected(payload: dict[str, Any]) -> bool:
    """Whether nothing was executed (parsing, validation, variables): no data, and errors that name no field."""
    return payload["data"] is None and bool(payload.get("errors")) and all("path" not in e for e in payload["errors"])
