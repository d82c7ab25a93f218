"""`daglens demo`: the census of the standard library."""

from __future__ import annotations

import json
import os
import signal
import sqlite3
from contextlib import closing
from typing import Any

import pytest

from daglens.demo.report import html_page, markdown_table
from daglens.demo.sources import by_package, count_file, find_sources, halves, library_root, package_of
from daglens.instance import Instance
from tests.recorder.conftest import Told, finished, only_run, runs_of, until


@pytest.fixture
def recorded(program, local) -> Told:
    """The demo, recorded without pauses."""
    done = program.run_daglens("demo", "--pace", "0")
    assert done.returncode == 0, done.stderr
    assert "The run ended well." in done.stdout
    return only_run(local)


def test_the_demo(recorded: Told, local: Instance):
    """It does what it says: real counts, steps in parallel, one retried, one left out, an expectation that fails and
    says why, both streams, a report, and metadata of every kind."""
    assert recorded.status == "SUCCESS"
    steps = local.events.steps([recorded.run_id])[recorded.run_id]
    assert [(s.step_key, str(s.status), s.attempts) for s in steps if s.step_key not in ("parse_a", "parse_b")] == [
        ("find_sources", "SUCCESS", 1),
        ("load", "SUCCESS", 2),
        ("check", "SUCCESS", 1),
        ("report", "SUCCESS", 1),
        ("publish", "SKIPPED", 1),
    ]
    a, b = (next(s for s in steps if s.step_key == key) for key in ("parse_a", "parse_b"))
    assert a.started_at_us is not None and b.started_at_us is not None
    assert a.ended_at_us is not None and b.ended_at_us is not None
    assert max(a.started_at_us, b.started_at_us) < min(a.ended_at_us, b.ended_at_us), "they ran one after the other"
    assert json.loads(recorded.one("STEP_UP_FOR_RETRY", "load").data)["error"]["className"] == "OperationalError"
    checks = {json.loads(e.data)["label"]: json.loads(e.data) for e in recorded.all("STEP_EXPECTATION_RESULT")}
    assert [check["success"] for check in checks.values()] == [True, True, False]
    assert "meant to fail" in checks["no module is too long"]["description"]
    entries: list[dict[str, Any]] = [
        entry for event in recorded.events for entry in json.loads(event.data).get("metadataEntries", ())
    ]
    kinds = {kind for entry in entries for kind in entry} - {"label", "description"}
    assert kinds == {"text", "url", "path", "json", "markdown", "float", "int", "bool"}
    assert "LOG_MESSAGE" in recorded.types
    assert recorded.log("parse_a")
    assert "say nothing about themselves" in recorded.err("parse_a")
    assert all(recorded.complete().values())
    folder = local.artifacts.folder(recorded.run_id)
    assert {"census.db", "report.html"} <= {one.path for one in local.artifacts.list(recorded.run_id).artifacts}
    with closing(sqlite3.connect(folder / "census.db")) as database:
        rows = database.execute("SELECT count(*), sum(lines) FROM files").fetchone()
    assert rows[0] == len(find_sources(library_root()))
    assert f"{rows[1]:,} lines" in (folder / "report.html").read_text()


def test_the_demo_that_fails(program, local):
    """--fail: exit code 1, and a failure with a chain of three causes."""
    done = program.run_daglens("demo", "--fail", "--pace", "0")
    assert done.returncode == 1
    assert "Traceback" not in done.stderr
    told = only_run(local)
    assert (told.status, told.step_status("check")) == ("FAILURE", "FAILURE")
    error = told.data("RUN_FAILURE")["error"]
    names = []
    while error is not None:
        names.append(error["className"])
        error = error["cause"]
    assert names == ["CensusRefused", "TooLong", "IntegrityError"]


def test_the_demo_can_be_stopped(program, local):
    """Ctrl-C while it parses: exit code 130, the run is canceled, its processes end."""
    child = program.daglens("demo", "--pace", "1", start_new_session=True)
    until(lambda: [t for t in runs_of(local) if "parse_b" in {event.step_key for event in t.events}], "parsing")
    os.killpg(child.pid, signal.SIGINT)
    done = finished(child)
    assert done.returncode == 130
    assert "Interrupted" in done.stdout
    assert only_run(local).status == "CANCELED"


def test_parts_of_the_census(tmp_path):
    """Counting, halving and summing."""
    (tmp_path / "pkg").mkdir()
    (tmp_path / "test").mkdir()
    (tmp_path / "pkg" / "a.py").write_text("class A:\n    def f(self): ...\n    async def g(self): ...\n")
    (tmp_path / "b.py").write_text("def broken(:\n")
    (tmp_path / "test" / "left_out.py").write_text("")
    found = find_sources(tmp_path)
    assert found == ["b.py", "pkg/a.py"]
    assert [package_of(path) for path in found] == ["b", "pkg"]
    counts = [count_file(str(tmp_path), path) for path in found]
    assert (counts[1].lines, counts[1].functions, counts[1].classes) == (3, 2, 1)
    assert counts[0].unreadable is not None
    one, two = halves(tmp_path, found)
    assert sorted(one + two) == found
    packages = by_package(counts)
    assert list(packages) == ["pkg", "b"]
    assert "| pkg | 1 | 3 | 2 | 1 |" in markdown_table(packages, 10)
    assert "&lt;x&gt;" in html_page("<x>", "", packages)
