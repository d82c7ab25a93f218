"""Where a server is, and the token that it asks for. A token is never part of an address, a file name or a message."""

from __future__ import annotations

import ipaddress
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

from daglens.recorder.destination import TOKEN_FILE_VARIABLE
from daglens.storage.errors import DaglensError

TOKEN_VARIABLE: Final = "DAGLENS_TOKEN"

_PORTS: Final = {"http": 80, "https": 443}
_MAX_TOKEN_BYTES: Final = 16_384


class InvalidServerAddress(DaglensError):
    """This can't be the address of a server to record to."""

    code = "INVALID_SERVER_ADDRESS"


class InvalidToken(Exception):
    """There is no token where one should be. Its text is a sentence."""


@dataclass(frozen=True, slots=True)
class ServerAddress:
    """A server.

    Attributes:
        url: In one form for every way to write it: `https://lens.example.org/team`, without a slash at its end.
        scheme: `http` or `https`.
        host: Name or IP address, without brackets.
        port: Always given.
        path: Of its GraphQL endpoint.
    """

    url: str
    scheme: str
    host: str
    port: int
    path: str

    @classmethod
    def parse(cls, text: str) -> ServerAddress:
        """The address that `text` says: `https://host`, with a port and a path prefix if need be.

        Raises:
            InvalidServerAddress: It is no http(s) address, or holds a user, a password, a query or a fragment.
        """
        try:
            parts = urlsplit(text.strip())
            host, port = parts.hostname, parts.port
        except ValueError as error:
            raise InvalidServerAddress(f"{error}.") from None
        if "@" in parts.netloc:
            # Not shown: what stands before the @ is a secret.
            raise InvalidServerAddress("It holds a user or a password. Give a token by --token-file or DAGLENS_TOKEN.")
        if parts.scheme not in _PORTS or not host or not host.isascii() or not _printable(text.strip()):
            raise InvalidServerAddress(f"{text!r} should look like 'https://lens.example.org'.")
        if parts.query or parts.fragment:
            raise InvalidServerAddress("It ends in a query or a fragment. A token is never part of an address.")
        prefix = parts.path.rstrip("/").removesuffix("/graphql")
        shown_host = f"[{host}]" if ":" in host else host
        shown_port = "" if port in (None, _PORTS[parts.scheme]) else f":{port}"
        return cls(
            url=f"{parts.scheme}://{shown_host}{shown_port}{prefix}",
            scheme=parts.scheme,
            host=host,
            port=port or _PORTS[parts.scheme],
            path=f"{prefix}/graphql",
        )

    @property
    def is_loopback(self) -> bool:
        """It is this machine."""
        if self.host == "localhost" or self.host.endswith(".localhost"):
            return True
        try:
            return ipaddress.ip_address(self.host).is_loopback
        except ValueError:
            return False

    @property
    def shows_tokens(self) -> bool:
        """Who listens on the way can read a token that is sent there."""
        return self.scheme == "http" and not self.is_loopback


def _printable(text: str) -> bool:
    return text.isascii() and text.isprintable() and " " not in text


@dataclass(frozen=True, slots=True)
class Token:
    """A bearer token, or where to read it. Its text is in neither `repr` nor `str`.

    Attributes:
        read: Gives it, None where there is none. Raises InvalidToken: nothing there can be a token.
        file: Read again for each connection, so that a renewed token is taken up; None: the token was given itself.
    """

    read: Callable[[], str | None]
    file: Path | None = None

    def __repr__(self) -> str:
        return "Token(***)"

    @classmethod
    def none(cls) -> Token:
        """No token."""
        return cls(lambda: None)

    @classmethod
    def given(cls, text: str) -> Token:
        """This token."""
        return cls(lambda: _checked(text))

    @classmethod
    def in_file(cls, path: str | os.PathLike[str]) -> Token:
        """The token in a file: its text without white space around it."""
        file = Path(path).expanduser().absolute()
        return cls(lambda: _in_file(file), file)

    @classmethod
    def of_environment(cls, environ: Mapping[str, str] | None = None) -> Token:
        """That in the file $DAGLENS_TOKEN_FILE, else that of $DAGLENS_TOKEN, else none."""
        variables = os.environ if environ is None else environ
        # The file first: by it `daglens record --token-file` tells its command.
        if variables.get(TOKEN_FILE_VARIABLE):
            return cls.in_file(variables[TOKEN_FILE_VARIABLE])
        if variables.get(TOKEN_VARIABLE):
            return cls.given(variables[TOKEN_VARIABLE])
        return cls.none()


def _checked(text: str) -> str:
    stripped = text.strip()
    if not stripped or not _printable(stripped):
        raise InvalidToken("A token is a text of ASCII characters without spaces.")
    return stripped


def _in_file(path: Path) -> str:
    try:
        with path.open("rb") as file:
            return _checked(file.read(_MAX_TOKEN_BYTES).decode("ascii", "replace"))
    except OSError as error:
        raise InvalidToken(f"The file of the token can't be read: {path}: {error.strerror}.") from None
    except InvalidToken as error:
        raise InvalidToken(f"{path} should hold a token and nothing else.") from error
