"""One bucket, through obstore: a few plain operations whose errors are ours."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from datetime import timedelta
from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

from daglens.storage.errors import StorageUnavailable
from daglens.storage.object_store.failures import Exists, Missing, translated

if TYPE_CHECKING:
    from obstore.store import ObjectStore

T = TypeVar("T")

_LIST_CHUNK = 1000
_DELETE_CHUNK = 1000

_used_in: list[int] = []
"""Process id of the first process that used the library; a child that is forked off inherits it."""


def usable_here() -> bool:
    """False in a child that was forked off a process which had used an object store.

    The library's threads don't come along: a request made there would wait for ever, and the parent's after it.
    """
    return not _used_in or _used_in[0] == os.getpid()


class Entry(NamedTuple):
    """An object of a listing: its name below what was listed, and its size."""

    name: str
    size_bytes: int


class Bucket:
    """Objects by name. Every method may raise StorageUnavailable, of which StoreForbids and BucketMissing are kinds."""

    def __init__(self, store: ObjectStore, location: str) -> None:
        """`location` stands in messages."""
        self.location = location
        self.store: Any = store

    def list(self, folder: str) -> list[Entry]:
        """All objects below a folder; a request for each thousand of them."""

        def entries() -> list[Entry]:
            import obstore

            start = len(folder) + 1
            return [
                Entry(found["path"][start:], found["size"])
                for page in obstore.list(self.store, folder, chunk_size=_LIST_CHUNK)
                for found in page
            ]

        return self._ask(entries)

    def create(self, name: str, data: bytes) -> bool:
        """Store an object unless there is one of that name; whether it was stored."""
        try:
            self._put(name, data, "create")
        except Exists:
            return False
        return True

    def replace(self, name: str, data: bytes) -> None:
        """Store an object in place of what may be there; a reader sees the one or the other."""
        self._put(name, data, "overwrite")

    def read(self, name: str, start: int, end: int) -> bytes:
        """The bytes from `start` up to `end`, which the object has.

        Raises:
            Missing: There is no such object.
        """

        def part() -> bytes:
            import obstore

            return bytes(obstore.get_range(self.store, name, start=start, end=end))

        return self._ask(part)

    def read_all(self, name: str) -> bytes:
        """All bytes of an object.

        Raises:
            Missing: There is no such object.
        """

        def whole() -> bytes:
            import obstore

            return bytes(obstore.get(self.store, name).bytes())

        return self._ask(whole)

    def delete(self, names: Sequence[str]) -> None:
        """Remove objects; those that aren't there count as removed."""

        def remove(chunk: Sequence[str]) -> None:
            import obstore

            obstore.delete(self.store, chunk)

        for chunk in _chunks(names):
            try:
                self._ask(partial(remove, chunk))
            except Missing:
                # Where the store deletes one by one, the first that isn't there ends the call.
                for name in chunk:
                    try:
                        self._ask(partial(remove, [name]))
                    except Missing:
                        continue

    def signed(self, name: str, lifetime_s: int) -> str | None:
        """An address that is valid for so long without credentials; None: this store has none."""

        def sign() -> str:
            import obstore

            return obstore.sign(self.store, "GET", name, timedelta(seconds=lifetime_s))

        try:
            return self._ask(sign)
        except (StorageUnavailable, Missing):
            return None

    def _put(self, name: str, data: bytes, mode: str) -> None:
        def put() -> None:
            import obstore

            obstore.put(self.store, name, data, mode=mode, use_multipart=False)  # type: ignore[arg-type]

        try:
            self._ask(put)
        except Missing:
            raise StorageUnavailable(f"{self.location}: the store took no object.") from None

    def _ask(self, call: Callable[[], T]) -> T:
        if not usable_here():
            raise StorageUnavailable(
                "This process was forked off one that uses an object store, and can't reach it; start processes with "
                "multiprocessing's method spawn."
            )
        if not _used_in:
            _used_in.append(os.getpid())
        try:
            return call()
        except Exception as error:
            raise translated(error, self.location) from None


def _chunks(names: Sequence[str]) -> Iterator[Sequence[str]]:
    for start in range(0, len(names), _DELETE_CHUNK):
        yield names[start : start + _DELETE_CHUNK]
