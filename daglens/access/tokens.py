"""The tokens that a running server takes: read again whenever their file has changed."""

from __future__ import annotations

import hmac
import logging
import threading
from pathlib import Path

from daglens.access.errors import InvalidTokens, TokensUnreadable
from daglens.access.identity import Identity
from daglens.access.token_file import TokenEntry, digest_of, read_entries

log = logging.getLogger("daglens.server")

Signature = tuple[int, ...] | None


class Tokens:
    """Looks tokens up. For any thread.

    A change of the file, also one that replaces it, holds from the next look on. A file that can't be used any more
    lets nobody in until it is repaired, or can be read again, and the log says why.
    """

    def __init__(self, path: Path) -> None:
        """
        Raises:
            InvalidTokens: The file can't be used.
        """
        self.path = path
        self._lock = threading.Lock()
        self._signature = _signature(path)
        self._entries = read_entries(path)
        self._generation = 0
        self._problem: str | None = None

    @property
    def generation(self) -> int:
        """Another number whenever the tokens have changed."""
        self._refresh()
        return self._generation

    def find(self, token: str) -> Identity | None:
        """Whose token this is; None when it is nobody's."""
        self._refresh()
        digest = digest_of(token)
        found = None
        # All of them each time, and each in constant time: how long it takes tells nothing of the hashes.
        for entry in self._entries:
            if hmac.compare_digest(entry.digest, digest):
                found = entry
        return Identity(found.name, found.role) if found is not None else None

    def _refresh(self) -> None:
        # A look at the file's metadata takes microseconds, and is never later than whoever changed the file.
        signature = _signature(self.path)
        if signature == self._signature:
            return
        with self._lock:
            if signature == self._signature:
                return
            entries: tuple[TokenEntry, ...] = ()
            try:
                entries = read_entries(self.path)
                log.info("%s has changed: %d tokens", self.path, len(entries))
                self._problem = None
            except InvalidTokens as error:
                if str(error) != self._problem:
                    log.error("Nobody is let in by a token any more: %s", error)
                self._problem = str(error)
                if isinstance(error, TokensUnreadable):
                    # Nothing is wrong with the file: descriptors had run out, for one. It is tried again.
                    signature = None
            # Taken before the file was read: a change since then is seen at the next look.
            self._entries, self._signature = entries, signature
            self._generation += 1


def _signature(path: Path) -> Signature:
    try:
        status = path.stat()
    except OSError:
        return None
    return status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns
