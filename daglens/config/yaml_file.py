"""The text of a dagster.yaml as plain values, with the line of each. Nothing in the text is ever executed."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import yaml

from daglens.config.problems import KeyPath, ProblemCode, ProblemList

MAX_BYTES: Final = 1024 * 1024
MAX_DEPTH: Final = 50
MAX_VALUES: Final = 100_000
"""Bounds on one file, its aliases followed: no dagster.yaml of a person comes near them, a hostile one stops there."""

_STANDARD: Final = "tag:yaml.org,2002:"
_MERGE: Final = _STANDARD + "merge"
_NAMES = {"int": "a whole number", "float": "a number", "bool": "true or false", "timestamp": "a date"}
_QUOTED = re.compile(r"'([^']*)'|\"([^\"]*)\"")


class _Broken:
    """Stands where a value was that a problem has been noted for, so that nothing else complains about it."""

    def __repr__(self) -> str:
        return "<broken>"


BROKEN: Final = _Broken()


@dataclass(frozen=True, slots=True)
class YamlFile:
    """A file that was read.

    Attributes:
        folder: The folder it stands in; what `{file: …}` is relative to.
        root: Its sections. Values are dict, list, str, int, float, bool, None, date, datetime, or `BROKEN`.
        problems: What was wrong up to here; readers go on adding.
    """

    folder: Path
    root: dict[str, Any]
    problems: ProblemList


def read_yaml(path: Path) -> YamlFile:
    """Read and parse; a file that can't be read has that as its only problem and no sections. Raises nothing."""
    try:
        if not path.is_file():
            return _unreadable(path, "this is no file" if path.exists() else "there is no such file")
        with path.open("rb") as file:
            data = file.read(MAX_BYTES + 1)
    except OSError as error:
        return _unreadable(path, f"the file can't be read: {error.strerror or type(error).__name__}")
    return parse_yaml(data, path.name, path.parent)


def _unreadable(path: Path, sentence: str) -> YamlFile:
    problems = ProblemList(path.name, lambda _: None)
    problems.add(ProblemCode.UNREADABLE_FILE, (), sentence)
    return YamlFile(path.parent, {}, problems)


def parse_yaml(data: bytes, name: str, folder: Path) -> YamlFile:
    """Turn a text into values. Whatever the bytes are, this raises nothing: mistakes are in `problems`."""
    lines: dict[KeyPath, int] = {}

    def line_of(path: KeyPath) -> int | None:
        while path and path not in lines:
            path = path[:-1]
        return lines.get(path)

    problems = ProblemList(name, line_of)
    root = _Reader(problems, lines).root(data)
    return YamlFile(folder, root, problems)


class _TooDeep(Exception):
    """The nesting is beyond MAX_DEPTH, or the values beyond MAX_VALUES."""

    def __init__(self, line: int) -> None:
        self.line = line
        super().__init__(line)


class _Loader(yaml.SafeLoader):
    # Pure Python on purpose: the C composer recurses without a limit, and a file of brackets ends the process.
    _depth = 0

    def compose_node(self, parent: yaml.Node | None, index: int) -> yaml.Node | None:
        self._depth += 1
        if self._depth > MAX_DEPTH:
            raise _TooDeep(self.line + 1)  # the scanner's own place
        try:
            return super().compose_node(parent, index)
        finally:
            self._depth -= 1


