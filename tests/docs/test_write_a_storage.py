"""docs/write-a-storage.md: the plug-in on that page works, as it stands there."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from daglens import testing
from daglens.config.load import load_config
from daglens.storage import contract
from daglens.storage.errors import RunDeleted
from daglens.storage.records import EventDraft, EventRecord, Head, RunFilter, StepState
from tests.docs.snippets import ROOT, marked, snippets

PAGE = "docs/write-a-storage.md"


def text_of(mark: str) -> str:
    """The one block of the page with this mark."""
    (snippet,) = marked(PAGE, mark)
    return snippet.text


@pytest.fixture
def plugin(tmp_path: Path) -> Path:
    """A folder with the plug-in and its tests, copied from the page."""
    for name in ("json_file_runs", "test_json_file_runs"):
        (tmp_path / f"{name}.py").write_text(text_of(name))
    return tmp_path


def test_plugin_passes_the_suite(plugin: Path) -> None:
    """The command of the page runs the tests of the page, and the storage of the page passes every one."""
    command = text_of("run").split()
    assert command[:3] == ["python", "-m", "pytest"]
    # A settings file of its own: the project's must not be found above a temporary folder.
    (plugin / "pytest.ini").write_text("[pytest]\naddopts = -q -p no:cacheprovider\n")
    done = subprocess.run(
        [sys.executable, *command[1:]],
        cwd=plugin,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=170,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    passed = re.search(r"^(\d+) passed in", done.stdout, re.M)
    assert passed is not None, done.stdout
    assert int(passed[1]) > 250


def test_plugin_is_named_in_dagster_yaml(plugin: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With the module beside daglens, the dagster.yaml of the page makes the storage, and it keeps runs there."""
    monkeypatch.syspath_prepend(str(plugin))
    home = plugin / "home"
    home.mkdir()
    (home / "dagster.yaml").write_text(text_of("yaml"))
    try:
        built = load_config(home / "dagster.yaml", home, environ={}).build()
        (storage,) = [s for s in built.values() if type(s).__name__ == "JsonFileRunStorage"]
        assert storage.health().healthy
        assert isinstance(storage, contract.RunStorage)
        assert list(storage.page(RunFilter()).runs) == []
        assert (home / "history.lock").exists()
        (home / "history.lock").unlink()
        home.rename(plugin / "moved")
        health = storage.health()
        assert not health.healthy
        assert "Is the folder there" in (health.problem or "")
        for other in built.values():
            other.close()
    finally:
        sys.modules.pop("json_file_runs", None)


class FakeTransaction:
    """A transaction as the fragment for event logs imagines it, on dictionaries."""

    def __init__(self) -> None:
        self.head = Head("r1", "0123456789abcdef")
        self.steps: dict[str, StepState] = {}
        self.events: list[EventRecord] = []

    def lock_head(self, run_id: str) -> Head:
        return self.head

    def known_event_ids(self, run_id: str, event_ids: list[str]) -> set[str]:
        return {e.event_id for e in self.events if e.event_id is not None} & set(event_ids)

    def read_steps(self, run_id: str, keys: list[str]) -> dict[str, StepState]:
        return {key: self.steps[key] for key in keys if key in self.steps}

    def insert(self, records: Iterator[EventRecord]) -> None:
        self.events += records

    def write_steps(self, run_id: str, steps: dict[str, StepState]) -> None:
        self.steps |= steps

    def write_head(self, head: Head) -> None:
        self.head = head


def test_fragment_for_event_logs() -> None:
    """The append of the page stores dense seqs, leaves duplicates out, folds, tells after the commit, and refuses a
    deleted run."""
    namespace: dict[str, Any] = {}
    exec(text_of("appending"), namespace)

    class Log:
        def __init__(self) -> None:
            self.data, self.open, self.told = FakeTransaction(), False, list[tuple[str, bool]]()

        @contextmanager
        def transaction(self) -> Iterator[FakeTransaction]:
            self.open = True
            yield self.data
            self.open = False

        def tell_watchers(self, run_id: str) -> None:
            self.told.append((run_id, self.open))

        append = namespace["append"]

    log = Log()
    first = [EventDraft("STEP_START", step_key="s", event_id="a"), EventDraft("STEP_SUCCESS", step_key="s")]
    answer = log.append("r1", first)
    assert (answer.accepted, answer.duplicates, answer.first_seq, answer.last_seq) == (2, 0, 1, 2)
    answer = log.append("r1", [first[0], EventDraft("LOG_MESSAGE")], heard=False)
    assert (answer.accepted, answer.duplicates, answer.first_seq, answer.last_seq) == (1, 1, 3, 3)
    assert [event.seq for event in log.data.events] == [1, 2, 3]
    assert log.data.head.counts.steps_succeeded == 1
    assert log.told == [("r1", False), ("r1", False)]
    log.data.head = Head("r1", "0123456789abcdef", deleted=True)
    with pytest.raises(RunDeleted):
        log.append("r1", [])


def test_every_block_is_executed() -> None:
    """No block of the page is only shown."""
    executed = {"json_file_runs", "test_json_file_runs", "run", "yaml", "appending"}
    assert {snippet.mark for snippet in snippets(PAGE)} == executed


def test_names_on_the_page_exist() -> None:
    """The table's contracts and suites, and the links."""
    text = (ROOT / PAGE).read_text()
    rows = re.findall(r"^\| `(\w+)` \| `(\w+)` \| `(\w+)` \|$", text, re.M)
    assert len(rows) == 4
    for _, contract_name, suite in rows:
        assert hasattr(contract, contract_name)
        assert hasattr(testing, suite)
    for link in re.findall(r"\]\(([^)#]+)", text):
        assert (ROOT / "docs" / link).exists(), link
