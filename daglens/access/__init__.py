"""Who asks, and what they may do. `Authenticator` is the contract for an own way to tell who somebody is."""

from daglens.access.authenticator import Authenticator, Credentials
from daglens.access.errors import Forbidden, InvalidTokens, Unauthenticated
from daglens.access.identity import EVERYBODY, Identity, Role

__all__ = [
    "EVERYBODY",
    "Authenticator",
    "Credentials",
    "Forbidden",
    "Identity",
    "InvalidTokens",
    "Role",
    "Unauthenticated",
]
