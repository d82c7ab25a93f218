"""All limits of a server, for docs/limits.md and for the test that meets each of them on each transport."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from daglens.config.settings import Limits
from daglens.storage.sqlite.config import SqliteConfig


@dataclass(frozen=True, slots=True)
class Limit:
    """One of them.

    Attributes:
        setting: Its key below `daglens: limits:`, or that of a storage's own configuration.
        what: What is bounded.
        code: `extensions.code` of the error; None where nothing is refused.
        told: How whoever goes over it is told, where that is no error in the answer.
    """

    setting: str
    what: str
    code: str | None
    told: str = ""

    @property
    def default(self) -> float:
        """What holds unless it is changed."""
        if self.setting == STATEMENT:
            return SqliteConfig().statement_timeout_s
        value: float = getattr(Limits(), self.setting)
        return value

    def row(self) -> str:
        """Its row in the table of docs/limits.md."""
        shown = f"{self.default:,.0f}"
        code = "" if self.code is None else f"[{self.code}](errors/{self.code}.md)"
        return f"| {self.what} | `{self.setting}` | {shown} | {code} | {self.told} |"


STATEMENT: Final = "statement_timeout_s"

LIMITS: Final = (
    Limit("max_document_chars", "characters of a document, comments included", "DOCUMENT_TOO_LONG", "HTTP status 413"),
    Limit("max_tokens", "names, signs and values of a document", "TOO_MANY_TOKENS"),
    Limit("max_depth", "fields in fields", "TOO_DEEP"),
    Limit("max_aliases", "fields selected by an alias, or twice", "TOO_MANY_ALIASES"),
    Limit("max_root_fields", "fields at the top of an operation", "TOO_MANY_ROOT_FIELDS"),
    Limit("max_cost", "rows that an operation may have storages read: its [cost](#cost)", "TOO_COSTLY"),
    Limit("max_page", "nodes of one page", None, "a higher `limit` gives this many, with `hasMore`"),
    Limit("max_answer_bytes", "bytes of a result, or of one message of a subscription, as JSON", "ANSWER_TOO_LARGE"),
    Limit(
        "max_body_bytes",
        "bytes of a request's body, and of a message on a socket",
        "BODY_TOO_LARGE",
        "HTTP status 413; a socket is closed with 1009",
    ),
    Limit("max_operation_s", "seconds that a query or a mutation takes", "OPERATION_TIMEOUT"),
    Limit(
        STATEMENT,
        "seconds that one SQL statement takes; a key of the [storage's own configuration](configuration.md#storages)",
        "STORAGE_UNAVAILABLE",
    ),
    Limit(
        "max_operations",
        "operations open at once on one socket; a request and an event stream carry one",
        "TOO_MANY_OPERATIONS",
    ),
    Limit(
        "max_connections",
        "sockets, event streams and requests of one [client](#clients) under way at once",
        "TOO_MANY_CONNECTIONS",
        "HTTP status 429, for a socket's handshake too",
    ),
    Limit(
        "max_client_bytes",
        "[bytes](#bytes) of one client's requests, bodies and messages held at once",
        "TOO_MANY_BYTES",
        "HTTP status 429; a socket is closed with 1013 when it is a message larger than 64 KiB",
    ),
    Limit("max_held_bytes", "the same, of all clients of a server process", "SERVER_FULL", "HTTP status 503; ditto"),
)
HEAD: Final = "| at most so many | key | default | code | |\n|---|---|---|---|---|\n"


def table() -> str:
    """The table of docs/limits.md."""
    return HEAD + "".join(f"{limit.row()}\n" for limit in LIMITS)
