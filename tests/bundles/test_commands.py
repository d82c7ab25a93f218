"""`daglens runs export|import` and `daglens serve --bundle`, as programs."""

from __future__ import annotations

import re
import signal
import threading
from pathlib import Path

import httpx
import pytest

from daglens.instance import Instance
from tests.cli.conftest import Command, record


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """The folder of an instance with the runs `good` and `../bad`."""
    with Instance.open(home=tmp_path / "home") as instance:
        record(instance, "good", "RUN_SUCCESS")
        record(instance, "../bad", "RUN_FAILURE")
    return tmp_path / "home"


@pytest.fixture
def source(home: Path) -> Command:
    """The command on that instance."""
    return Command(home)


@pytest.fixture
def target(tmp_path: Path) -> Command:
    """The command on an empty instance."""
    return Command(tmp_path / "other")


def test_one_run_to_a_file_and_back(source, target, tmp_path):
    """The file is named, what it holds is told, and the other instance shows the same run."""
    path = tmp_path / "good.bundle"
    exported = source("runs", "export", "good", "-o", str(path))
    assert exported.out.startswith(f"{path}: run good with 7 events and 2 logs (20 B), ")
    imported = target("runs", "import", str(path))
    assert imported.out == f"{path}: run good with 7 events and 20 B of logs\n"
    assert (exported.err, imported.err) == ("", "")
    for args in (("runs", "show", "good", "--json"), ("events", "good", "--json")):
        assert target(*args).objects == source(*args).objects
    again = target("runs", "import", str(path))
    assert (again.code, again.out) == (0, f"{path}: run good was here already\n")


def test_several_runs_to_a_folder(source, target, tmp_path):
    """One file each, named after the run whatever its id is; nothing stands outside the folder."""
    folder = tmp_path / "a" / "b"
    answer = source("runs", "export", "good", "../bad", "good", "-o", str(folder), "--json")
    assert [(o["runId"], o["events"], o["logs"], o["logBytes"]) for o in answer.objects] == [
        ("good", 7, 2, 20),
        ("../bad", 7, 2, 20),
    ]
    assert sorted(path.name for path in folder.iterdir()) == ["%2E.%2Fbad.ndjson", "good.ndjson"]
    assert [o["bytes"] for o in answer.objects] == [Path(o["file"]).stat().st_size for o in answer.objects]
    answer = target("runs", "import", *map(str, sorted(folder.iterdir())), "--json")
    assert [(o["runId"], o["created"], o["events"], o["eventsBefore"]) for o in answer.objects] == [
        ("../bad", True, 7, 0),
        ("good", True, 7, 0),
    ]
    assert [o["runId"] for o in target("runs", "list", "--json").objects] == ["good", "../bad"]


def test_a_file_that_is_there_stays(source, tmp_path):
    """Unless --force says otherwise; nothing else is left beside it."""
    path = tmp_path / "out" / "good"
    path.parent.mkdir()
    path.write_text("mine")
    answer = source("runs", "export", "good", "-o", str(path))
    assert (answer.code, path.read_text()) == (1, "mine")
    assert "is there already; --force" in answer.err
    assert source("runs", "export", "good", "-o", str(path), "--force", "--no-logs", "--json").objects[0]["logs"] == 0
    assert list(path.parent.iterdir()) == [path]
    assert path.read_bytes().startswith(b'{"format":')


def test_an_unknown_run_writes_nothing(source, tmp_path):
    """Every run is looked for before the first file is written."""
    answer = source("runs", "export", "good", "nope", "-o", str(tmp_path / "out"))
    assert (answer.code, answer.out) == (1, "")
    assert answer.err.startswith("daglens: There is no such run. Run id: nope")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("output", "sentence"), [("both.ndjson", "holds one run, and these are 2: name a folder"), ("-", "not to stdout")]
)
def test_an_output_that_is_meant_otherwise(source, tmp_path, monkeypatch, output, sentence):
    """Two runs into one file, or a bundle to stdout: refused, where a folder or a file of that name would be odd."""
    monkeypatch.chdir(tmp_path)
    answer = source("runs", "export", "good", "../bad", "-o", output)
    assert (answer.code, answer.out) == (2, "")
    assert sentence in " ".join(answer.err.replace("│", "").split())
    assert not (tmp_path / output).exists()


