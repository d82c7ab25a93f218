"""An exception as the data of an event: class, message, stack, and what it came from."""

from __future__ import annotations

import os
import signal
from types import TracebackType
from typing import Any, Final

from daglens.recorder.plain import text

MAX_CAUSES: Final = 10
MAX_FRAMES: Final = 50
MAX_FRAME_CHARS: Final = 500
MAX_MESSAGE_CHARS: Final = 8_000

_OWN_FOLDER = os.path.dirname(os.path.abspath(__file__)) + os.sep
_CARRIED = "__daglens_error__"


def error_data(error: BaseException) -> dict[str, Any]:
    """`{className, message, stack, cause}` of an exception; never raises.

    `cause` is `__cause__`, or else `__context__` unless it was suppressed (`raise … from None`). The stack is one text
    per frame, outermost first, without frames of the recorder; more than 50 are cut in the middle. Notes are part of
    the message, the members of an exception group stand at the end of the stack.
    """
    return _error(error, set(), 1)


def carry(error: BaseException, data: dict[str, Any]) -> None:
    """Make `error_data(error)` answer `data`: the exception was raised in another process, its stack is there."""
    try:
        setattr(error, _CARRIED, data)
    except Exception:
        return  # an exception with __slots__: what is known here must do


def headline(data: dict[str, Any]) -> str:
    """One line for a message: class and first line of the text."""
    lines = str(data.get("message") or "").splitlines()
    name = data.get("className")
    first = lines[0] if lines else ""
    return f"{name}: {first}" if name and first else str(name or first or "unknown error")


def signal_name(number: int) -> str:
    """`SIGKILL` and its like; `signal 40` for one without a name."""
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"


def _error(error: BaseException, seen: set[int], depth: int) -> dict[str, Any]:
    seen.add(id(error))
    carried = getattr(error, _CARRIED, None)
    if isinstance(carried, dict):
        return carried
    data: dict[str, Any] = {
        "className": type(error).__qualname__,
        "message": _message(error),
        "stack": _stack(error.__traceback__) + _members(error),
        "cause": None,
    }
    cause = error.__cause__
    if cause is None and not error.__suppress_context__:
        cause = error.__context__
    if cause is not None and id(cause) not in seen:
        if depth < MAX_CAUSES:
            data["cause"] = _error(cause, seen, depth + 1)
        else:
            data["stack"].append(f"… and further causes, left out beyond {MAX_CAUSES}")
    return data


def _message(error: BaseException) -> str:
    parts = [text(error)]
    notes = getattr(error, "__notes__", None)
    if isinstance(notes, list | tuple):
        parts.extend(text(note) for note in notes)
    whole = "\n".join(parts)
    if len(whole) <= MAX_MESSAGE_CHARS:
        return whole
    return f"{whole[:MAX_MESSAGE_CHARS]} … [cut: {len(whole)} characters]"


def _stack(found: TracebackType | None) -> list[str]:
    while found is not None and found.tb_frame.f_code.co_filename.startswith(_OWN_FOLDER) and found.tb_next:
        found = found.tb_next
    try:
        # Here and not above: a command that is recorded has no stack of ours.
        import traceback

        frames = [frame[:MAX_FRAME_CHARS] for frame in traceback.format_tb(found)]
    except Exception as error:
        return [f"(the stack can't be shown: {type(error).__name__})"]
    if len(frames) > MAX_FRAMES:
        half = MAX_FRAMES // 2
        frames[half:-half] = [f"  … {len(frames) - 2 * half} more frames\n"]
    return frames


def _members(error: BaseException) -> list[str]:
    if not isinstance(error, BaseExceptionGroup):
        return []
    shown = [f"member {n}: {type(e).__qualname__}: {text(e)}"[:MAX_FRAME_CHARS] for n, e in enumerate(error.exceptions)]
    return shown[:MAX_FRAMES]
