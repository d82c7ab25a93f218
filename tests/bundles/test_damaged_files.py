"""Files that are no bundle, or no longer: one sentence with the line, and nothing imported."""

from __future__ import annotations

import base64
import hashlib
import json
import os
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from daglens.bundles.exporting import BundleNotWritten, write_bundle
from daglens.bundles.importing import import_file
from daglens.bundles.serving import open_bundles
from daglens.instance import Instance
from daglens.storage.bundle.file import BundleFile
from daglens.storage.bundle.lines import CHUNK_BYTES, MAX_LINE_BYTES, InvalidBundle
from daglens.storage.records import NewRun, RunFilter
from daglens.testing.names import IMPOSSIBLE_NAMES
from tests.bundles.conftest import bundle_of

Line = dict[str, Any]

_RUN = NewRun("plain", "nightly", tags=(("team", "core"),))


def sealed(lines: list[bytes]) -> bytes:
    """The lines with a last one whose checksum is right: what somebody writes who knows the format."""
    body = b"".join(lines)
    sizes = [int(size) for size in re.findall(rb'^{"log".*"size_bytes": ?(\d+)', body, re.M)]
    end = {
        "events": sum(line.startswith(b'{"event"') for line in lines),
        "logs": sum(line.startswith(b'{"log"') for line in lines),
        "log_bytes": sum(sizes),
        "sha256": hashlib.sha256(body).hexdigest(),
    }
    return body + json.dumps({"end": end}).encode() + b"\n"


@pytest.fixture
def lines(file: Path) -> list[bytes]:
    """A sound bundle's lines but the last: 1 is the header, 2 the run, 3 … 24 events, 25 the first log."""
    return file.read_bytes().splitlines(keepends=True)[:-1]


@pytest.fixture
def refused(file: Path, target: Instance) -> Callable[[bytes], str]:
    """Tries to import and to serve; both say the same, nothing is stored, and the sentence is given."""

    def refuse(content: bytes) -> str:
        file.write_bytes(content)
        with pytest.raises(InvalidBundle) as imported:
            import_file(target, file)
        with pytest.raises(InvalidBundle) as served:
            open_bundles([file])
        assert str(imported.value) == str(served.value)
        assert target.runs.page(RunFilter()).runs == []
        prefix = f"This can't be read as a run bundle. {file}, "
        message = str(imported.value)
        assert message.startswith(prefix)
        assert "\n" not in message
        assert len(message) < 600
        return message.removeprefix(prefix)

    return refuse


def changed(line: bytes, kind: str, **fields: Any) -> bytes:
    """A line with other values in it."""
    found = json.loads(line)
    found[kind] |= fields
    return json.dumps(found).encode() + b"\n"


def without(line: bytes, kind: str, field: str) -> bytes:
    """A line that lacks a field."""
    found = json.loads(line)
    del found[kind][field]
    return json.dumps(found).encode() + b"\n"


def test_the_helper_makes_sound_bundles(lines, file, target):
    """What the tests here spoil was sound before."""
    file.write_bytes(sealed(lines))
    assert import_file(target, file).events == 22


@pytest.mark.parametrize("bytes_left", [0, 1, 20, 43, 44, 200, -1, -2, -100, -210])
def test_cut_off(file, refused, bytes_left):
    """Wherever it ends too early."""
    message = refused(file.read_bytes()[:bytes_left])
    assert "cut off" in message or "some other file" in message


def test_a_flipped_bit_anywhere(file, refused):
    """Any change of any byte is found, if only by the checksum."""
    content = file.read_bytes()
    for place in range(0, len(content), 97):
        damaged = bytearray(content)
        damaged[place] ^= 1
        refused(bytes(damaged))


@given(st.binary(max_size=400), st.integers(0, 10_000), st.integers(0, 400))
def test_rubbish_is_refused_in_a_sentence(tmp_path_factory, rubbish, place, cut):
    """Whatever is written into a bundle, the answer is an error that was foreseen, or the bundle was left as it was."""
    with Instance.ephemeral() as instance:
        instance.create_run(_RUN)
        content = bundle_of(instance, _RUN.run_id)
    place %= len(content)
    spoilt = content[:place] + rubbish + content[place + cut :]
    path = tmp_path_factory.mktemp("rubbish") / "file"
    path.write_bytes(spoilt)
    try:
        BundleFile.open(path).close()
    except InvalidBundle:
        assert spoilt != content
    else:
        assert spoilt == content


