"""Addresses of downloads on this server.

Every part of a name is percent-encoded: `/`, `?`, `%` and the like are data.
"""

from __future__ import annotations

from urllib.parse import quote

from daglens.storage.records import ComputeIO, LogKey


def log_url(prefix: str, key: LogKey, io: ComputeIO) -> str:
    """Absolute path of one stream, whole, byte for byte."""
    return f"{prefix}/runs/{_part(key.run_id)}/compute-logs/{_part(key.step_key)}/{io.value}?attempt={key.attempt}"


def artifact_url(prefix: str, run_id: str, path: str) -> str:
    """Absolute path of an artifact."""
    return f"{prefix}/runs/{_part(run_id)}/artifacts/{'/'.join(_part(part) for part in path.split('/'))}"


def _part(text: str) -> str:
    # A file name that is no UTF-8 comes with surrogates from Python; its bytes are what is encoded.
    encoded = quote(text, safe="", errors="surrogateescape")
    # Browsers take a part of one or two dots for a step up, encoded or not; with a dot encoded, at least other
    # clients don't.
    return encoded.replace(".", "%2E") if encoded in (".", "..") else encoded
