"""What every storage has, and what nothing has been written to."""

from __future__ import annotations

from daglens.storage.contract import ComputeLogManager
from daglens.storage.records import LogKey
from daglens.testing.compute_logs.topic import ERR, KEY, OUT, ComputeLogTopic, is_missing


class LogManagerBasics(ComputeLogTopic):
    """A manager without logs."""

    def test_fulfils_the_contract(self, compute_logs: ComputeLogManager) -> None:
        """It has the contract's methods, is healthy, and says how many calls at once make sense."""
        assert isinstance(compute_logs, ComputeLogManager)
        assert compute_logs.health().healthy, compute_logs.health().problem
        assert compute_logs.health().problem is None
        assert compute_logs.pool_size >= 1

    def test_closing_twice_is_harmless(self, compute_logs: ComputeLogManager) -> None:
        """`close` may be called twice."""
        compute_logs.close()
        compute_logs.close()

    def test_what_was_never_captured_says_so(self, compute_logs: ComputeLogManager) -> None:
        """Reading gives LogUnavailable, NOT_CAPTURED; listing gives none and deleting 0; nothing comes into being."""
        for io in (OUT, ERR):
            assert is_missing(compute_logs, KEY, io)
        assert {run_id: list(files) for run_id, files in compute_logs.list(["run", "other"]).items()} in (
            {"run": [], "other": []},
            {},
        )
        assert compute_logs.delete("run") == 0
        assert is_missing(compute_logs, LogKey("run", "step", 2))

    def test_listing_no_run(self, compute_logs: ComputeLogManager) -> None:
        """No run ids, no logs."""
        assert dict(compute_logs.list([])) == {}
