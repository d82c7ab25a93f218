"""The contract of an own authenticator: a class that is named in dagster.yaml and tells who somebody is."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol, Self

from daglens.access.identity import Identity


@dataclass(frozen=True, slots=True)
class Credentials:
    """What a request, or the first message on a socket, brings along.

    Attributes:
        token: From `Authorization: Bearer`, from the payload of `connection_init`, or from the cookie of `/login`, in
            this order; None without any. A secret: never to be logged.
        headers: Of the request, or of the socket's handshake; names in lower case, several of one name joined by ", ".
        client_host: The address that the connection comes from: a proxy's, where there is one. None when it is unknown.
    """

    token: str | None = field(default=None, repr=False)
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)
    client_host: str | None = None


class Authenticator(Protocol):
    """Tells who somebody is. Asked when neither the file of tokens nor a trusted proxy knows them.

    Named in dagster.yaml as `daglens: access: authenticator: {module, class, config}`, and made once, when the server
    starts. A class that takes a configuration has a dataclass `Config`, as storages do; without one it takes none.
    """

    @classmethod
    def from_config(cls, config: Any, home: Path) -> Self:
        """Make it. `config` is an instance of the class's `Config`, `home` the instance's folder.

        An error raised here keeps the server from starting, and its message is shown without the configuration's
        secrets.
        """
        ...

    def authenticate(self, credentials: Credentials) -> Identity | None:
        """Who this is; None for somebody unknown, who is then refused.

        Called for every request and for every new socket, in threads and several at once; whoever asks a service
        should remember its answers for a while. An error is logged and answered with 503: nobody is let in by it. How
        long a connection that was let in stays open is unspecified; it isn't asked about again.
        """
        ...
