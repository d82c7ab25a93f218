"""The lines of a run bundle: one JSON object each, written in one way only (docs/bundles.md).

A line is told by its key: the first has `format` and `version`; then `run`; an `event` each; for each compute log a
`log` and its `bytes`; at last `end`. Every function here makes or reads one line; their order is file.py's.
"""

from __future__ import annotations

import binascii
import json
from dataclasses import dataclass
from typing import Any, Final, NoReturn, TypeVar

from daglens.storage.drafts import EventLimits, PreparedEvent, json_text, prepare
from daglens.storage.errors import DaglensError
from daglens.storage.names import check_name
from daglens.storage.records import ComputeIO, EventDraft, EventRecord, LogKey, NewRun, RunRecord, RunStatus

T = TypeVar("T")

FORMAT: Final = "daglens-run-bundle"
VERSION: Final = 1
MAX_LINE_BYTES: Final = 33_554_432
"""No line is longer, its end included, so that reading one takes bounded memory."""
CHUNK_BYTES: Final = 49_152
"""Bytes of a log in one line; only the last line of a log has fewer. As base64 they are 65,536 characters."""
MAX_LOGS: Final = 100_000
"""Logs in one bundle."""

_MAX_64_BITS: Final = 2**63 - 1
_MAX_LEVEL: Final = 32_767
_MAX_ATTEMPT: Final = 2_147_483_647

# What a line may hold is bounded by its length; the limits of a storage are that storage's to say.
_NO_LIMITS = EventLimits(max_message_chars=MAX_LINE_BYTES, max_data_bytes=MAX_LINE_BYTES)

_A: Final = {"run": "a run", "event": "an event", "log": "a log", "end": "the last line"}
_HEADER: Final = f'{{"format":"{FORMAT}","version":{VERSION}}}\n'.encode()


class InvalidBundle(DaglensError):
    """This can't be read as a run bundle."""

    code = "INVALID_BUNDLE"


class BadLine(Exception):
    """A line is not what stands there in a bundle; the message is a sentence that says why."""


@dataclass(frozen=True, slots=True)
class LogLine:
    """What a `log` line says of the bytes that follow it."""

    key: LogKey
    io: ComputeIO
    size_bytes: int
    complete: bool
    truncated: bool

    @property
    def place(self) -> tuple[str, int, int]:
        """Logs stand in a bundle in ascending order of this: step key, attempt, stdout before stderr."""
        return (self.key.step_key, self.key.attempt, 0 if self.io is ComputeIO.STDOUT else 1)


@dataclass(frozen=True, slots=True)
class EndLine:
    """What the last line says of those before it; `sha256` is of all their bytes, in hexadecimal."""

    events: int
    logs: int
    log_bytes: int
    sha256: str


# ---------------------------------------------------------------- writing


def header_line() -> bytes:
    """The first line."""
    return _HEADER


def run_line(run: RunRecord) -> bytes:
    """The run, without what belongs to the storage it is in (docs/bundles.md says what, and why).

    Raises:
        ValueError: The configuration is no JSON.
    """
    fields: dict[str, Any] = {
        "run_id": run.run_id,
        "pipeline_name": run.pipeline_name,
        "status": run.status.value,
        "created_at_us": run.created_at_us,
        "started_at_us": run.started_at_us,
        "ended_at_us": run.ended_at_us,
        "created_by": run.created_by,
        "parent_run_id": run.parent_run_id,
        "root_run_id": run.root_run_id,
        "step_keys_to_execute": run.step_keys_to_execute,
        "tags": dict(sorted(run.tags)),
    }
    return _line("run", json_text(fields), "run_config", run.run_config)


def event_line(event: EventRecord) -> bytes:
    """An event; its data stands in the line as JSON, in the form that a storage gives it.

    Raises:
        ValueError: The data is no JSON.
    """
    fields = {
        "seq": event.seq,
        "event_id": event.event_id,
        "event_type": event.event_type,
        "step_key": event.step_key,
        "level": int(event.level),
        "timestamp_us": event.timestamp_us,
        "message": event.message,
    }
    return _line("event", json_text(fields), "data", event.data)


def _line(kind: str, fields: str, last: str, value_json: str) -> bytes:
    # Read and written again: another storage's way of writing the same value must give the same line.
    value = "{}" if value_json == "{}" else json_text(json.loads(value_json))
    return f'{{"{kind}":{fields[:-1]},"{last}":{value}}}}}\n'.encode()


