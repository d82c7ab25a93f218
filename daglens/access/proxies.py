"""Identities that a proxy in front has established, and tells in a header."""

from __future__ import annotations

import ipaddress
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from daglens.access.authenticator import Credentials
from daglens.access.identity import Identity, Role

NAME_PREFIX = "proxy:"
"""Keeps whoever chooses their own name at the proxy from having a token's."""
ANYBODY = "*"


@dataclass(frozen=True, slots=True)
class TrustedProxies:
    """Proxies whose word is taken.

    Attributes:
        header: That names the user, in lower case.
        networks: Where the proxies are; from anywhere else the header means nothing.
        roles: By user; `*` is for those who aren't named. Users without a role are refused.
    """

    header: str
    networks: Sequence[ipaddress.IPv4Network | ipaddress.IPv6Network]
    roles: Mapping[str, Role] = field(default_factory=dict)

    def find(self, credentials: Credentials) -> Identity | None:
        """Whom the proxy speaks for; None where it is not a trusted one, or says nobody."""
        user = credentials.headers.get(self.header, "").strip()
        if not user or not self._is_trusted(credentials.client_host):
            return None
        # Sent twice, joined by a comma: the client may have added one, and nobody knows which is the proxy's.
        role = None if "," in user else self.roles.get(user, self.roles.get(ANYBODY))
        return None if role is None else Identity(f"{NAME_PREFIX}{user}", role)

    def _is_trusted(self, host: str | None) -> bool:
        try:
            address = ipaddress.ip_address(host or "")
        except ValueError:
            return False
        mapped = getattr(address, "ipv4_mapped", None)
        address = address if mapped is None else mapped
        return any(address in network for network in self.networks)
