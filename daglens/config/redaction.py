"""What may be shown of a configuration, and of messages that came about near one.

Three nets, each for what the one before lets through: fields typed as secrets, keys that are named like secrets, and
URLs that carry a password.
"""

from __future__ import annotations

import dataclasses
import datetime
import json
import math
import re
import threading
import weakref
from collections.abc import Mapping, Set
from enum import Enum
from pathlib import PurePath
from typing import Any
from urllib.parse import quote, quote_plus, unquote

from daglens.config.secrets import MASK, Secret

_SECRET_NAME = re.compile(
    r"pass(word|wd|phrase|code)?(s|$|_)|pwd|secret|token|credential|api_?key|(access|account|private|shared|signing)_?key"
    r"|connection_?string|conn_?info|(^|_)(sas|dsn|pin|auth)($|_)",
    re.IGNORECASE,
)
_NAMES_A_PLACE = re.compile(r"_(file|path|dir|folder|env)$", re.IGNORECASE)
_STRONGLY_SECRET_NAME = re.compile(r"pass(word|wd|phrase|code)|pwd|secret|(^|_)pin($|_)", re.IGNORECASE)

_URL_LIKE = re.compile(r"[^\s\"'<>]+")
_SCHEME_SIGN = re.compile(r"[A-Za-z0-9+.\-]")
_PARAMETER = re.compile(
    r"\b((?:ssl)?(?:password|passwd|passphrase|pwd|secret|token|api_?key|access_?key|account_?key|signature|sig)\s*=\s*)"
    r"('[^']*'|\"[^\"]*\"|[^\s&;,'\"]+)",
    re.IGNORECASE,
)
_PASSWORD_IN_URL = re.compile(r"://[^:/@\s]*:(\S+)@")
_SHORT = 4

WITHHELD = (
    f"{MASK} (this message can't be shown: it holds the text of a secret of fewer than {_SHORT} characters. With a "
    "longer password or key it can.)"
)
"""Always the same, so that it tells nothing of the secret; who sees `***` alone doesn't know what to do."""


def looks_secret(key: str) -> bool:
    """Whether a key is named like a secret: `password`, `api_key`, `secret_word`; not `tokens_file`."""
    key = key.replace("-", "_")
    return bool(_SECRET_NAME.search(key)) and not _NAMES_A_PLACE.search(key)


def without_credentials(text: str) -> str:
    """The text with what stands before the `@` of its URLs, and the values of `password=…` and the like, masked."""
    if "://" in text and "@" in text:
        text = _URL_LIKE.sub(_without_userinfo, text)
    return _PARAMETER.sub(rf"\1{MASK}", text)


def _without_userinfo(found: re.Match[str]) -> str:
    """One word, without what stands between the scheme and the last `@`: a password with an unescaped `/` or `@` is
    hidden whole; rather too much than too little.

    By hand: as one expression it took a second for 32,000 letters, and four for twice as many; clients choose words.
    """
    word = found[0]
    last = word.rfind("@")
    place = word.find("://")
    while 0 <= place < last:
        if place and _SCHEME_SIGN.match(word, place - 1):
            return f"{word[: place + 3]}{MASK}{word[last:]}"
        place = word.find("://", place + 3)
    return word


