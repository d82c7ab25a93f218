"""Compute logs and artifacts, whole or by ranges, byte for byte, in constant memory."""

from __future__ import annotations

import contextlib
import io
import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from typing import BinaryIO
from urllib.parse import parse_qsl, quote, unquote

from starlette.requests import Request
from starlette.responses import Response, StreamingResponse

from daglens.resolvers import missing_logs
from daglens.server.answers import refusal
from daglens.server.ranges import ByteRange, NotSatisfiable, requested
from daglens.server.served import Served
from daglens.storage.errors import ArtifactNotFound, DaglensError, InvalidName, LogUnavailable
from daglens.storage.names import check_name
from daglens.storage.records import MAX_SEQ, ComputeIO, LogKey

log = logging.getLogger("daglens.server")

PART_BYTES = 262_144

_LOG_STATUS = {"NOT_CAPTURED": 404, "NOT_SHARED": 404, "EXPIRED": 404, "FORBIDDEN": 403}


class Downloads:
    """The routes below `/runs/`."""

    def __init__(self, served: Served) -> None:
        self._calls = served.calls

    async def answer(self, request: Request) -> Response:
        """Answer for one path. Its parts are taken from the raw path: an encoded slash is data.

        What can't be a part of a path, as `..`, is named behind the `?` (resolvers/urls.py).
        """
        parts = _raw_parts(request)
        try:
            named = _named(request)
            match parts:
                case ["runs", run, "compute-logs", step, stream]:
                    return await self._log(request, _text(run), _text(step), _text(stream))
                case ["runs", run, "artifacts", *path] if path:
                    texts = [unquote(part, errors="surrogateescape") for part in path]
                    return await self._artifact(request, _text(run), _path(texts))
                case ["runs", "compute-logs"]:
                    return await self._log(request, *(named.get(name, "") for name in ("run", "step", "stream")))
                case ["runs", "artifacts"]:
                    return await self._artifact(request, named.get("run", ""), _path(named.get("path", "").split("/")))
        except (InvalidName, ArtifactNotFound, UnicodeDecodeError):
            pass
        except LogUnavailable as error:
            return refusal(_LOG_STATUS.get(error.reason, 503), error.code, str(error))
        except DaglensError as error:
            log.warning("%s %s: %s", request.method, request.url.path, error)
            return refusal(503, error.code, str(error))
        return refusal(404, "NOT_FOUND", "There is nothing at this address.")

    async def _log(self, request: Request, run_id: str, step_key: str, stream: str) -> Response:
        if stream not in tuple(ComputeIO):
            raise InvalidName(f"There are stdout and stderr, but no {stream}.")
        given = request.query_params.get("attempt", "1")
        attempt = int(given) if given.isascii() and given.isdigit() and len(given) < 11 else 0
        if not 1 <= attempt <= MAX_SEQ:
            raise InvalidName(f"An attempt is a number from 1, not {given}.")
        key, io = LogKey(check_name(run_id, "run id"), check_name(step_key, "step key"), attempt), ComputeIO(stream)
        # Fixed here: a log that grows meanwhile is served up to where it ended when it was asked for.
        try:
            size_bytes = (await self._calls.compute_logs(lambda logs: logs.read(key, io, 0, 0))).size_bytes
        except LogUnavailable as error:
            raise await missing_logs.explained(self._calls, key, error) from error

        async def read(start: int, most: int) -> bytes:
            return (await self._calls.compute_logs(lambda logs: logs.read(key, io, start, most))).data

        name = f"{step_key}.{stream}.txt" if attempt == 1 else f"{step_key}.{attempt}.{stream}.txt"
        return _file_response(request, size_bytes, read, name, "text/plain; charset=utf-8")

    async def _artifact(self, request: Request, run_id: str, path: str) -> Response:
        check_name(run_id, "run id")
        if "\0" in path:
            raise ArtifactNotFound
        file = await self._calls.artifacts(lambda artifacts: artifacts.open(run_id, path))
        try:
            size_bytes = await self._calls.artifacts(lambda _: file.seek(0, io.SEEK_END))
        except BaseException:
            file.close()
            raise

        async def read(start: int, most: int) -> bytes:
            return await self._calls.artifacts(lambda _: _read_at(file, start, most))

        response = _file_response(request, size_bytes, read, path.rpartition("/")[2], "application/octet-stream")
        return _Closing(response, file.close)


