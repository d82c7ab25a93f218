"""Which documents a server executes: all, or those that it knows beforehand."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable
from dataclasses import replace
from pathlib import Path
from typing import Final, Literal

from daglens.server.documents.manifest import InvalidDocuments, Manifest, hash_of, plain, read_manifest
from daglens.server.graphql_request import BadRequest, GraphQLRequest

log = logging.getLogger("daglens.server")

Mode = Literal["off", "log", "enforce"]
Signature = tuple[int, ...] | None

_MOST_TOLD: Final = 1_000
_SHOWN_CHARS: Final = 200


class TrustedDocuments:
    """Finds the documents of ids, and lets through what may be executed. For one event loop.

    A change of the file holds from the next request on. A file that can't be used any more changes nothing: the
    documents stay those that were read last, and the log says why.
    """

    def __init__(
        self,
        path: Path | None,
        mode: Mode,
        *,
        most_chars: int = 0,
        on_read: Callable[[Iterable[str]], None] = lambda names: None,
    ) -> None:
        """Without a file, or with mode `off`, every document is executed and no ids are known. `most_chars`: of a
        document that a client sends; 0: of any length. `on_read`: told the names of the file's operations, now and
        when it has changed.

        Raises:
            InvalidDocuments: The file can't be used.
        """
        self._path = path if mode != "off" else None
        self._most_chars = most_chars
        self._enforced = mode == "enforce"
        self._signature = _signature(self._path)
        self._manifest = None if self._path is None else read_manifest(self._path)
        self._told: set[str] = set()
        self._on_read = on_read
        if self._manifest is not None:
            on_read(self._manifest.operation_names())

    def checked(self, request: GraphQLRequest) -> GraphQLRequest:
        """The request with its document.

        Raises:
            BadRequest: Its id is unknown, or its document is not to be executed here.
        """
        if 0 < self._most_chars < len(request.query):
            raise BadRequest(
                f"The document has {len(request.query):,} characters; {self._most_chars:,} are allowed. Values belong "
                "into its variables.",
                status=413,
                code="DOCUMENT_TOO_LONG",
                limit=self._most_chars,
                found=len(request.query),
            )
        manifest = self._latest()
        if request.document_id is not None:
            request = _with_document(request, request.document_id, manifest)
        if manifest is None or manifest.has(request.query):
            return request
        self._tell(request)
        if self._enforced:
            raise BadRequest(
                "This server executes the documents that it knows beforehand, and this is none of them: have it added "
                "to the server's manifest.",
                status=403,
                code="UNTRUSTED_DOCUMENT",
            )
        return request

    def _tell(self, request: GraphQLRequest) -> None:
        id = hash_of(request.query)
        if id not in self._told and len(self._told) < _MOST_TOLD:
            self._told.add(id)
            shown = request.query[:_SHOWN_CHARS]
            done = "refused" if self._enforced else "executed"
            log.warning("A document that is not in %s was %s: sha256:%s %r", self._path, done, id, shown)

    def _latest(self) -> Manifest | None:
        if self._path is None:
            return None
        signature = _signature(self._path)
        if signature != self._signature:
            self._signature = signature
            try:
                self._manifest = read_manifest(self._path)
                self._told.clear()
                self._on_read(self._manifest.operation_names())
                log.info("%s has changed: %d documents", self._path, len(self._manifest.by_id))
            except InvalidDocuments as error:
                log.error("The documents stay as they were: %s", error)
        return self._manifest


def _with_document(request: GraphQLRequest, id: str, manifest: Manifest | None) -> GraphQLRequest:
    if manifest is None:
        if request.query:
            return request  # its id is of no use here
        raise BadRequest(
            "This server knows no documents by id: send the document as `query`.", code="PERSISTED_QUERY_NOT_SUPPORTED"
        )
    text = manifest.text_of(id)
    if text is None:
        if request.query:
            return request
        raise BadRequest("This server knows no document of this id.", code="PERSISTED_QUERY_NOT_FOUND")
    if request.query and (len(request.query) > 2 * len(text) + 1000 or plain(request.query) != plain(text)):
        raise BadRequest("`query` is not the document of the id that was sent with it.")
    return replace(request, query=text)


def _signature(path: Path | None) -> Signature:
    if path is None:
        return None
    try:
        status = path.stat()
    except OSError:
        return None
    return status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns
