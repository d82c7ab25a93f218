"""What an object store complains of, as our errors: one sentence, without the query of an address."""

from __future__ import annotations

import re

from daglens.storage.errors import LogUnavailable, StorageUnavailable
from daglens.storage.records import LogUnavailableReason

_REFUSED = re.compile(r"status code: 40[13]\b|\b(?:AccessDenied|AuthenticationFailed|AuthorizationFailure)\b")
_NO_BUCKET = re.compile(r"\b(?:NoSuchBucket|ContainerNotFound|The specified bucket does not exist)\b")
_OTHER_REGION = re.compile(r"status code: 301\b|PermanentRedirect|AuthorizationHeaderMalformed")
_CODE = re.compile(r"<Code>(\w+)</Code>")
# A shared access signature stands in an address's query.
_QUERY = re.compile(r"(https?://[^\s?]+)\?\S*")
_NO_CREDENTIALS = re.compile(r"169\.254\.169\.254|metadata\.google\.internal|/metadata/identity/|fd00:ec2::254")
_MOST_CHARS = 400


class StoreForbids(LogUnavailable, StorageUnavailable):
    """The object store refuses this process."""

    code = StorageUnavailable.code

    def __init__(self, hint: str) -> None:
        super().__init__(LogUnavailableReason.FORBIDDEN, hint)


class BucketMissing(StorageUnavailable):
    """There is no such bucket or container."""


class Missing(Exception):
    """There is no such object."""


class Exists(Exception):
    """There is such an object already."""


def translated(error: Exception, location: str) -> Exception:
    """What to raise for an exception of the library."""
    text = str(error)
    said = f"{location}: {headline(text)}"
    if type(error).__name__ == "AlreadyExistsError":
        return Exists()
    if _NO_BUCKET.search(text):
        return BucketMissing(f"{said} Make it, or mend compute_logs in dagster.yaml.")
    if isinstance(error, FileNotFoundError):
        return Missing()
    if _OTHER_REGION.search(text):
        return StorageUnavailable(f"{said} The bucket is in another region: set `region` in dagster.yaml.")
    if _NO_CREDENTIALS.search(text):
        return StorageUnavailable(
            f"{said} There are no credentials: neither keys in dagster.yaml, nor in the environment, nor a role of "
            "this machine."
        )
    if type(error).__name__ in ("PermissionDeniedError", "UnauthenticatedError") or _REFUSED.search(text):
        return StoreForbids(f"{said} Check the credentials and what they may do: list, get, put and delete.")
    return StorageUnavailable(said)


def headline(text: str) -> str:
    """The first line of what the library says, with the store's own word for it; it goes on for pages."""
    first = _QUERY.sub(r"\1", text.partition("\n")[0].partition("<?xml")[0]).strip().rstrip(":.")
    code = _CODE.search(text)
    if code and code[1] not in first:
        first = f"{first} ({code[1]})"
    return f"{first[:_MOST_CHARS]}."
