"""Addresses of downloads on this server.

Every part of a name is percent-encoded: `/`, `?`, `%` and the like are data. Browsers and proxies take a part of one or
two dots for a step up, encoded or not; so a run or step of that name stands behind the `?`.
"""

from __future__ import annotations

from urllib.parse import quote

from daglens.storage.records import ComputeIO, LogKey


def log_url(prefix: str, key: LogKey, io: ComputeIO) -> str:
    """Absolute path of one stream, whole, byte for byte."""
    if _steps_up(key.run_id) or _steps_up(key.step_key):
        names = f"run={_part(key.run_id)}&step={_part(key.step_key)}"
        return f"{prefix}/runs/compute-logs?{names}&stream={io.value}&attempt={key.attempt}"
    return f"{prefix}/runs/{_part(key.run_id)}/compute-logs/{_part(key.step_key)}/{io.value}?attempt={key.attempt}"


def artifact_url(prefix: str, run_id: str, path: str) -> str:
    """Absolute path of an artifact."""
    if _steps_up(run_id):
        return f"{prefix}/runs/artifacts?run={_part(run_id)}&path={_part(path)}"
    return f"{prefix}/runs/{_part(run_id)}/artifacts/{'/'.join(_part(part) for part in path.split('/'))}"


def _part(text: str) -> str:
    # A file name that is no UTF-8 comes with surrogates from Python; its bytes are what is encoded.
    return quote(text, safe="", errors="surrogateescape")


def _steps_up(part: str) -> bool:
    return part in (".", "..")