def log_line(log: LogLine) -> bytes:
    """What stands before the bytes of a log."""
    fields = {
        "step_key": log.key.step_key,
        "attempt": log.key.attempt,
        "stream": log.io.value,
        "size_bytes": log.size_bytes,
        "complete": log.complete,
        "truncated": log.truncated,
    }
    return f'{{"log":{json_text(fields)}}}\n'.encode()


def bytes_line(data: bytes) -> bytes:
    """The next bytes of the log; at most CHUNK_BYTES."""
    return b'{"bytes":"' + binascii.b2a_base64(data, newline=False) + b'"}\n'


def end_line(end: EndLine) -> bytes:
    """The last line."""
    fields = {"events": end.events, "logs": end.logs, "log_bytes": end.log_bytes, "sha256": end.sha256}
    return f'{{"end":{json_text(fields)}}}\n'.encode()


# ---------------------------------------------------------------- reading


def check_header(line: bytes) -> None:
    """Whether the first line begins a bundle that this version reads.

    Raises:
        BadLine
    """
    try:
        header = _object(line)
    except BadLine:
        header = {}
    if header.get("format") != FORMAT:
        raise BadLine(f"A run bundle begins with {_HEADER.decode().strip()}; this is some other file.")
    version = header.get("version")
    if type(version) is int and version > VERSION:
        raise BadLine(
            f"This bundle is of version {version}, and this daglens reads version {VERSION}: a newer one is needed."
        )
    if type(version) is not int or version != VERSION or len(header) != 2:
        raise BadLine(f"This bundle says no version that there is; this daglens reads version {VERSION}.")


def parse(line: bytes) -> tuple[str, Any]:
    """The kind of a line and what it holds: of `bytes` the bytes, of others an object that the reader of its kind
    takes.

    Raises:
        BadLine
    """
    if line.startswith(b'{"bytes":"') and line.endswith(b'"}\n'):
        # By far the longest lines of all; JSON would only look for escapes that base64 can't have.
        return "bytes", _base64(line[10:-3])
    found = _object(line)
    if len(found) != 1:
        raise BadLine("A line holds an object with one key that says what it is.")
    ((kind, value),) = found.items()
    if kind == "bytes":
        if not isinstance(value, str):
            raise BadLine("The bytes of a log are a text in base64.")
        return "bytes", _base64(value.encode("utf-8", "replace"))
    if kind not in ("run", "event", "log", "end"):
        raise BadLine(f"No line of a bundle is a {_shown(kind)}.")
    return kind, value


def read_run(value: Any) -> NewRun:
    """The run as its line has it; `status`, `started_at_us` and `ended_at_us` are those after all events.

    Raises:
        BadLine, InvalidName
    """
    fields = _Fields("run", value)
    status = fields.text("status")
    if status not in RunStatus.__members__:
        raise BadLine(f"There is no status {_shown(status)}.")
    tags = fields.take("tags")
    if not isinstance(tags, dict) or not all(isinstance(v, str) for v in tags.values()):
        raise BadLine("The tags of a run are an object of texts.")
    steps = fields.take("step_keys_to_execute")
    if steps is not None and not (isinstance(steps, list) and all(isinstance(step, str) for step in steps)):
        raise BadLine("step_keys_to_execute is a list of texts or null.")
    return fields.all_of(
        NewRun(
            run_id=check_name(fields.text("run_id"), "run id"),
            pipeline_name=check_name(fields.text("pipeline_name"), "pipeline name"),
            status=RunStatus(status),
            tags=tuple(tags.items()),
            run_config=fields.take("run_config"),
            step_keys_to_execute=None if steps is None else tuple(steps),
            parent_run_id=fields.text_or_none("parent_run_id"),
            root_run_id=fields.text_or_none("root_run_id"),
            created_at_us=fields.time("created_at_us"),
            started_at_us=fields.time_or_none("started_at_us"),
            ended_at_us=fields.time_or_none("ended_at_us"),
            created_by=fields.text_or_none("created_by"),
        )
    )


