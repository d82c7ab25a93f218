"""Compute logs over the API."""

from __future__ import annotations

import threading
from typing import Any

import pytest

from daglens.resolvers import log_text
from daglens.storage import event_types as et
from daglens.storage.errors import LogUnavailable
from daglens.storage.records import ComputeIO, LogKey, LogUnavailableReason
from tests.api.conftest import Api
from tests.api.storages import LogsInMemory
from tests.api.test_runs import draft

OUT, ERR = ComputeIO.STDOUT, ComputeIO.STDERR

LOG = """
query Log($id: ID! = "r", $step: String! = "a", $attempt: Int, $after: Cursor, $before: Cursor, $max: Int! = 1048576) {
  runOrError(runId: $id) { ... on Run { computeLog(stepKey: $step, attempt: $attempt) {
    runId stepKey attempt attempts
    stdout { ...File chunkOrError(after: $after, maxBytes: $max) { ...Chunk } }
    tail: stdout { tailOrError(before: $before, maxBytes: $max) { ...Chunk } }
    stderr { ...File }
  } } }
}
fragment File on ComputeLogFile { ioType path sizeBytes complete truncated downloadUrl }
fragment Chunk on ComputeLogChunkOrError {
  __typename
  ... on ComputeLogChunk { attempt data startCursor cursor hasMore complete invalidBytes startByte endByte }
  ... on ComputeLogUnavailableError { code message reason }
  ... on Error { code message }
}
"""


async def log(api: Api, **variables: Any) -> dict[str, Any]:
    found: dict[str, Any] = (await api.get(LOG, **variables))["runOrError"]["computeLog"]
    return found


async def chunk(api: Api, **variables: Any) -> dict[str, Any]:
    found: dict[str, Any] = (await log(api, **variables))["stdout"]["chunkOrError"]
    return found


async def tail(api: Api, **variables: Any) -> dict[str, Any]:
    found: dict[str, Any] = (await log(api, **variables))["tail"]["tailOrError"]
    return found


@pytest.fixture
def logs(api: Api) -> LogsInMemory:
    """Logs of a running run `r`."""
    api.add("r", draft(et.RUN_START))
    storage = api.logs.inner
    assert isinstance(storage, LogsInMemory)
    return storage


def write(logs: LogsInMemory, data: bytes, step: str = "a", attempt: int = 1, *, complete: bool = False) -> None:
    key = LogKey("r", step, attempt)
    logs.capture(key)
    logs.append(key, OUT, 0, data, complete=complete)


async def test_what_a_log_is(api: Api, logs: LogsInMemory) -> None:
    """Sizes, place, ends and the address of the download, below the server's prefix."""
    write(logs, b"one\n", complete=True)
    api.url_prefix = "/history"
    found = await log(api)
    assert (found["runId"], found["stepKey"], found["attempt"], found["attempts"]) == ("r", "a", 1, 1)
    del found["stdout"]["chunkOrError"]
    assert found["stdout"] == {
        "ioType": "STDOUT",
        "path": "memory:a",
        "sizeBytes": "4",
        "complete": True,
        "truncated": False,
        "downloadUrl": "/history/runs/r/compute-logs/a/stdout?attempt=1",
    }
    assert (found["stderr"]["complete"], found["stderr"]["downloadUrl"][-16:]) == (False, "stderr?attempt=1")


async def test_odd_names_in_addresses(api: Api) -> None:
    """Every character of a name that means something in an address is percent-encoded."""
    api.add("a/b?c%d #é")
    api.logs.inner.capture(LogKey("a/b?c%d #é", ".."))
    found = await log(api, id="a/b?c%d #é", step="..")
    assert found["stdout"]["downloadUrl"] == (
        "/runs/compute-logs?run=a%2Fb%3Fc%25d%20%23%C3%A9&step=..&stream=stdout&attempt=1"
    )