def test_a_folder_that_cannot_be_made(source, tmp_path):
    """A file in its place is told in a sentence."""
    (tmp_path / "taken").write_text("")
    answer = source("runs", "export", "good", "../bad", "-o", str(tmp_path / "taken"))
    assert answer.code == 1
    assert "should be a folder for 2 runs: File exists." in answer.err
    answer = source("runs", "export", "good", "-o", str(tmp_path / "taken" / "below"))
    assert answer.code == 1
    assert answer.err == f"daglens: The bundle was not written. {tmp_path}/taken/below: Not a directory.\n"


def test_a_bad_file_does_not_keep_the_others_out(source, target, tmp_path):
    """It is told on stderr with its line, the exit code says that something went wrong."""
    source("runs", "export", "good", "-o", str(tmp_path / "good"))
    (tmp_path / "cut").write_bytes((tmp_path / "good").read_bytes()[:-200])
    answer = target("runs", "import", str(tmp_path / "cut"), str(tmp_path / "missing"), str(tmp_path / "good"))
    assert answer.code == 1
    cut, missing = answer.err.splitlines()
    assert re.search(r"cut, line \d+: The file ends in the middle of this line", cut)
    assert missing.endswith(f"{tmp_path}/missing: No such file or directory.")
    assert [o["runId"] for o in target("runs", "list", "--json").objects] == ["good"]


def test_bundles_are_served(source, target, tmp_path):
    """`daglens serve --bundle A B` answers from the files, without mutations, writes nothing, ends on SIGTERM."""
    source("runs", "export", "good", "../bad", "-o", f"{tmp_path}/out/")
    files = sorted(map(str, (tmp_path / "out").iterdir()))
    program = target.start("serve", "--port", "0", "--bundle", *files)
    assert program.stdout is not None
    # A server that says nothing would be waited for.
    watchdog = threading.Timer(60, program.kill)
    watchdog.start()
    try:
        assert program.stdout.readline() == f"Serving {tmp_path}/out (read-only, run bundles)\n"
        url = program.stdout.readline().split()[1]
        query = "{runsOrError{... on RunPage{nodes{runId status}}} __schema{mutationType{name}}}"
        answer = httpx.post(f"{url}/graphql", json={"query": query}, timeout=30)
        log = httpx.get(f"{url}/runs/good/compute-logs/extract/stdout", headers={"range": "bytes=5-6"}, timeout=30)
        assert (log.status_code, log.content) == (206, b"5 ")
    finally:
        program.send_signal(signal.SIGTERM)
        out, err = program.communicate(timeout=60)
        watchdog.cancel()
    assert (program.returncode, out, err) == (0, "", "")
    runs = {"nodes": [{"runId": "good", "status": "SUCCESS"}, {"runId": "../bad", "status": "FAILURE"}]}
    assert answer.json() == {"data": {"runsOrError": runs, "__schema": {"mutationType": None}}}
    assert not target.home.exists()


def test_options_that_do_not_go_together(target, tmp_path):
    """Bundles are served instead of an instance, and files without --bundle are a mistake."""
    for args in (("--bundle", "x", "--ephemeral"), ("--bundle", "x", "--instance-home", str(tmp_path)), ("x",)):
        answer = target("serve", *args)
        assert answer.code == 2
        assert "--bundle" in answer.err


def test_a_bad_bundle_is_not_served(target, tmp_path):
    """The server doesn't start; a sentence says why."""
    (tmp_path / "bad").write_text("{}\n")
    answer = target("serve", "--port", "0", "--bundle", str(tmp_path / "bad"))
    assert (answer.code, answer.out) == (1, "")
    assert re.fullmatch(r"daglens: This can't be read as a run bundle\. .*/bad, line 1: .*\n", answer.err)
