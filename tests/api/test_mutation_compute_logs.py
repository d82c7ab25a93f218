"""appendComputeLog."""

from __future__ import annotations

import asyncio
import base64
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from daglens.instance import Instance
from daglens.resolvers.calls import StorageCalls
from daglens.resolvers.limits import MAX_CHUNK_BYTES
from daglens.schema.build import DaglensSchema
from daglens.storage.compute_logs import NoOpComputeLogManager
from daglens.storage.records import ComputeIO, LogKey
from daglens.upkeep import delete_run
from tests.api.conftest import Api, Clock
from tests.api.mutations import APPEND, create, event, report, send

TAIL = """query($runId: ID!, $attempt: Int) { runOrError(runId: $runId) { ... on Run { computeLog(stepKey: "s", \
attempt: $attempt) { attempt stdout { sizeBytes complete tailOrError { ... on ComputeLogChunk { data } } } } } } }"""


@pytest.fixture
async def run(stored: Api) -> Api:
    """The API with one run, `r`."""
    await create(stored)
    return stored


async def append(api: Api, offset: int, data: str, **more: Any) -> Any:
    """Append to stdout of step `s`; the whole answer."""
    return await send(
        api,
        APPEND,
        input={"runId": "r", "stepKey": "s", "ioType": "STDOUT", "offset": str(offset), "data": data, **more},
    )


def log(instance: Instance, attempt: int = 1, io: ComputeIO = ComputeIO.STDOUT) -> bytes:
    """What the log holds."""
    return instance.compute_logs.read(LogKey("r", "s", attempt), io, 0, 10**8).data


async def test_pieces(run: Api) -> None:
    """Pieces add up; a piece that comes again, or overlaps, is stored once."""
    assert (await append(run, 0, "one\n")) == {"__typename": "AppendComputeLogSuccess", "sizeBytes": "4"}
    assert (await append(run, 4, "two\n"))["sizeBytes"] == "8"
    assert (await append(run, 4, "two\n"))["sizeBytes"] == "8"
    assert (await append(run, 0, "one\n"))["sizeBytes"] == "8"
    assert (await append(run, 6, "o\nthree\n"))["sizeBytes"] == "14"
    assert log(run.instance) == b"one\ntwo\nthree\n"


async def test_it_is_read_as_it_was_written(run: Api) -> None:
    """A log that came over the API is one like any other: by attempt, by stream, with its end."""
    await append(run, 0, "first\n", complete=True)
    await append(run, 0, "second\n", attempt=2)
    await append(run, 0, "err\n", ioType="STDERR", attempt=2)
    read = (await run.get(TAIL, runId="r"))["runOrError"]["computeLog"]
    assert read == {
        "attempt": 2,
        "stdout": {"sizeBytes": "7", "complete": False, "tailOrError": {"data": "second\n"}},
    }
    read = (await run.get(TAIL, runId="r", attempt=1))["runOrError"]["computeLog"]
    assert (read["attempt"], read["stdout"]["complete"]) == (1, True)
    assert log(run.instance, 2, ComputeIO.STDERR) == b"err\n"


async def test_a_gap(run: Api) -> None:
    """Bytes behind the end can't be stored; the answer says where the log ends."""
    for size in (0, 3):
        answer = await append(run, size + 1, "x")
        assert (answer["__typename"], answer["code"], answer["sizeBytes"]) == (
            "ComputeLogOffsetError",
            "COMPUTE_LOG_OFFSET",
            str(size),
        )
        await append(run, 0, "abc")
    assert log(run.instance) == b"abc"


async def test_after_the_end(run: Api) -> None:
    """A closed stream takes what it has again, and nothing new."""
    await append(run, 0, "abc", complete=True)
    assert (await append(run, 0, "abc", complete=True))["sizeBytes"] == "3"
    assert (await append(run, 3, "", complete=True))["sizeBytes"] == "3"
    answer = await append(run, 3, "d")
    assert (answer["__typename"], answer["code"], answer["path"]) == (
        "InvalidInputError",
        "COMPUTE_LOG_COMPLETE",
        "data",
    )
    assert log(run.instance) == b"abc"


async def test_an_empty_log(run: Api) -> None:
    """A step that wrote nothing has a log, too."""
    assert (await append(run, 0, "", complete=True))["sizeBytes"] == "0"
    (file,) = run.instance.compute_logs.list(["r"])["r"]
    assert (file.size_bytes, file.complete) == (0, True)


@pytest.mark.parametrize(
    ("data", "encoding", "stored_bytes"),
    [
        ("ünï 🎉\0\r\n", "UTF8", "ünï 🎉\0\r\n".encode()),
        ("a\ud800b", "UTF8", b"a\xef\xbf\xbdb"),
        (base64.b64encode(bytes(range(256))).decode(), "BASE64", bytes(range(256))),
        ("", "BASE64", b""),
        ("AA==", "UTF8", b"AA=="),
    ],
)
async def test_encodings(run: Api, data: str, encoding: str, stored_bytes: bytes) -> None:
    """UTF8 is the text's bytes, half a surrogate pair as browsers encode it; BASE64 any bytes. Offsets count these."""
    answer = await append(run, 0, data, encoding=encoding)
    assert answer["sizeBytes"] == str(len(stored_bytes))
    assert log(run.instance) == stored_bytes
    assert (await append(run, len(stored_bytes), "x"))["sizeBytes"] == str(len(stored_bytes) + 1)


