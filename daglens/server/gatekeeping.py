"""From settings to the gate."""

from __future__ import annotations

import ipaddress
import re
from pathlib import Path
from typing import TYPE_CHECKING

from daglens.access import Role
from daglens.access.proxies import TrustedProxies
from daglens.access.tokens import Tokens
from daglens.server.admission import Gate
from daglens.server.settings import InvalidServerSetting, ServerSettings

if TYPE_CHECKING:
    from daglens.config.settings import Access
    from daglens.instance import Instance

Network = ipaddress.IPv4Network | ipaddress.IPv6Network

_HEADER = re.compile(r"[A-Za-z0-9-]{1,100}", re.ASCII)


def gate_of(instance: Instance, settings: ServerSettings) -> Gate:
    """The gate of a server.

    Raises:
        InvalidTokens, InvalidServerSetting, and what an own authenticator raises when it is made.
    """
    access = instance.settings.access
    path = tokens_file(instance, settings.tokens)
    return Gate(
        tokens=Tokens(path) if path is not None else None,
        proxies=_proxies(access),
        authenticator=instance.authenticator(),
    )


def tokens_file(instance: Instance, given: Path | None) -> Path | None:
    """The file of tokens: the one that is given, else the one that dagster.yaml names."""
    return _file(instance, given, instance.settings.access.tokens)


def documents_file(instance: Instance, given: Path | None) -> Path | None:
    """The file of trusted documents: the one that is given, else the one that dagster.yaml names."""
    return _file(instance, given, instance.settings.documents.manifest)


def _file(instance: Instance, given: Path | None, named: str | None) -> Path | None:
    if given is not None:
        return given.expanduser()
    return None if named is None else instance.home / Path(named).expanduser()


def forwarders(instance: Instance, settings: ServerSettings) -> tuple[Network, ...]:
    """Networks of the proxies that are believed which client's address they speak for: those that are trusted with
    its name are with its address.

    Raises:
        InvalidServerSetting
    """
    own = _networks("forwarded_by", settings.limits.forwarded_by)
    return own + _networks("trusted_proxies", instance.settings.access.trusted_proxies)


def _networks(key: str, texts: tuple[str, ...]) -> tuple[Network, ...]:
    try:
        return tuple(ipaddress.ip_network(text) for text in texts)
    except ValueError as error:
        raise InvalidServerSetting(f"`{key}` holds networks, as 10.0.0.0/8: {error}.") from None


def _proxies(access: Access) -> TrustedProxies | None:
    if access.trusted_header is None:
        if access.trusted_proxies or access.trusted_roles:
            raise InvalidServerSetting("`trusted_proxies` and `trusted_roles` need a `trusted_header`.")
        return None
    if not _HEADER.fullmatch(access.trusted_header):
        raise InvalidServerSetting(f"The header {access.trusted_header!r} should look like 'X-Forwarded-User'.")
    if not access.trusted_proxies or not access.trusted_roles:
        raise InvalidServerSetting(
            "Beside `trusted_header`, `trusted_proxies` must say whose header is believed, and `trusted_roles` what "
            "its users may do."
        )
    networks = _networks("trusted_proxies", access.trusted_proxies)
    roles = {user: Role(role) for user, role in access.trusted_roles.items()}
    return TrustedProxies(access.trusted_header.lower(), networks, roles)
