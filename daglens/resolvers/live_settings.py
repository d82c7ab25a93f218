"""How the live feeds pace themselves, and how much they hold."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class LiveSettings:
    """Times in seconds, sizes in bytes. Tests shorten them; nothing else about a feed depends on a clock.

    Attributes:
        poll_s: Between two looks at all watched logs: correct by itself, whatever hints come.
        coalesce_s, coalesce_most_s: Least time between two reads of one log: what comes in between goes out together.
            It grows from the one to the other with the number of viewers, who each cost a message.
        linger_s: How long an ended run or step must have brought nothing more before its feed completes.
        still_s: Longest time that a filtered feed says nothing while its cursor moves.
        still_events: Most events that a filtered feed leaves out without saying so.
        batch_events, batch_bytes: Bounds of one batch; one larger event goes alone.
        border_events: Whoever comes back in the middle of a log goes alone to the next multiple of it, and from there
            on in the batches that others get as well. `batch_events` should be a multiple of it.
        window_events, window_bytes: What a run's feed holds for its viewers; who is further behind reads storage.
        batch_runs: Bound of one batch of changes of the run list; its first batch has the viewer's limit.
        window_runs: How many changed runs are held for the viewers of run lists; who is further behind reads storage.
        chunk_bytes: Bound of one chunk of a compute log.
        log_window_bytes: What the feed of a compute log holds.
        retry_most_s: Longest pause between two tries of a storage that doesn't answer.
        watch_idle_s: How long the storage's watch is kept after the last viewer has gone.
    """

    poll_s: float = 0.25
    coalesce_s: float = 0.025
    coalesce_most_s: float = 0.05
    linger_s: float = 5.0
    still_s: float = 10.0
    still_events: int = 1000
    batch_events: int = 1000
    batch_bytes: int = 1_048_576
    border_events: int = 50
    window_events: int = 4000
    window_bytes: int = 4_194_304
    batch_runs: int = 200
    window_runs: int = 2000
    chunk_bytes: int = 262_144
    log_window_bytes: int = 1_048_576
    retry_most_s: float = 5.0
    watch_idle_s: float = 2.0
