"""The file of tokens: a line for each, with its name, its role and a hash. The tokens themselves stand nowhere.

    # comment
    nightly-etl  recorder  sha256:9f86d081…  2026-11-22T10:30:00Z

Every change replaces the file as a whole, so that a server never reads half of one.
"""

from __future__ import annotations

import errno
import fcntl
import hashlib
import os
import re
import secrets
import stat
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from daglens.access.errors import InvalidTokens, TokensUnchanged, TokensUnreadable
from daglens.access.identity import Role

DEFAULT_FILE: Final = "tokens"
"""Below the instance's folder, for commands that are told of no other. A server takes none that nobody named."""
TOKEN_PREFIX: Final = "dgl_"
"""By it a scanner finds a token that was committed or pasted somewhere."""
_TOKEN_BYTES: Final = 32
_MAX_FILE_BYTES: Final = 1024 * 1024
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._@-]{0,99}", re.ASCII)
_DIGEST = re.compile(r"sha256:([0-9a-f]{64})", re.ASCII)
_HEADER: Final = "# Tokens of daglens, by `daglens tokens add|rotate|remove`: name, role, hash, when it was made.\n"


@dataclass(frozen=True, slots=True)
class TokenEntry:
    """One token. `made` is a text as `2026-11-22T10:30:00Z`, or ""."""

    name: str
    role: Role
    digest: bytes
    made: str = ""

    def line(self) -> str:
        """As it stands in the file."""
        return f"{self.name}  {self.role}  sha256:{self.digest.hex()}  {self.made}".rstrip() + "\n"


def digest_of(token: str) -> bytes:
    """What is stored of a token.

    SHA-256 once, and not a slow hash for passwords: a token is 256 random bits, which nobody guesses however fast a
    guess is, and it is hashed anew for every request.
    """
    return hashlib.sha256(token.encode("utf-8", "surrogatepass")).digest()


def read_entries(path: Path) -> tuple[TokenEntry, ...]:
    """The tokens of a file, in its order.

    Raises:
        InvalidTokens: It can't be read, others may change it, or a line is wrong.
    """
    try:
        with path.open("rb") as file:
            _check_mode(path, os.fstat(file.fileno()))
            text = file.read(_MAX_FILE_BYTES + 1)
    except OSError as error:
        how = ""
        if error.errno == errno.ENOENT:
            how = f" `daglens tokens add NAME --role ROLE --file {path}` makes it."
        elif error.errno == errno.EACCES and _is_mounted_secret(path):
            how = " It is root's: give the pod an fsGroup, which may then read it."
        raise TokensUnreadable(f"{path}: {error.strerror}.{how}") from None
    if len(text) > _MAX_FILE_BYTES:
        raise InvalidTokens(f"{path} is larger than {_MAX_FILE_BYTES} bytes.")
    return _parsed(path, text.decode("utf-8", "replace"))


def _check_mode(path: Path, status: os.stat_result) -> None:
    if not stat.S_ISREG(status.st_mode):
        raise InvalidTokens(f"{path} is no file.")
    # Who can write it can let themselves in; its group may read it, which is how secrets are mounted into containers.
    # Everybody may not: no hash gives a token away, but names and roles say whose to go for, and in a file that was
    # written by hand may stand a token itself.
    if status.st_mode & 0o027:
        mode = stat.S_IMODE(status.st_mode)
        how = f"chmod 600 {path}"
        if _is_mounted_secret(path):
            how = "set `defaultMode: 0400` at the secret's volume; with an fsGroup it becomes 0440"
        raise InvalidTokens(f"Others may read or change {path} (mode {mode:04o}): {how}.")
    if status.st_uid not in (0, os.geteuid()):
        raise InvalidTokens(f"{path} belongs to another user (uid {status.st_uid}), who could change it.")


def _is_mounted_secret(path: Path) -> bool:
    """Whether a file is part of a volume as Kubernetes mounts it: a link into what `..data` leads to."""
    return (path.parent / "..data").is_symlink()


