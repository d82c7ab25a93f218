"""Mistakes in dagster.yaml: each with its place and a sentence, all of them at once."""

from __future__ import annotations

import difflib
import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Final

from daglens.config.redaction import Redactor
from daglens.storage.errors import DaglensError

KeyPath = tuple[str | int, ...]
"""Where a value stands: keys and list indices from the root of the file."""

_PLAIN_KEY = re.compile(r"[A-Za-z0-9_\-]+")
_BEHIND_KEY = re.compile(r"[\s:=]+")
_MAX_KEY_CHARS: Final = 60
_MAX_SAID_CHARS: Final = 500


class ProblemCode(StrEnum):
    """What kind of mistake. `docs/errors/<code>.md` says what to do."""

    NOT_YAML = "CONFIG_NOT_YAML"
    DUPLICATE_KEY = "CONFIG_DUPLICATE_KEY"
    UNKNOWN_KEY = "CONFIG_UNKNOWN_KEY"
    MISSING_KEY = "CONFIG_MISSING_KEY"
    BAD_VALUE = "CONFIG_BAD_VALUE"
    UNSET_VARIABLE = "CONFIG_UNSET_VARIABLE"
    UNREADABLE_FILE = "CONFIG_UNREADABLE_FILE"
    MODULE_NOT_FOUND = "CONFIG_MODULE_NOT_FOUND"
    MODULE_FAILED = "CONFIG_MODULE_FAILED"
    CLASS_NOT_FOUND = "CONFIG_CLASS_NOT_FOUND"
    CLASS_FAILED = "CONFIG_CLASS_FAILED"
    WRONG_KIND = "CONFIG_WRONG_KIND"
    MISSING_METHODS = "CONFIG_MISSING_METHODS"
    NOT_AVAILABLE = "CONFIG_NOT_AVAILABLE"


@dataclass(frozen=True, slots=True)
class Problem:
    """One mistake.

    Attributes:
        file: Name of the file, without its folder.
        line: Counted from 1; None where there is no line (a file that can't be read, a default).
        path: Keys and list indices from the root; empty for the file as a whole.
        sentence: What is wrong and what to do, one line, without any secret.
        code: The kind of mistake.
    """

    file: str
    line: int | None
    path: KeyPath
    sentence: str
    code: ProblemCode

    def __str__(self) -> str:
        place = self.file if self.line is None else f"{self.file}:{self.line}"
        where = render_path(self.path)
        return f"{place}: {where}: {self.sentence}" if where else f"{place}: {self.sentence}"


class ConfigError(DaglensError):
    """The configuration of the instance can't be used."""

    code = "CONFIG_INVALID"

    def __init__(self, file: Path | None, problems: Iterable[Problem]) -> None:
        """`file` is the dagster.yaml, None when the defaults failed."""
        self.file = file
        self.problems = tuple(problems)
        lines = "".join(f"\n{problem}" for problem in self.problems)
        super().__init__((f"{one_line(str(file))}:" if file else "") + lines)


class ProblemList:
    """Collects problems while a configuration is read, and gives them out in the order of the file.

    `line_of(path)` is the line of a value, or of the nearest thing around it that has one.
    """

    def __init__(self, file: str, line_of: Callable[[KeyPath], int | None]) -> None:
        self._file = file
        self.line_of = line_of
        self._found: list[tuple[ProblemCode, KeyPath, int | None, str, str]] = []

    def add(self, code: ProblemCode, path: KeyPath, sentence: str, *, said: str = "", line: int | None = None) -> None:
        """Note a mistake. `said` is a text that somebody else wrote (an exception's message): it follows the sentence
        after a colon, and whatever is secret by then is taken out of it when the list is given out."""
        self._found.append((code, path, line if line is not None else self.line_of(path), sentence, said))

    def __len__(self) -> int:
        return len(self._found)

    def all(self, redactor: Redactor) -> tuple[Problem, ...]:
        """Each problem once, in the order of lines."""
        problems: dict[Problem, None] = {}
        for code, path, line, sentence, said in self._found:
            text = f"{sentence}: {_cut(one_line(redactor.clean(said)))}" if said.strip() else sentence
            problems[Problem(self._file, line, tuple(map(_without_value, path)), text, code)] = None
        return tuple(sorted(problems, key=lambda problem: problem.line or 0))


def render_path(path: KeyPath) -> str:
    """`run_storage.config.base_dir`, `hosts.0`; a key that holds odd characters is quoted and cut."""
    return ".".join(_render_key(str(part)) for part in path)


def _without_value(part: str | int) -> str | int:
    """A key up to its first white space, colon or equals sign: with a forgotten colon or space, as in
    `{password secret}` and `{password:secret}`, its value is behind it."""
    words = [word for word in _BEHIND_KEY.split(part) if word] if isinstance(part, str) else ()
    return part if len(words) < 2 else f"{words[0]} …"


def _render_key(key: str) -> str:
    if not _PLAIN_KEY.fullmatch(key):
        key = f'"{one_line(key)}"'
    return key if len(key) <= _MAX_KEY_CHARS else f"{key[:_MAX_KEY_CHARS]}…"


def one_line(text: str) -> str:
    """The text on one line and safe for a terminal: white space joined, what doesn't print escaped."""
    joined = " ".join(text.split())
    return "".join(char if char.isprintable() else char.encode("unicode_escape").decode("ascii") for char in joined)


def _cut(text: str) -> str:
    return text if len(text) <= _MAX_SAID_CHARS else f"{text[:_MAX_SAID_CHARS]}…"


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """`, did you mean x?` when something known is close, else nothing."""
    candidates = {name.lower(): name for name in known}
    # Long words cost quadratic time in difflib and are no typing mistakes.
    close = difflib.get_close_matches(word.lower()[:100], candidates, n=1, cutoff=0.6)
    return f", did you mean {candidates[close[0]]}?" if close else ""
