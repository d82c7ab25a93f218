"""Log lines as text for people or as JSON for machines, each with the id of the request that it belongs to."""

from __future__ import annotations

import json
import logging
import sys
from datetime import UTC, datetime
from typing import Any, Literal, TextIO

from daglens.config.redaction import clean_for_terminal
from daglens.server.clean_log import WithoutSecrets
from daglens.server.telemetry.request import current_request

LogFormat = Literal["text", "json"]

_TEXT = "%(asctime)s %(levelname)s %(name)s: %(message)s%(request)s%(worker_told)s"
_WRITTEN = {"\n": "\n    ", "\t": "\t"}


class OfRequest(logging.Filter):
    """Adds the id of the request under way to each record, and the number of the worker, where there are several.

    Attributes:
        worker: This process's number.
    """

    worker: int | None = None

    def filter(self, record: logging.LogRecord) -> bool:
        """Add them, and let the record pass."""
        record.worker = self.worker
        record.worker_told = f" worker={self.worker}" if self.worker is not None else ""
        request = current_request()
        record.request_id = request.id if request is not None else None
        record.request = f" requestId={request.id}" if request is not None else ""
        return True


class TextLines(logging.Formatter):
    """Lines for people. Only a record's first line begins at the margin, and what steers a terminal is escaped: nothing
    that a client sent, or a storage answered, looks like a record of its own."""

    def __init__(self) -> None:
        super().__init__(_TEXT)

    def format(self, record: logging.LogRecord) -> str:
        """The record; lines beyond the first, as those of a traceback, are indented."""
        text = super().format(record).rstrip("\n")
        if text.isprintable():
            return text
        signs = (sign if sign.isprintable() else _WRITTEN.get(sign) or ascii(sign)[1:-1] for sign in text)
        return "".join(signs)


class JsonLines(logging.Formatter):
    """One JSON object per line: time, level, logger, message, and what else is known."""

    def format(self, record: logging.LogRecord) -> str:
        """The line. Secrets are taken out of every text before it is quoted: after, they might not be recognised."""
        line: dict[str, Any] = {
            "time": datetime.fromtimestamp(record.created, UTC)
            .isoformat(timespec="milliseconds")
            .replace("+00:00", "Z"),
            "level": record.levelname,
            "logger": record.name,
            "message": record.getMessage(),
        }
        if (worker := getattr(record, "worker", None)) is not None:
            line["worker"] = worker
        if (request_id := getattr(record, "request_id", None)) is not None:
            line["requestId"] = request_id
        for name, value in getattr(record, "fields", {}).items():
            if value not in (None, []):
                line[name] = _cleaned(value)
        traceback = record.exc_text or (self.formatException(record.exc_info) if record.exc_info else "")
        if traceback:
            line["exception"] = clean_for_terminal(traceback)
        return json.dumps(line, default=str)


def _cleaned(value: Any) -> Any:
    if isinstance(value, str):
        return clean_for_terminal(value)
    return [_cleaned(part) for part in value] if isinstance(value, list) else value


def log_to(
    stream: TextIO | None = None, *, format: LogFormat = "text", level: str = "info", requests: bool = False
) -> logging.Handler:
    """Send the log of this process to a stream (standard error, unless told otherwise); the handler.

    `level` is for daglens's own lines; those of libraries are warnings and above, unless it is debug, and then still
    without what went over the wire. `requests`: one line per request, when it has been answered.
    """
    handler = logging.StreamHandler(stream or sys.stderr)
    handler.addFilter(OfRequest())
    handler.addFilter(WithoutSecrets())
    handler.setFormatter(JsonLines() if format == "json" else TextLines())
    root = logging.getLogger()
    root.addHandler(handler)
    own = getattr(logging, level.upper())
    root.setLevel(logging.DEBUG if level == "debug" else max(own, logging.WARNING))
    # A socket's frames and handshakes hold tokens and data.
    for name in ("uvicorn", "websockets"):
        logging.getLogger(name).setLevel(logging.INFO if level == "debug" else max(own, logging.WARNING))
    logging.getLogger("daglens").setLevel(own)
    logging.getLogger("daglens.access").setLevel(logging.INFO if requests else logging.CRITICAL)
    return handler


def log_as_worker(number: int) -> None:
    """From now on this process's lines say which of several workers it is."""
    for handler in logging.getLogger().handlers:
        for added in handler.filters:
            if isinstance(added, OfRequest):
                added.worker = number
