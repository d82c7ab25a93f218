"""What is said to those who are not let in, and about tokens that can't be used."""

from __future__ import annotations

from daglens.storage.errors import DaglensError


class Unauthenticated(DaglensError):
    """This server asks who you are, and was given no token, or none that it knows."""

    code = "UNAUTHENTICATED"


class Forbidden(DaglensError):
    """This is not yours to do."""

    code = "FORBIDDEN"


class InvalidTokens(DaglensError):
    """The file of tokens can't be used."""

    code = "INVALID_TOKENS"


class TokensUnreadable(InvalidTokens):
    """The file of tokens can't be read."""

    # Nothing is said of what is in it: it may be right all the same, and is tried again.


class TokensUnchanged(InvalidTokens):
    """No token was changed."""