class _Reader:
    def __init__(self, problems: ProblemList, lines: dict[KeyPath, int]) -> None:
        self._problems = problems
        self._lines = lines
        self._values = 0
        self._open: set[int] = set()  # nodes being converted: an alias to one of them is a ring
        self._loader: _Loader | None = None

    def root(self, data: bytes) -> dict[str, Any]:
        if len(data) > MAX_BYTES:
            self._bad((), f"the file is larger than {MAX_BYTES // 1024} KiB")
            return {}
        try:
            text = data.decode("utf-8-sig")
        except UnicodeDecodeError as error:
            self._bad((), "a byte here is not UTF-8; save the file as UTF-8", data.count(b"\n", 0, error.start) + 1)
            return {}
        try:
            self._loader = _Loader(text)
            node = self._loader.get_single_node()
            value = {} if node is None else self._convert(node, ())
        except yaml.reader.ReaderError as error:
            line = text.count("\n", 0, error.position) + 1
            self._bad((), f"a character here (U+{ord(text[error.position]):04X}) can't stand in YAML", line)
            return {}
        except yaml.MarkedYAMLError as error:
            self._syntax(error)
            return {}
        except _TooDeep as error:
            self._bad(
                (),
                f"nested too deeply, or too large with its aliases followed (at most {MAX_DEPTH} levels and "
                f"{MAX_VALUES:,} values)",
                error.line,
            )
            return {}
        if value is None or value is BROKEN:
            return {}
        if not isinstance(value, dict):
            self._bad((), "the file must hold sections (`name: …`) at its top level", 1)
            return {}
        return value

    def _syntax(self, error: yaml.MarkedYAMLError) -> None:
        mark = error.problem_mark or error.context_mark
        words = ", ".join(_QUOTED.sub(_harmless, part) for part in (error.context, error.problem) if part)
        begun = error.context_mark
        if begun and mark and begun.line != mark.line:
            words += f" (it begins in line {begun.line + 1})"
        if "alias" in words or "tag" in words or "anchor" in words:
            words += "; a text that begins with * & or ! needs quotes"
        elif "expected a single document" in words:
            words = "the file holds a second document (---); one is taken"
        elif "'\\t'" in (error.problem or ""):
            words = "a tab stands here; indent with spaces"
        elif "cannot start any token" in words:
            words += "; a text that begins with it needs quotes"
        self._bad((), f"this is not YAML: {words}", mark.line + 1 if mark else None)

    def _bad(self, path: KeyPath, sentence: str, line: int | None = None) -> None:
        self._problems.add(ProblemCode.NOT_YAML, path, sentence, line=line)

    def _convert(self, node: yaml.Node, path: KeyPath) -> Any:
        line = node.start_mark.line + 1
        self._values += 1
        if self._values > MAX_VALUES or len(path) > MAX_DEPTH:
            raise _TooDeep(line)
        if id(node) in self._open:
            self._bad(path, "this alias stands inside the very value it names", line)
            return BROKEN
        if isinstance(node, yaml.ScalarNode):
            return self._scalar(node, path)
        self._open.add(id(node))
        try:
            if isinstance(node, yaml.MappingNode) and node.tag == _STANDARD + "map":
                return self._mapping(node, path)
            if isinstance(node, yaml.SequenceNode) and node.tag == _STANDARD + "seq":
                return [self._item(item, (*path, index)) for index, item in enumerate(node.value)]
        finally:
            self._open.discard(id(node))
        return self._tagged(node, path)

    def _item(self, node: yaml.Node, path: KeyPath) -> Any:
        self._lines.setdefault(path, node.start_mark.line + 1)
        return self._convert(node, path)

    def _mapping(self, node: yaml.MappingNode, path: KeyPath) -> dict[str, Any]:
        """Own keys first in the file, then what `<<` brings for keys that aren't there."""
        values: dict[str, Any] = {}
        first_line: dict[str, int] = {}
        merged: list[yaml.Node] = []
        for key_node, value_node in node.value:
            line = key_node.start_mark.line + 1
            if not isinstance(key_node, yaml.ScalarNode) or not key_node.tag.startswith(_STANDARD):
                self._bad(path, "a key must be a plain text", line)
                continue
            # The text itself: YAML 1.1 would take the key `on` for True and `010` for 8.
            key = key_node.value
            if not _storable(key):
                self._bad(path, "a key holds half of a surrogate pair", line)
                continue
            if key in first_line:
                self._problems.add(
                    ProblemCode.DUPLICATE_KEY,
                    (*path, key),
                    f"this key stands twice, first in line {first_line[key]}",
                    line=line,
                )
                continue
            first_line[key] = line
            if key_node.tag == _MERGE:
                merged += value_node.value if isinstance(value_node, yaml.SequenceNode) else [value_node]
                continue
            # Not overwritten by a key of the same name that `<<` brings later.
            self._lines.setdefault((*path, key), line)
            values[key] = self._convert(value_node, (*path, key))
        for source in merged:
            self._merge(source, values, path)
        return values

    def _merge(self, source: yaml.Node, values: dict[str, Any], path: KeyPath) -> None:
        if not isinstance(source, yaml.MappingNode):
            self._bad(path, "`<<` takes an alias of a mapping, or a list of such", source.start_mark.line + 1)
            return
        found = self._convert(source, path)
        for key, value in found.items() if isinstance(found, dict) else ():
            values.setdefault(key, value)

    def _scalar(self, node: yaml.ScalarNode, path: KeyPath) -> Any:
        kind = node.tag.removeprefix(_STANDARD)
        if kind == "null":
            return None
        if kind in ("str", "value", "merge"):
            if _storable(node.value):
                return node.value
            self._bad(path, "this text holds half of a surrogate pair", node.start_mark.line + 1)
            return BROKEN
        if kind not in _NAMES or kind == node.tag:
            return self._tagged(node, path)
        assert self._loader is not None
        try:
            return getattr(self._loader, f"construct_yaml_{kind}")(node)
        except Exception:
            # Whatever PyYAML's constructors trip over (ValueError, KeyError, IndexError …) is the same to the reader.
            self._bad(path, f"this can't be read as {_NAMES[kind]}; put quotes around a text", node.start_mark.line + 1)
            return BROKEN

    def _tagged(self, node: yaml.Node, path: KeyPath) -> Any:
        # A tag may be an unquoted password that begins with "!": only Python's own are shown.
        python = node.tag.startswith(_STANDARD + "python/")
        tag = f"!!{node.tag.removeprefix(_STANDARD)[:60]}" if python else "a YAML tag (!…)"
        self._bad(
            path,
            f"{tag} is not taken here, and nothing was executed; a text that begins with ! needs quotes",
            node.start_mark.line + 1,
        )
        return BROKEN


def _harmless(quoted: re.Match[str]) -> str:
    # What PyYAML quotes may be an unquoted password that begins with * or !. A sign or the name of a token is none.
    text = quoted[1] or quoted[2] or ""
    return quoted[0] if len(text) <= 1 or text.startswith("<") else "'…'"


def _storable(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True
