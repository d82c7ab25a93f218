"""Run ids and step keys as clients may send them."""

from __future__ import annotations

import pytest

from daglens.storage.contract import ComputeLogManager
from daglens.storage.errors import InvalidName
from daglens.storage.records import LogKey
from daglens.testing.compute_logs.topic import ERR, OUT, ComputeLogTopic, begin, is_missing, whole, write
from daglens.testing.names import IMPOSSIBLE_NAMES, ODD_NAMES, ORDINARY_NAMES

LOG_NAMES = (
    *ODD_NAMES,
    *("a.out", "a.err", "a.out.complete", "a.complete", ".complete", "a~2.out", "a~02", "~2", "%7E2", "a%2Fb", "..."),
    *("a.", "a..", "a.step-key", "compute_logs", "(process)", "../run/step", "x/../x", "a" * 150, "a" * 151, "/" * 60),
)
"""Each is stored, apart from every other, or refused with InvalidName."""


def _keys(name: str) -> list[LogKey]:
    return [LogKey(name, name), LogKey("run", name), LogKey("run", name, 2), LogKey(name, "step")]


def _kept(logs: ComputeLogManager) -> list[LogKey]:
    """Every odd name as a run id, a step key and both, appended to; the keys that the manager takes."""
    kept: list[LogKey] = []
    for name in dict.fromkeys(LOG_NAMES):
        for key in _keys(name):
            try:
                logs.append(key, OUT, 0, repr(key).encode(), complete=key.attempt == 2)
            except InvalidName:
                assert name not in ORDINARY_NAMES
                continue
            kept.append(key)
    return kept


class LogHostileNames(ComputeLogTopic):
    """Any text is a name of its own, or refused."""

    def test_each_name_is_kept_apart(self, compute_logs: ComputeLogManager, second: ComputeLogManager) -> None:
        """No name reads, closes or lists another's log."""
        kept = _kept(compute_logs)
        for key in kept:
            found = second.read(key, OUT, 0, 10_000)
            assert found.data == repr(key).encode(), key
            assert found.complete == (key.attempt == 2), key
            assert is_missing(second, key, ERR)
        for run_id in {key.run_id for key in kept}:
            expected = sorted(
                (key for key in kept if key.run_id == run_id), key=lambda key: (key.step_key, key.attempt)
            )
            assert [file.key for file in second.list([run_id])[run_id]] == expected

    def test_each_name_is_captured_apart(self, compute_logs: ComputeLogManager) -> None:
        """The same by capture."""
        captures = []
        for name in dict.fromkeys(LOG_NAMES):
            try:
                captures.append((name, begin(compute_logs, LogKey("run", name))))
            except InvalidName:
                assert name not in ORDINARY_NAMES
        for name, capture in captures:
            write(capture, ERR, ascii(name).encode())
        for _, capture in captures[::2]:
            capture.close()
        for index, (name, _) in enumerate(captures):
            found = compute_logs.read(LogKey("run", name), ERR, 0, 10_000)
            assert (found.data, found.complete) == (ascii(name).encode(), index % 2 == 0), ascii(name)
        for _, capture in captures:
            capture.close()

    def test_each_run_is_deleted_apart(self, compute_logs: ComputeLogManager) -> None:
        """Deleting a run of an odd id takes its logs and no other's."""
        kept = list(dict.fromkeys(key.run_id for key in _kept(compute_logs)))
        for run_id in kept[::2]:
            assert compute_logs.delete(run_id) > 0
        for index, run_id in enumerate(kept):
            assert bool(list(compute_logs.list([run_id]).get(run_id, ()))) == (index % 2 == 1), ascii(run_id)

    def test_impossible_names_are_refused(self, compute_logs: ComputeLogManager) -> None:
        """Names that nothing can have: writing is InvalidName, reading finds nothing, deleting takes nothing."""
        compute_logs.append(LogKey("run", "step"), OUT, 0, b"text")
        for name in IMPOSSIBLE_NAMES:
            for key in (LogKey(name, "step"), LogKey("run", name)):
                with pytest.raises(InvalidName):
                    compute_logs.append(key, OUT, 0, b"x")
                with pytest.raises(InvalidName):
                    compute_logs.capture(key)
                with pytest.raises(InvalidName):
                    compute_logs.mark_complete(key, OUT)
                assert is_missing(compute_logs, key)
            assert not list(compute_logs.list([name]).get(name, ()))
            assert compute_logs.delete(name) == 0
        for attempt in (0, -1, 2**31):
            with pytest.raises(InvalidName):
                compute_logs.append(LogKey("run", "step", attempt), OUT, 0, b"x")
            assert is_missing(compute_logs, LogKey("run", "step", attempt))
        assert whole(compute_logs, LogKey("run", "step")) == b"text"
        assert len(compute_logs.list(["run"])["run"]) == 1
