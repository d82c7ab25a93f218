"""The file of trusted documents: JSON, `{id: document}`. An id is the SHA-256 of the document, in hexadecimal."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from graphql import GraphQLError
from graphql.utilities import strip_ignored_characters

from daglens.storage.errors import DaglensError

_MAX_FILE_BYTES: Final = 16 * 1024 * 1024
_PREFIX: Final = "sha256:"
_OPERATION: Final = re.compile(r"\b(?:query|mutation|subscription)\s+([_A-Za-z]\w*)\s*[({@]", re.ASCII)
_APOLLO: Final = "apollo-persisted-query-manifest"


class InvalidDocuments(DaglensError):
    """The file of trusted documents can't be used."""

    code = "INVALID_DOCUMENTS"


def hash_of(text: str) -> str:
    """The id of a document."""
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()


def plain(text: str) -> str:
    """A document without what has no meaning: space, commas, comments. What is no GraphQL stays as it is."""
    try:
        return strip_ignored_characters(text)
    except (GraphQLError, RecursionError):
        return text


@dataclass(frozen=True, slots=True)
class Manifest:
    """The documents of a file.

    Attributes:
        by_id: Texts by id, without `sha256:` before it.
        texts: The texts, as they are and without space, commas and comments.
        longest: Characters of the longest text.
    """

    by_id: Mapping[str, str]
    texts: frozenset[str]
    longest: int

    @classmethod
    def of(cls, documents: Mapping[str, str]) -> Manifest:
        """The manifest of texts by id."""
        by_id = {id.removeprefix(_PREFIX): text for id, text in documents.items()}
        texts = frozenset([*by_id.values(), *map(plain, by_id.values())])
        return cls(by_id, texts, max(map(len, by_id.values()), default=0))

    def operation_names(self) -> Iterator[str]:
        """Names of the documents' operations. Found without parsing, which would take seconds for a large file: a field
        that is called `query` may bring one that is none."""
        return (name for text in self.by_id.values() for name in _OPERATION.findall(text))

    def text_of(self, id: str) -> str | None:
        """The document of an id, with or without `sha256:` before it."""
        return self.by_id.get(id.removeprefix(_PREFIX))

    def has(self, text: str) -> bool:
        """Whether a document is one of these, however it is laid out."""
        # Texts that are twice as long as any are not looked into: that would be work for whoever sends them.
        return text in self.texts or (len(text) <= 2 * self.longest + 1000 and plain(text) in self.texts)


def read_manifest(path: Path) -> Manifest:
    """The documents of a file: `{id: document}`, or a manifest as Apollo's tools write it.

    Raises:
        InvalidDocuments
    """
    try:
        with path.open("rb") as file:
            raw = file.read(_MAX_FILE_BYTES + 1)
    except OSError as error:
        hint = f"`daglens documents write … --output {path}` makes it."
        raise InvalidDocuments(f"{path}: {error.strerror}. {hint}") from None
    if len(raw) > _MAX_FILE_BYTES:
        raise InvalidDocuments(f"{path} is larger than {_MAX_FILE_BYTES} bytes.")
    try:
        value = json.loads(raw)
    except (ValueError, RecursionError) as error:
        raise InvalidDocuments(f"{path} is no JSON: {error}.") from None
    return Manifest.of(_checked(path, _documents(value)))


def _documents(value: Any) -> Any:
    if isinstance(value, dict) and value.get("format") == _APOLLO:
        operations = value.get("operations")
        if isinstance(operations, list) and all(isinstance(one, dict) for one in operations):
            return {one.get("id"): one.get("body") for one in operations}
        return None
    return value


def _checked(path: Path, documents: Any) -> Mapping[str, str]:
    if not isinstance(documents, dict) or not all(
        isinstance(id, str) and isinstance(text, str) for id, text in documents.items()
    ):
        raise InvalidDocuments(f"{path} must hold an object of ids and documents, both strings.")
    for id, text in documents.items():
        if id.startswith(_PREFIX) and id.removeprefix(_PREFIX) != hash_of(text):
            raise InvalidDocuments(f"{path}: {id} is not the hash of its document; write the file anew.")
    return documents


def manifest_text(texts: Mapping[str, str]) -> str:
    """The file of documents by id."""
    return json.dumps(dict(sorted(texts.items())), indent=2, ensure_ascii=False) + "\n"
