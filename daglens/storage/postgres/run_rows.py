"""What moves a run row: projection, and the numbers of changes.

The feed's row is locked from a transaction's last statement to its commit, and whoever has it waits for nothing more:
so numbers become visible in their order, and no two transactions wait for each other.
"""

from __future__ import annotations

from typing import Any

from daglens.storage.fold import RunMove

# The run's row has been locked before.
MOVE = """
WITH feed AS (UPDATE {s}.run_feed SET last_change = last_change + 1 WHERE "only" = 1 RETURNING last_change)
UPDATE {s}.runs SET status = %(run_status)s, started_at_us = %(run_started)s, ended_at_us = %(run_ended)s,
    presumed = %(run_presumed)s, projected_seq = %(projected_seq)s,
    updated_at_us = greatest(updated_at_us, %(now)s), change_number = feed.last_change
FROM feed WHERE run_id = %(run)s
"""

MOVE_SEQ = "UPDATE {s}.runs SET projected_seq = %(projected_seq)s WHERE run_id = %(run)s"


def move_values(run_id: str, move: RunMove, now_us: int) -> dict[str, Any]:
    """Values for MOVE and MOVE_SEQ."""
    return {
        "run": run_id,
        "run_status": move.status.value,
        "run_started": move.started_at_us,
        "run_ended": move.ended_at_us,
        "run_presumed": move.presumed,
        "projected_seq": move.projected_seq,
        "now": now_us,
    }