def test_other_files(refused):
    """A picture, another JSON file, an empty line."""
    for content in (
        b"\x89PNG\r\n\x1a\n",
        b"{}\n",
        b"[1]\n",
        b"\n",
        b"null\n",
        b'{"format":"other","version":1}\n',
        b"\0\n",
    ):
        assert refused(content).startswith("line 1: A run bundle begins with")


def test_other_versions(lines, refused):
    """A newer one asks for a newer daglens; what is no version is told, too."""
    newer = b'{"format":"daglens-run-bundle","version":2,"more":[]}\n'
    assert refused(sealed([newer, *lines[1:]])) == (
        "line 1: This bundle is of version 2, and this daglens reads version 1: a newer one is needed."
    )
    for version in (b"0", b'"1"', b"true", b"null", b"1.5", b"-1"):
        header = b'{"format":"daglens-run-bundle","version":' + version + b"}\n"
        assert "says no version that there is" in refused(sealed([header, *lines[1:]]))


BAD_JSON = {
    b"{": "It is no JSON (",
    b'{"event":{"seq":1}} x': "It is no JSON (",
    b"[]": "It is no JSON object.",
    b"17": "It is no JSON object.",
    b"{}": "one key that says what it is",
    b'{"event":{},"log":{}}': "one key that says what it is",
    b'{"wish":{}}': "No line of a bundle is a 'wish'.",
    b'{"event":[]}': "What stands under event is no object.",
    b'{"event":{"seq":NaN}}': "It is no JSON (NaN is no number there).",
    b'{"event":{"seq":' + b"9" * 5000 + b"}}": "It is no JSON (",
    b'{"event":"\xff"}': "It is no text in UTF-8.",
    b'{"event":' + b"[" * 100_000 + b"}": "It is nested too deep.",
    b'{"bytes":"AAAA"}': "Bytes stand here before any log.",
    b'{"bytes":17}': "The bytes of a log are a text in base64.",
    b'{"bytes":"A"}': "The bytes of the log are no base64",
    b'{"bytes":"@@@@"}': "The bytes of the log are no base64",
    b'{ "bytes" : "AA=A" }': "The bytes of the log are no base64",
    b'{"run":{}}': "The run stands in the second line, and only there.",
}


@pytest.mark.parametrize("line", BAD_JSON, ids=lambda line: line[:20].decode("latin-1"))
def test_lines_that_are_none(lines, refused, line):
    """The line is named, and what is wrong with it."""
    message = refused(sealed([*lines[:2], line + b"\n", *lines[2:]]))
    assert message.startswith("line 3: ")
    assert BAD_JSON[line] in message


def test_a_huge_line(lines, file, target):
    """It is not read to its end."""
    with file.open("wb") as stream:
        stream.write(b"".join(lines[:2]) + b'{"event":{"message":"')
        # A hole in the file: no disk is filled.
        stream.truncate(20 * MAX_LINE_BYTES)
    with pytest.raises(InvalidBundle, match=rf"line 3: It is longer than {MAX_LINE_BYTES} bytes\."):
        import_file(target, file)


EVENT_MISTAKES: dict[str, tuple[Line, str]] = {
    "seq of text": ({"seq": "1"}, "seq is a whole number from 1 to"),
    "seq true": ({"seq": True}, "seq is a whole number from 1 to"),
    "seq left out": ({"seq": 2}, "Event 1 should stand here, not 2."),
    "seq 0": ({"seq": 0}, "seq is a whole number from 1 to"),
    "level beyond": ({"level": 40_000}, "level is a whole number from 0 to 32767, not 40000."),
    "level below": ({"level": -1}, "level is a whole number"),
    "time beyond 64 bits": ({"timestamp_us": 2**63}, "timestamp_us is a whole number"),
    "time with a fraction": ({"timestamp_us": 1.0}, "timestamp_us is a whole number"),
    "no message": ({"message": None}, "message is a text, not None."),
    "data of text": ({"data": "{}"}, "data must be a JSON object"),
    "unknown field": ({"tags": {}}, "There is no field 'tags' of an event."),
    "no type": ({"event_type": ""}, "The event type is empty."),
}