def _parsed(path: Path, text: str) -> tuple[TokenEntry, ...]:
    entries: dict[str, TokenEntry] = {}
    for number, line in enumerate(text.splitlines(), 1):
        fields = line.split()
        if not fields or fields[0].startswith("#"):
            continue
        # Never with the line itself: somebody may have written a token there.
        if not 3 <= len(fields) <= 4 or (digest := _DIGEST.fullmatch(fields[2])) is None:
            raise InvalidTokens(f"{path}:{number}: a line is NAME ROLE sha256:HASH, made by `daglens tokens add`.")
        name, role = fields[:2]
        if not _NAME.fullmatch(name):
            raise InvalidTokens(f"{path}:{number}: the name is not one that `daglens tokens add` takes.")
        if role not in tuple(Role):
            raise InvalidTokens(f"{path}:{number}: a role is viewer, recorder or admin.")
        if name in entries:
            raise InvalidTokens(f"{path}:{number}: the name {name} stands twice.")
        entries[name] = TokenEntry(name, Role(role), bytes.fromhex(digest[1]), fields[3] if len(fields) == 4 else "")
    return tuple(entries.values())


# ---------------------------------------------------------------- changes


def add_token(path: Path, name: str, role: Role) -> str:
    """Add a token; it is shown this once. A missing file is made, with mode 600.

    Raises:
        InvalidTokens: The file can't be used or written, the name can't be one or is taken.
    """
    if not _NAME.fullmatch(name):
        raise TokensUnchanged(
            f"{name!r} can't name a token: up to 100 ASCII letters, digits and . _ @ -, the first a letter or digit."
        )

    def added(entries: list[TokenEntry]) -> list[TokenEntry]:
        if any(entry.name == name for entry in entries):
            raise TokensUnchanged(f"There is a token {name} already. `daglens tokens rotate {name}` makes it anew.")
        return [*entries, made]

    token, made = _new(name, role)
    _change(path, added, create=True)
    return token


def rotate_token(path: Path, name: str) -> str:
    """Make a token anew, with its name and role: the old one ends, the new one is shown this once.

    Raises:
        InvalidTokens: The file can't be used or written, or has no such token.
    """
    token, made = _new(name, Role.VIEWER)

    def rotated(entries: list[TokenEntry]) -> list[TokenEntry]:
        _check_known(path, entries, name)
        return [
            entry if entry.name != name else TokenEntry(name, entry.role, made.digest, made.made) for entry in entries
        ]

    _change(path, rotated)
    return token


def remove_token(path: Path, name: str) -> None:
    """End a token.

    Raises:
        InvalidTokens: The file can't be used or written, or has no such token.
    """

    def removed(entries: list[TokenEntry]) -> list[TokenEntry]:
        _check_known(path, entries, name)
        return [entry for entry in entries if entry.name != name]

    _change(path, removed)


def _check_known(path: Path, entries: list[TokenEntry], name: str) -> None:
    if all(entry.name != name for entry in entries):
        raise TokensUnchanged(f"{path} has no token {name!r}. `daglens tokens list --file {path}` shows them.")


def _new(name: str, role: Role) -> tuple[str, TokenEntry]:
    token = TOKEN_PREFIX + secrets.token_urlsafe(_TOKEN_BYTES)
    return token, TokenEntry(name, role, digest_of(token), f"{datetime.now(UTC):%Y-%m-%dT%H:%M:%SZ}")


def _change(path: Path, change: Callable[[list[TokenEntry]], list[TokenEntry]], *, create: bool = False) -> None:
    # A link is followed: what it leads to is replaced, and the link stays.
    path = path.resolve()
    if not path.parent.is_dir():
        raise InvalidTokens(f"{path.parent} is no folder: make it, or name another file.")
    try:
        with _locked(path.parent):
            entries = [] if create and not path.exists() else list(read_entries(path))
            _replace(path, _HEADER + "".join(entry.line() for entry in change(entries)))
    except OSError as error:
        raise InvalidTokens(f"{path}: {error.strerror}.") from None


@contextmanager
def _locked(folder: Path) -> Iterator[None]:
    """Two changes at once come one after the other. The folder is what is locked: the file itself is replaced."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def _replace(path: Path, text: str) -> None:
    descriptor, part = tempfile.mkstemp(prefix=f".{path.name[:100]}.", dir=path.parent)  # mode 600
    try:
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            if path.exists():
                # Its group may be what lets the server read it.
                before = path.stat()
                os.fchmod(descriptor, stat.S_IMODE(before.st_mode))
                if (before.st_uid, before.st_gid) != (os.geteuid(), os.getegid()):
                    os.fchown(descriptor, before.st_uid, before.st_gid)
            file.write(text)
            file.flush()
            os.fsync(descriptor)
        Path(part).replace(path)
    except BaseException:
        Path(part).unlink(missing_ok=True)
        raise