async def test_logs_of_a_run(api: Api, logs: LogsInMemory) -> None:
    """One per step, the latest attempt, in order of step key."""
    for step, attempt in (("b", 1), ("a", 1), ("a", 2)):
        write(logs, step.encode() * attempt, step, attempt)
    data = await api.get(
        '{ runOrError(runId: "r") { ... on Run { computeLogs { stepKey attempt attempts stdout { sizeBytes } } } } }'
    )
    assert [
        (x["stepKey"], x["attempt"], x["attempts"], x["stdout"]["sizeBytes"]) for x in data["runOrError"]["computeLogs"]
    ] == [("a", 2, 2, "2"), ("b", 1, 1, "1")]


async def test_attempts(api: Api, logs: LogsInMemory) -> None:
    """The latest attempt unless told otherwise; a cursor belongs to its attempt."""
    write(logs, b"first")
    write(logs, b"second", attempt=2)
    first = await chunk(api, attempt=1)
    assert (first["attempt"], first["data"]) == (1, "first")
    assert (await chunk(api))["data"] == "second"
    assert (await chunk(api, after=first["cursor"], attempt=1))["data"] == ""
    assert (await chunk(api, after=first["cursor"]))["__typename"] == "InvalidCursorError"


@pytest.mark.parametrize("size", [-3, 0, 4, 5, 7, 64, 2**31 - 1])
async def test_chunks_add_up(api: Api, logs: LogsInMemory, size: int) -> None:
    """Chunks of any size add up to the text, stray bytes replaced and counted; below 4 counts as 4."""
    data = "zwölf 😀\nKäse\n".encode() + b"\xff\xfe ok\n" + "Ende 😀".encode()
    write(logs, data, complete=True)
    text, invalid, cursor, ends = "", 0, None, []
    while True:
        found = await chunk(api, after=cursor, max=size)
        text, invalid = text + found["data"], invalid + found["invalidBytes"]
        cursor = found["cursor"]
        ends.append(int(found["endByte"]))
        if not found["hasMore"]:
            break
    assert text == "zwölf 😀\nKäse\n\ufffd\ufffd ok\nEnde 😀"
    assert (invalid, ends[-1], found["complete"]) == (2, len(data), True)
    assert all(b - a <= max(size, 4) for a, b in zip([0, *ends], ends, strict=False))


async def test_a_large_chunk_is_capped(api: Api, logs: LogsInMemory) -> None:
    """At most 4 MiB are read at once."""
    write(logs, b"x")
    await chunk(api, max=2**31 - 1)
    assert max(asked[1][3] for asked in api.logs.asked if asked[0] == "read") == 4 * 1024 * 1024


async def test_a_character_that_is_still_being_written(api: Api, logs: LogsInMemory) -> None:
    """Half a character at the end of a log that grows is left for the next chunk, and isn't announced as more."""
    write(logs, b"ab\xf0\x9f")
    found = await chunk(api)
    assert (found["data"], found["hasMore"], found["endByte"]) == ("ab", False, "2")
    assert (await tail(api))["data"] == "ab"
    write(logs, "ab😀".encode())
    assert (await chunk(api, after=found["cursor"]))["data"] == "😀"


async def test_a_writer_that_died(api: Api, logs: LogsInMemory) -> None:
    """When the run has ended, a log that nobody closed is `truncated`, and is read to its last byte."""
    write(logs, b"ab\xf0\x9f")
    assert (await log(api))["stdout"]["truncated"] is False
    api.instance.append("r", [draft(et.RUN_FAILURE)])
    found = await log(api)
    assert (found["stdout"]["truncated"], found["stdout"]["complete"]) == (True, False)
    assert found["stdout"]["chunkOrError"]["data"] == "ab\ufffd\ufffd"
    assert found["stdout"]["chunkOrError"]["complete"] is False
    logs.completed.add((LogKey("r", "a"), OUT))
    assert (await log(api))["stdout"]["truncated"] is False
    logs.cut.add((LogKey("r", "a"), OUT))
    assert (await log(api))["stdout"]["truncated"] is True