@pytest.mark.parametrize("name", EVENT_MISTAKES)
def test_events_that_are_none(lines, refused, name):
    """Fields of the wrong kind, out of range, missing or unknown."""
    fields, said = EVENT_MISTAKES[name]
    message = refused(sealed([*lines[:2], changed(lines[2], "event", **fields), *lines[3:]]))
    assert message.startswith("line 3: ")
    assert said in message


def test_fields_that_are_missing(lines, refused):
    """Each field of each line must be there."""
    for number, kind in ((2, "run"), (3, "event"), (25, "log")):
        for field in json.loads(lines[number - 1])[kind]:
            message = refused(sealed([*lines[: number - 1], without(lines[number - 1], kind, field), *lines[number:]]))
            assert message == f"line {number}: The field {field} of this {kind} is missing."


RUN_MISTAKES: dict[str, tuple[Line, str]] = {
    "status": ({"status": "DONE"}, "There is no status 'DONE'."),
    "tags as a list": ({"tags": [["a", "b"]]}, "The tags of a run are an object of texts."),
    "tag of a number": ({"tags": {"a": 1}}, "The tags of a run are an object of texts."),
    "too many tags": ({"tags": {str(n): "" for n in range(201)}}, "A run has at most 200 tags."),
    "tag without a key": ({"tags": {"": "x"}}, "The tag key is empty."),
    "steps": ({"step_keys_to_execute": "a"}, "step_keys_to_execute is a list of texts or null."),
    "created": ({"created_at_us": None}, "created_at_us is a whole number"),
    "parent": ({"parent_run_id": ""}, "The parent run id is empty."),
    "presumed": ({"presumed": True}, "There is no field 'presumed' of a run."),
}


@pytest.mark.parametrize("name", RUN_MISTAKES)
def test_runs_that_are_none(lines, refused, name):
    """What no storage would take is refused before anything is stored."""
    fields, said = RUN_MISTAKES[name]
    message = refused(sealed([lines[0], changed(lines[1], "run", **fields), *lines[2:]]))
    assert message.startswith("line 2: ")
    assert said in message


@pytest.mark.parametrize("name", IMPOSSIBLE_NAMES, ids=repr)
def test_names_that_are_none(lines, refused, name):
    """As run id, pipeline, type, step key or event id."""
    for number, kind, field in (
        (2, "run", "run_id"),
        (2, "run", "pipeline_name"),
        (3, "event", "event_type"),
        (3, "event", "step_key"),
        (3, "event", "event_id"),
        (25, "log", "step_key"),
    ):
        line = changed(lines[number - 1], kind, **{field: name})
        message = refused(sealed([*lines[: number - 1], line, *lines[number:]]))
        assert message.startswith(f"line {number}: This can't be a run id, a step key,")


HOSTILE_NAMES = ("../../x", "/etc/passwd", "..", "a/../../b", "~root", "C:\\x", ".", "x\n", "\x1b[31m", "$(id)")


@pytest.mark.parametrize("name", HOSTILE_NAMES)
def test_names_that_look_like_paths(lines, file, tmp_path, name):
    """They are stored as names: nothing outside the instance's folder is touched."""
    spoilt = [
        changed(line, "log", step_key=name) if line.startswith(b'{"log"') else line
        for line in [lines[0], changed(lines[1], "run", run_id=name), *lines[2:]]
    ]
    file.write_bytes(sealed(spoilt))
    home = tmp_path / "deep" / "er" / "home"
    with Instance.open(home=home) as instance:
        before = {path for path in tmp_path.rglob("*") if home not in path.parents}
        assert import_file(instance, file).run_id == name
        assert {path for path in tmp_path.rglob("*") if home not in path.parents} == before
        assert {log.key.step_key for log in instance.compute_logs.list([name])[name]} == {name}
        with open_bundles([file]) as bundles:
            assert bundle_of(bundles, name) == bundle_of(instance, name)