class Redactor:
    """Knows the secrets of one configuration, and takes them out of texts that somebody else wrote."""

    def __init__(self) -> None:
        global _redactors
        self._hidden: set[str] = set()
        with _adding:
            _redactors = (*(known for known in _redactors if known() is not None), weakref.ref(self))

    def hide(self, secret: object) -> None:
        """From now on `clean` removes this text in any of the forms in which it may be printed."""
        text = secret.reveal() if isinstance(secret, Secret) else str(secret)
        if not text.strip():
            return
        password = _PASSWORD_IN_URL.search(text)
        if password:
            # A driver may name the password without the URL around it.
            self.hide(password[1])
            self.hide(unquote(password[1]))
        for parameter in _PARAMETER.finditer(text):
            self.hide(parameter[2].strip("'\""))
        forms = {text, *(line.strip() for line in text.splitlines() if len(line.strip()) >= _SHORT)}
        for form in list(forms):
            escaped = form.encode("utf-8", "replace").decode()
            forms |= {
                repr(form)[1:-1],
                json.dumps(form)[1:-1],
                quote(escaped, safe=""),
                quote_plus(escaped),
                quote(escaped),
            }
            forms.add(" ".join(form.split()))
        self._hidden |= forms

    def clean(self, text: str) -> str:
        """The text without the secrets; `WITHHELD` in its place when it holds one of fewer than 4 characters."""
        for hidden in sorted(self._hidden, key=len, reverse=True):
            if hidden in text:
                if len(hidden) < _SHORT:
                    return WITHHELD
                text = text.replace(hidden, MASK)
        return without_credentials(text)


def clean_for_terminal(text: str) -> str:
    """The text without the secrets of any configuration that this process has in use: for what is written where no one
    instance is at hand, such as the sentence a command ends with."""
    for known in _redactors:
        redactor = known()
        if redactor is not None:
            text = redactor.clean(text)
    return without_credentials(text)


# Read without a lock, since a forked child may write while another thread of its parent held one.
_redactors: tuple[weakref.ref[Redactor], ...] = ()
_adding = threading.Lock()


def secrets_in(value: object, key: str = "") -> list[str]:
    """The texts in a configuration that must not show: those that `shown` masks."""
    revealed = _revealed(value)
    if revealed is not None:
        return [revealed]
    if isinstance(value, str):
        masked = looks_secret(key) or without_credentials(value) != value
        return [value] if value and masked else []
    parts = _parts(value)
    if parts is None:
        return []
    return [text for name, part in parts for text in secrets_in(part, name or key)]


def shown(value: object, key: str = "", *, hidden: Set[str] = frozenset()) -> Any:
    """The configuration as plain JSON values (dict, list, str, int, float, bool, None), secrets replaced by `***`.

    `hidden` are texts that are masked where one of them is the whole value.
    An object of an unknown type shows as its type's name: its repr might hold anything.
    """
    if _revealed(value) is not None:
        return MASK
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, Enum):
        return shown(value.value, key, hidden=hidden)
    if isinstance(value, int | float):
        if _STRONGLY_SECRET_NAME.search(key) and looks_secret(key):
            return MASK
        return value if isinstance(value, int) or math.isfinite(value) else str(value)
    if isinstance(value, str):
        return MASK if value in hidden or (value and looks_secret(key)) else without_credentials(str(value))
    if isinstance(value, PurePath | datetime.date | datetime.time):
        return shown(str(value), key, hidden=hidden)
    if isinstance(value, datetime.timedelta):
        return value.total_seconds()
    parts = _parts(value)
    if parts is None:
        return f"<{type(value).__name__}>"
    if isinstance(value, list | tuple | Set):
        return [shown(part, key, hidden=hidden) for _, part in parts]
    return {name: shown(part, name, hidden=hidden) for name, part in parts}


def _revealed(value: object) -> str | None:
    """The text of a Secret, or of one of pydantic's secret types; None for anything else."""
    if isinstance(value, Secret):
        return value.reveal()
    reveal = getattr(type(value), "get_secret_value", None)
    if reveal is not None:
        return str(reveal(value))
    if isinstance(value, bytes | bytearray):
        return value.decode("utf-8", "replace")
    return None


def _parts(value: object) -> list[tuple[str, object]] | None:
    """What a container holds, by name where it has names; None when it is no container that is known here."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return [(field.name, getattr(value, field.name, None)) for field in dataclasses.fields(value)]
    if isinstance(value, Mapping):
        return [(str(key), part) for key, part in value.items()]
    if isinstance(value, list | tuple | Set):
        return [("", part) for part in value]
    if isinstance(getattr(type(value), "model_fields", None), dict):
        extra = getattr(value, "__pydantic_extra__", None) or {}
        return [*vars(value).items(), *extra.items()]
    return None
