"""`{env: NAME}` and `{file: PATH}`: what may stand in place of any scalar."""

from __future__ import annotations

import os
import stat
from collections.abc import Mapping
from pathlib import Path
from typing import Final, NamedTuple

from daglens.config.problems import ProblemCode, one_line

MAX_FILE_BYTES: Final = 64 * 1024


class Reference(NamedTuple):
    """`kind` is "env" or "file"; `operand` the name or path, of any type until it is looked up."""

    kind: str
    operand: object


class Unresolved(Exception):
    """The variable is not set, or the file can't be read. The message is a sentence without any value."""

    def __init__(self, code: ProblemCode, sentence: str) -> None:
        self.code = code
        super().__init__(sentence)


def as_reference(value: object) -> Reference | None:
    """The reference that a value is: a mapping with the one key `env` or `file`."""
    if isinstance(value, Mapping) and len(value) == 1:
        ((key, operand),) = value.items()
        if key in ("env", "file"):
            return Reference(key, operand)
    return None


def look_up(reference: Reference, folder: Path, environ: Mapping[str, str]) -> str:
    """The text that the reference stands for.

    A variable gives its value, also an empty one. A file (relative to `folder`, at most 64 KiB of UTF-8) gives its
    text without one line end at its end.

    Raises:
        Unresolved: There is no such variable, or the file can't be read.
    """
    name = reference.operand
    if not isinstance(name, str) or not name:
        what = "the name of an environment variable" if reference.kind == "env" else "the path of a file"
        raise Unresolved(ProblemCode.BAD_VALUE, f"`{reference.kind}:` takes {what}")
    if reference.kind == "env":
        if name not in environ:
            raise Unresolved(ProblemCode.UNSET_VARIABLE, f"the environment variable {one_line(name)} is not set")
        return _checked(environ[name], f"the environment variable {one_line(name)}")
    return _read_text(folder, name)


def _read_text(folder: Path, name: str) -> str:
    shown = f"the file {one_line(name)}"
    try:
        path = folder / Path(name).expanduser()
        # Opened without waiting and looked at before reading: a named pipe would hold the start for ever.
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        with os.fdopen(descriptor, "rb") as file:
            if not stat.S_ISREG(os.fstat(descriptor).st_mode):
                raise Unresolved(ProblemCode.UNREADABLE_FILE, f"{shown} is no regular file")
            data = file.read(MAX_FILE_BYTES + 1)
    except OSError as error:
        reason = error.strerror or type(error).__name__
        raise Unresolved(ProblemCode.UNREADABLE_FILE, f"{shown} can't be read: {reason}") from None
    except (ValueError, RuntimeError):
        # A NUL in the path; a `~user` that nobody is.
        raise Unresolved(ProblemCode.UNREADABLE_FILE, f"{shown} can't be read: this is no path") from None
    if len(data) > MAX_FILE_BYTES:
        raise Unresolved(ProblemCode.UNREADABLE_FILE, f"{shown} is larger than {MAX_FILE_BYTES // 1024} KiB")
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError:
        raise Unresolved(ProblemCode.UNREADABLE_FILE, f"{shown} is not UTF-8") from None
    return text.removesuffix("\n").removesuffix("\r")


def _checked(text: str, shown: str) -> str:
    try:
        text.encode()
    except UnicodeEncodeError:
        raise Unresolved(ProblemCode.BAD_VALUE, f"{shown} is not UTF-8") from None
    return text