def read_event(value: Any) -> tuple[int, PreparedEvent]:
    """An event and its seq.

    Raises:
        BadLine, InvalidName
    """
    fields = _Fields("event", value)
    draft = EventDraft(
        event_type=fields.text("event_type"),
        step_key=fields.text_or_none("step_key"),
        level=fields.number("level", 0, _MAX_LEVEL),  # type: ignore[arg-type]  # a newer writer's level is kept
        message=fields.text("message"),
        timestamp_us=fields.time("timestamp_us"),
        event_id=fields.text_or_none("event_id"),
        data=fields.take("data"),
    )
    (event,) = prepare([draft], 0, _NO_LIMITS)
    return fields.all_of((fields.number("seq", 1, _MAX_64_BITS), event))


def read_log(value: Any, run_id: str) -> LogLine:
    """What a `log` line says.

    Raises:
        BadLine, InvalidName
    """
    fields = _Fields("log", value)
    stream = fields.text("stream")
    if stream not in tuple(ComputeIO):
        raise BadLine(f"There are stdout and stderr, but no {_shown(stream)}.")
    step_key = check_name(fields.text("step_key"), "step key")
    complete, truncated = fields.flag("complete"), fields.flag("truncated")
    if truncated and not complete:
        raise BadLine("A log that is truncated is complete, too.")
    return fields.all_of(
        LogLine(
            LogKey(run_id, step_key, fields.number("attempt", 1, _MAX_ATTEMPT)),
            ComputeIO(stream),
            fields.number("size_bytes", 0, _MAX_64_BITS),
            complete,
            truncated,
        )
    )


def read_end(value: Any) -> EndLine:
    """The counts and the digest of the last line.

    Raises:
        BadLine
    """
    fields = _Fields("end", value)
    events, logs, log_bytes = (fields.number(name, 0, _MAX_64_BITS) for name in ("events", "logs", "log_bytes"))
    return fields.all_of(EndLine(events, logs, log_bytes, fields.text("sha256")))


class _Fields:
    """The fields of one line: each is taken once, and none may be left over."""

    def __init__(self, kind: str, value: Any) -> None:
        if not isinstance(value, dict):
            raise BadLine(f"What stands under {kind} is no object.")
        self._kind = kind
        self._left: dict[str, Any] = dict(value)

    def take(self, name: str) -> Any:
        if name not in self._left:
            raise BadLine(f"The field {name} of this {self._kind} is missing.")
        return self._left.pop(name)

    def all_of(self, made: T) -> T:
        """`made`, once every field was taken."""
        if self._left:
            raise BadLine(f"There is no field {_shown(next(iter(self._left)))} of {_A[self._kind]}.")
        return made

    def text(self, name: str) -> str:
        value = self.take(name)
        return value if isinstance(value, str) else self._refuse(name, "a text", value)

    def text_or_none(self, name: str) -> str | None:
        value = self.take(name)
        return value if value is None or isinstance(value, str) else self._refuse(name, "a text or null", value)

    def number(self, name: str, least: int, most: int) -> int:
        value = self.take(name)
        # bool is an int to Python.
        if type(value) is int and least <= value <= most:
            return value
        return self._refuse(name, f"a whole number from {least} to {most}", value)

    def time(self, name: str) -> int:
        return self.number(name, -_MAX_64_BITS, _MAX_64_BITS)

    def time_or_none(self, name: str) -> int | None:
        if self._left.get(name, 0) is None:
            return self._left.pop(name)  # type: ignore[no-any-return]
        return self.time(name)

    def flag(self, name: str) -> bool:
        value = self.take(name)
        return value if isinstance(value, bool) else self._refuse(name, "true or false", value)

    def _refuse(self, name: str, wanted: str, value: Any) -> NoReturn:
        raise BadLine(f"{name} is {wanted}, not {_shown(value)}.")


def _object(line: bytes) -> dict[str, Any]:
    try:
        found = json.loads(line.decode(), parse_constant=_no_constant)
    except UnicodeDecodeError:
        raise BadLine("It is no text in UTF-8.") from None
    except RecursionError:
        raise BadLine("It is nested too deep.") from None
    except ValueError as error:
        raise BadLine(f"It is no JSON ({error}).") from None
    if not isinstance(found, dict):
        raise BadLine("It is no JSON object.")
    return found


def _no_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is no number there")


def _base64(text: bytes) -> bytes:
    try:
        return binascii.a2b_base64(text, strict_mode=True)
    except ValueError as error:
        raise BadLine(f"The bytes of the log are no base64 ({error}).") from None


def _shown(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:59]}…"