@pytest.mark.parametrize(
    ("given_input", "path"),
    [
        ({"stepKey": ""}, "stepKey"),
        ({"stepKey": "s\0"}, "stepKey"),
        ({"stepKey": "s" * 256}, "stepKey"),
        ({"attempt": 0}, "attempt"),
        ({"attempt": -1}, "attempt"),
        ({"offset": "-1"}, "offset"),
        ({"data": "AA=", "encoding": "BASE64"}, "data"),
        ({"data": "A-_A", "encoding": "BASE64"}, "data"),
        ({"data": "AA\n==", "encoding": "BASE64"}, "data"),
        ({"data": "ü", "encoding": "BASE64"}, "data"),
        ({"data": "x" * (MAX_CHUNK_BYTES + 1)}, "data"),
    ],
)
async def test_what_can_t_be_taken(run: Api, given_input: dict[str, Any], path: str) -> None:
    """The answer names the bad value, and no log is made."""
    whole = {"runId": "r", "stepKey": "s", "ioType": "STDERR", "offset": "0", "data": "x", **given_input}
    answer = await send(run, APPEND, input=whole)
    assert (answer["__typename"], answer["path"]) == ("InvalidInputError", path)
    assert run.instance.compute_logs.list(["r"])["r"] == []


@pytest.mark.parametrize("step_key", ["../../../etc/x", "a/b", "..", "ünï", ":", "\n", "s~2"])
async def test_odd_step_keys(run: Api, step_key: str) -> None:
    """A step key leads nowhere, and is read back as it was."""
    await send(run, APPEND, input={"runId": "r", "stepKey": step_key, "ioType": "STDOUT", "offset": "0", "data": "x"})
    (file,) = run.instance.compute_logs.list(["r"])["r"]
    assert file.key.step_key == step_key


async def test_as_much_as_a_call_takes(run: Api) -> None:
    """4 MiB go in one call."""
    assert (await append(run, 0, "x" * MAX_CHUNK_BYTES))["sizeBytes"] == str(MAX_CHUNK_BYTES)


async def test_writers_at_once(run: Api) -> None:
    """The same pieces, sent by several at once and each twice, are one log."""
    pieces = [f"piece {n}\n" for n in range(20)]
    starts = [sum(map(len, pieces[:n])) for n in range(20)]

    async def write() -> None:
        for start, piece in zip(starts, pieces, strict=True):
            for _ in range(2):
                assert (await append(run, start, piece))["__typename"] == "AppendComputeLogSuccess"

    await asyncio.gather(*(write() for _ in range(4)))
    assert log(run.instance) == "".join(pieces).encode()


@settings(max_examples=30)
@given(data=st.binary(max_size=60), cuts=st.lists(st.integers(0, 60), max_size=6))
def test_any_cuts_add_up(schema: DaglensSchema, data: bytes, cuts: list[int]) -> None:
    """However a writer cuts its bytes, and whatever it repeats, the log is what it wrote."""

    async def write(api: Api) -> None:
        await create(api)
        size = 0
        for end in [*cuts, len(data)]:
            start = min(size, max(0, end - 5))
            piece = base64.b64encode(data[start:end]).decode()
            answer = await append(api, start, piece, encoding="BASE64")
            size = max(size, min(end, len(data)))
            assert answer == {"__typename": "AppendComputeLogSuccess", "sizeBytes": str(size)}
        assert log(api.instance) == data

    with Instance.ephemeral() as instance:
        asyncio.run(write(Api(instance, Clock(), StorageCalls(instance), schema)))


# ---------------------------------------------------------------- runs that can't be written to


@pytest.mark.parametrize("run_id", ["nobody", "", "\0", "../r"])
async def test_no_such_run(run: Api, run_id: str) -> None:
    """Nothing is stored for it."""
    answer = await send(
        run, APPEND, input={"runId": run_id, "stepKey": "s", "ioType": "STDOUT", "offset": "0", "data": "x"}
    )
    assert (answer["__typename"], answer["code"]) == ("RunNotFoundError", "RUN_NOT_FOUND")
    assert not (run.instance.home / "storage").exists() or not list((run.instance.home / "storage").iterdir())


async def test_a_run_that_is_being_deleted(run: Api) -> None:
    """A piece that comes while the run goes leaves nothing behind."""
    await report(run, event("RUN_SUCCESS"))
    run.instance.events.close_runs(["r"])
    assert (await append(run, 0, "late"))["__typename"] == "RunNotFoundError"
    assert run.instance.compute_logs.list(["r"])["r"] == []


async def test_a_deletion_in_the_middle_of_an_append(run: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also when the whole deletion happens between the look at the run and the write."""
    await report(run, event("RUN_SUCCESS"))
    write = run.instance.compute_logs.append

    def late(*args: Any, **kwargs: Any) -> int:
        delete_run(run.instance, "r")
        return write(*args, **kwargs)

    monkeypatch.setattr(run.instance.compute_logs, "append", late)
    assert (await append(run, 0, "late"))["__typename"] == "RunNotFoundError"
    assert run.instance.compute_logs.list(["r"])["r"] == []


async def test_an_instance_that_keeps_no_logs(api: Api) -> None:
    """It answers as if it did, so that a writer goes on."""
    await create(api)
    api.logs.inner = NoOpComputeLogManager()
    assert (await append(api, 7, "abc"))["sizeBytes"] == "10"


@pytest.mark.parametrize("told", [None, 2])
async def test_a_storage_that_drops_bytes(api: Api, monkeypatch: pytest.MonkeyPatch, told: int | None) -> None:
    """A plug-in by whose answer the bytes aren't all there isn't believed: its writer would go on behind them."""
    await create(api)
    monkeypatch.setattr(api.logs.inner, "append", lambda *given, **more: told)
    given_input = {"runId": "r", "stepKey": "s", "ioType": "STDOUT", "offset": "0", "data": "abc"}
    assert (await api.ask(APPEND, {"input": given_input})).codes == ["STORAGE_CONTRACT_BROKEN"]
