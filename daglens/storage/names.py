"""Text from clients: what may be an id, and how any id becomes one safe file name (and back).

A run id or a step key is data. It is 1 to 255 characters without NUL and without lone surrogates; anything else is
refused (InvalidName). As a file name, every character outside `[A-Za-z0-9._-]` is percent-encoded byte by byte
(UTF-8), as is a dot that begins the name; so `..`, `/`, `:` and `~` never stand in one. A name that would be longer
than 150 bytes is cut and ends in `~` and a digest of the whole: it can't be read back, so who needs the text keeps it
beside the file.
"""

from __future__ import annotations

import hashlib
import re
from urllib.parse import unquote

from daglens.storage.errors import InvalidName

MAX_NAME_CHARS = 255
MAX_FILE_NAME_BYTES = 150

_UNSAFE = re.compile(r"[^A-Za-z0-9._-]")
_SURROGATE = re.compile("[\ud800-\udfff]")


def check_name(text: str, what: str) -> str:
    """Give `text` back when it may be a run id, step key or tag key; `what` says which in the error.

    Raises:
        InvalidName: It is empty, longer than 255 characters, or has a NUL or a lone surrogate.
    """
    if not text:
        raise InvalidName(f"The {what} is empty.")
    if len(text) > MAX_NAME_CHARS:
        raise InvalidName(f"The {what} has {len(text)} characters; at most {MAX_NAME_CHARS} are allowed.")
    if "\0" in text or (not text.isascii() and _SURROGATE.search(text)):
        raise InvalidName(f"The {what} has a character that can't be stored (NUL or half of a surrogate pair).")
    return text


def clean_text(text: str) -> str:
    """Text with NUL and lone surrogates read as U+FFFD (PostgreSQL takes neither)."""
    if "\0" in text:
        text = text.replace("\0", "\ufffd")
    return _SURROGATE.sub("\ufffd", text) if not text.isascii() else text


def file_name(text: str) -> str:
    """One safe file name for a checked name: different for different names; at most 150 bytes."""
    escaped = _UNSAFE.sub(lambda m: "".join(f"%{b:02X}" for b in m.group().encode()), text)
    if escaped.startswith("."):
        escaped = "%2E" + escaped[1:]
    if len(escaped) <= MAX_FILE_NAME_BYTES:
        return escaped
    digest = hashlib.sha256(text.encode()).hexdigest()[:32]
    return f"{escaped[: MAX_FILE_NAME_BYTES - 33]}~{digest}"


def is_cut(name: str) -> bool:
    """True when `name` came from file_name and the text can't be read back from it."""
    return "~" in name


def text_of(name: str) -> str:
    """The text whose file name is `name`, when it is not cut."""
    return unquote(name, errors="replace")