async def _parts(wanted: ByteRange, read: Callable[[int, int], Awaitable[bytes]]) -> AsyncIterator[bytes]:
    start = wanted.start
    while start < wanted.end:
        data = await read(start, min(PART_BYTES, wanted.end - start))
        if not data:
            raise _Shorter
        start += len(data)
        yield data


class _Shorter(Exception):
    """The file has become shorter while it was sent: the connection is cut, so that the client can tell."""


class _Closing(Response):
    """A response after which, however it ends, something is closed."""

    def __init__(self, response: Response, close: Callable[[], None]) -> None:
        self._response = response
        self._close = close

    async def __call__(self, scope: object, receive: object, send: object) -> None:
        """Send the response."""
        try:
            await self._response(scope, receive, send)  # type: ignore[arg-type]
        finally:
            with contextlib.suppress(OSError):
                self._close()


def _read_at(file: BinaryIO, start: int, most: int) -> bytes:
    file.seek(start)
    return file.read(most)


def _file_response(
    request: Request,
    size_bytes: int,
    read: Callable[[int, int], Awaitable[bytes]],
    name: str,
    media_type: str,
) -> Response:
    headers = {
        "accept-ranges": "bytes",
        "cache-control": "no-store",
        "content-disposition": disposition(name),
        # What a step has written may be anything, a page with a script too: it is never shown as part of this site.
        "content-security-policy": "default-src 'none'; sandbox",
        "x-content-type-options": "nosniff",
    }
    try:
        # Without validators (a log grows) If-Range can't match, and then asks for the whole.
        wanted = None if "if-range" in request.headers else requested(request.headers.get("range"), size_bytes)
    except NotSatisfiable:
        return refusal(
            416,
            "RANGE_NOT_SATISFIABLE",
            f"The file has {size_bytes} bytes.",
            headers={"content-range": f"bytes */{size_bytes}", "accept-ranges": "bytes"},
        )
    status = 200
    if wanted is not None:
        status = 206
        headers["content-range"] = f"bytes {wanted.start}-{wanted.end - 1}/{size_bytes}"
    whole = wanted or ByteRange(0, size_bytes)
    headers["content-length"] = str(whole.end - whole.start)
    if request.method == "HEAD":
        return Response(status_code=status, headers={**headers, "content-type": media_type})
    return StreamingResponse(_parts(whole, read), status, headers, media_type)


def disposition(name: str) -> str:
    """A Content-Disposition that saves the file under this name, whatever characters it has (RFC 6266)."""
    plain = "".join(sign if sign.isascii() and (sign.isalnum() or sign in "._- ") else "_" for sign in name)
    encoded = quote(name, safe="", errors="surrogateescape")
    return f"attachment; filename=\"{plain or 'file'}\"; filename*=UTF-8''{encoded}"


def _raw_parts(request: Request) -> list[str]:
    raw = request.scope.get("raw_path") or quote(request.scope["path"]).encode()
    path = raw.decode("latin-1").partition("?")[0]
    # A prefix has no character that would need encoding (settings.PREFIX); a client may encode it all the same.
    below = len(request.scope.get("root_path", "").split("/"))
    return path.split("/")[below:]


def _named(request: Request) -> dict[str, str]:
    # Bytes that are no UTF-8 become surrogates: files may be called so, and as a run or a step they are refused.
    query = request.scope["query_string"].decode("utf-8", "surrogateescape")
    return dict(parse_qsl(query, keep_blank_values=True, errors="surrogateescape"))


def _text(part: str) -> str:
    return unquote(part, errors="strict")


def _path(parts: Sequence[str]) -> str:
    # Names of files need not be UTF-8; resolvers/urls.py encodes their bytes.
    if any("/" in part or part in ("", ".", "..") for part in parts):
        raise ArtifactNotFound
    return "/".join(parts)