async def test_scrolling_up(api: Api, logs: LogsInMemory) -> None:
    """The last lines, then those before, begin with whole lines and add up to the log."""
    lines = "".join(f"line {n} ü\n" for n in range(30))
    write(logs, lines.encode(), complete=True)
    found = await tail(api, max=50)
    assert found["data"].startswith("line 2") and found["data"].endswith("line 29 ü\n")
    assert (found["hasMore"], found["complete"]) == (False, True)
    text = found["data"]
    while found["startByte"] != "0":
        found = await tail(api, max=50, before=found["startCursor"])
        assert found["data"].startswith("line ") and found["hasMore"]
        text = found["data"] + text
    assert text == lines


async def test_cursors_of_other_logs(api: Api, logs: LogsInMemory) -> None:
    """A cursor of another step, stream or run, beyond the end, or malformed is an InvalidCursorError."""
    write(logs, b"abc")
    write(logs, b"abc", "b")
    cursor = (await chunk(api))["cursor"]
    other = (await chunk(api, step="b"))["cursor"]
    beyond = cursor.replace(".3.", ".4.")
    assert beyond != cursor
    for bad in (other, beyond, "nonsense", ""):
        assert (await chunk(api, after=bad))["code"] == "INVALID_CURSOR"
        assert (await tail(api, before=bad))["code"] == "INVALID_CURSOR"


@pytest.mark.parametrize("reason", LogUnavailableReason)
async def test_a_log_that_is_not_there_says_why(api: Api, logs: LogsInMemory, reason: LogUnavailableReason) -> None:
    """Each reason of a storage reaches the client, chunk and tail alike."""
    logs.unavailable[LogKey("r", "a")] = reason
    for found in (await chunk(api), await tail(api)):
        assert (found["__typename"], found["reason"]) == ("ComputeLogUnavailableError", reason.name)
        assert (found["code"], "By the test." in found["message"]) == ("COMPUTE_LOG_UNAVAILABLE", True)


@pytest.mark.parametrize(
    ("step", "attempt"), [("a", None), ("\u0000", None), ("", None), ("a", 0), ("a", -1), ("../..", 7)]
)
async def test_nothing_captured(api: Api, logs: LogsInMemory, step: str, attempt: int | None) -> None:
    """A step without output, and one that can't be, has a log whose files say NOT_CAPTURED."""
    found = await log(api, step=step, attempt=attempt)
    assert (found["attempt"], found["attempts"]) == (1 if attempt is None else attempt, 0)
    file = found["stdout"]
    assert file.pop("chunkOrError")["reason"] == "NOT_CAPTURED"
    assert (file["path"], file["sizeBytes"], file["complete"], file["truncated"], file["downloadUrl"]) == (
        None,
        "0",
        False,
        False,
        None,
    )


async def test_output_in_a_shared_log(api: Api, logs: LogsInMemory) -> None:
    """Where steps of one process shared a log, a step without one of its own is told where to look."""
    write(logs, b"x", "(process)")
    assert "(process)" in (await chunk(api))["message"]
    assert (await chunk(api, step="(process)"))["data"] == "x"


ONE_TEXT = """
query Text($step: String! = "a", $attempt: Int, $after: Cursor, $rest: Boolean! = false) {
  runOrError(runId: "r") { ... on Run { computeLog(stepKey: $step, attempt: $attempt) {
    __typename runId stepKey attempt @include(if: $rest)
    stdout { ioType path @include(if: $rest) chunkOrError(after: $after) { ...Chunk } }
  } } }
}
fragment Chunk on ComputeLogChunkOrError {
  __typename
  ... on ComputeLogChunk { attempt data startCursor cursor hasMore complete invalidBytes startByte endByte }
  ... on ComputeLogUnavailableError { code message reason }
  ... on Error { code message }
}
"""