LOG_MISTAKES: dict[str, tuple[Line, int, str]] = {
    "stream": ({"stream": "stdin"}, 25, "There are stdout and stderr, but no 'stdin'."),
    "attempt 0": ({"attempt": 0}, 25, "attempt is a whole number from 1"),
    "attempt beyond": ({"attempt": 2**31}, 25, "attempt is a whole number from 1"),
    "negative size": ({"size_bytes": -1}, 25, "size_bytes is a whole number from 0"),
    "larger": ({"size_bytes": 27}, 26, "27 bytes of the log should stand here, not 26."),
    "smaller": ({"size_bytes": 25}, 26, "25 bytes of the log should stand here, not 26."),
    "empty": ({"size_bytes": 0}, 26, "0 bytes of the log should stand here, not 26."),
    "truncated and open": ({"complete": False, "truncated": True}, 25, "A log that is truncated is complete, too."),
    "out of order": ({"step_key": "load"}, 27, "Logs stand in order of step key, attempt, stdout before stderr"),
    "twice": ({"stream": "stderr"}, 27, "Logs stand in order of step key, attempt, stdout before stderr"),
}


@pytest.mark.parametrize("name", LOG_MISTAKES)
def test_logs_that_are_none(lines, refused, name):
    """Sizes, order and flags are held to what the format says."""
    fields, number, said = LOG_MISTAKES[name]
    message = refused(sealed([*lines[:24], changed(lines[24], "log", **fields), *lines[25:]]))
    assert message.startswith(f"line {number}: ")
    assert said in message


def test_a_log_whose_bytes_are_missing(lines, refused):
    """Another log, or the end, comes too early."""
    assert "26 bytes, but 0 of them stand" in refused(sealed([*lines[:25], *lines[26:]]))
    assert "8 bytes, but 0 of them stand" in refused(sealed(lines[:-1]))


def test_small_pieces_are_no_pieces(lines, refused):
    """Only whole lines of bytes: a file can't make its reader keep a place for each byte of a log."""
    size = CHUNK_BYTES + 1
    log = changed(lines[24], "log", size_bytes=size)
    piece = b'{"bytes":"' + base64.b64encode(b"x") + b'"}\n'
    message = refused(sealed([*lines[:24], log, *[piece] * size]))
    assert message == f"line 26: {CHUNK_BYTES} bytes of the log should stand here, not 1."


def test_lines_out_of_order(lines, refused):
    """The run first, then events, then logs, then the end, and nothing behind it."""
    assert refused(sealed([lines[0], *lines[2:]])).startswith("line 2: The run stands in the second line")
    assert refused(sealed([*lines[:26], lines[2], *lines[26:]])).startswith(
        "line 27: An event stands behind the first log"
    )
    assert refused(sealed([*lines[:3], lines[2], *lines[3:]])).startswith("line 4: Event 2 should stand here, not 1.")
    assert "should stand before this line" in refused(
        sealed(lines)[:-1].replace(b'"events": 22', b'"events": 21') + b"\n"
    )
    assert "There is more behind the line" in refused(sealed(lines) + lines[2])
    assert "There is more behind the line" in refused(sealed(lines) + b"\n")


def test_files_that_cannot_be_read(tmp_path, target):
    """A folder, a pipe, a device, a file that isn't there: told at once, none is waited for."""
    os.mkfifo(tmp_path / "pipe")
    for path in (tmp_path, tmp_path / "pipe", Path("/dev/zero"), tmp_path / "missing", Path("a\0b")):
        with pytest.raises(InvalidBundle):
            import_file(target, path)


def test_what_a_bundle_can_not_hold_is_not_written(source):
    """A line above the bound is told while exporting, not by whoever is sent the file."""
    source.create_run(NewRun("large", "p", run_config="x" * MAX_LINE_BYTES))
    told = pytest.raises(BundleNotWritten, match=rf"A line of it would have \d+ bytes; {MAX_LINE_BYTES} are the most")
    with open(os.devnull, "wb") as nowhere, told:
        write_bundle(source, "large", nowhere)