async def test_one_text_is_read_in_one_call(api: Api, logs: LogsInMemory) -> None:
    """Where nothing but one text of a log is selected nothing is read for the rest; its text is the same as with it."""
    for attempt in (1, 2):
        write(logs, f"attempt {attempt} \xe4".encode("latin-1"), attempt=attempt, complete=True)
    write(logs, b"x", "(process)")
    place = (await chunk(api, attempt=1))["cursor"]
    questions: list[dict[str, Any]] = [{}, {"attempt": 1}, {"attempt": 1, "after": place}, {"after": place}]
    questions += [{"attempt": 3}, {"step": "b"}, {"step": "\0"}, {"attempt": 0}, {"after": "nonsense"}]
    for given in questions:
        api.forget()
        found = (await api.get(ONE_TEXT, **given))["runOrError"]["computeLog"]
        calls = api.logs.called[:]
        told = (await api.get(ONE_TEXT, rest=True, **given))["runOrError"]["computeLog"]
        del told["attempt"], told["stdout"]["path"]
        assert found == told
        if found["stdout"]["chunkOrError"]["__typename"] == "ComputeLogChunk":
            assert calls == (["read"] if "attempt" in given else ["list", "read"])


async def test_two_texts_share_a_listing(api: Api, logs: LogsInMemory) -> None:
    """Which attempt is the latest is asked once for all texts of a log."""
    write(logs, b"x")
    api.forget()
    data = await api.get(
        """{ runOrError(runId: "r") { ... on Run { computeLog(stepKey: "a") {
             stdout { tailOrError { ... on ComputeLogChunk { data } } }
             stderr { chunkOrError { ... on ComputeLogChunk { data } } } } } } }"""
    )
    found = data["runOrError"]["computeLog"]
    assert (found["stdout"]["tailOrError"]["data"], found["stderr"]["chunkOrError"]["data"]) == ("x", "")
    assert api.logs.called.count("list") == 1


async def test_text_is_made_off_the_event_loop(api: Api, logs: LogsInMemory, monkeypatch: pytest.MonkeyPatch) -> None:
    """A log of nothing but stray bytes takes a while to read as text: whoever waits for something else goes on."""
    write(logs, b"\xff" * 100)
    threads = []
    decode = log_text.decode_chunk

    def noting(data: bytes, at_end: bool) -> log_text.Decoded:
        threads.append(threading.current_thread())
        return decode(data, at_end)

    monkeypatch.setattr(log_text, "decode_chunk", noting)
    assert (await chunk(api))["invalidBytes"] == 100
    assert (await tail(api))["invalidBytes"] == 100
    assert threads and threading.main_thread() not in threads


@pytest.mark.parametrize("runs", [1, 30])
async def test_one_listing_for_all_runs(api: Api, runs: int) -> None:
    """Logs of all runs of a page are listed in one call."""
    for number in range(runs):
        api.add(f"r{number}")
        api.logs.inner.capture(LogKey(f"r{number}", "a"))
    api.forget()
    await api.get(
        """{ runsOrError(limit: 100) { ... on RunPage { nodes {
             computeLogs { stdout { sizeBytes } } computeLog(stepKey: "a") { attempts } } } } }"""
    )
    assert api.asked == {"runs": ["page"], "logs": ["list"]}


async def test_a_storage_that_refuses_to_list_says_why(
    api: Api, logs: LogsInMemory, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An object store that forbids everything: the log is there as an object, and its text is the reason."""

    def refuse(*_: Any) -> Any:
        raise LogUnavailable(LogUnavailableReason.FORBIDDEN, "Check the credentials.")

    monkeypatch.setattr(logs, "list", refuse)
    monkeypatch.setattr(logs, "read", refuse)
    found = await chunk(api)
    assert (found["__typename"], found["reason"]) == ("ComputeLogUnavailableError", "FORBIDDEN")
    assert "Check the credentials." in found["message"]
