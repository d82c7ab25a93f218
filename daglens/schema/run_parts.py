"""What hangs on a run: tags, counts, steps."""

import strawberry

from daglens.schema.enums import StepStatus
from daglens.schema.scalars import DateTime


@strawberry.type(description="A label on a run; each key once.")
class Tag:
    key: str = strawberry.field(description="At most 255 characters.")
    value: str = strawberry.field(description="Any text.")


@strawberry.type(description="Steps are counted by their present status.")
class RunStats:
    steps_in_progress: int = strawberry.field(description="Steps that are running; 0 once the run has ended.")
    steps_succeeded: int = strawberry.field(description="Steps that ended well.")
    steps_failed: int = strawberry.field(description="Steps that failed.")
    steps_skipped: int = strawberry.field(description="Steps that were left out.")
    materializations: int = strawberry.field(description="Materialization events.")
    expectations: int = strawberry.field(description="Expectation results, met or not.")
    expectations_failed: int = strawberry.field(description="Expectation results that were not met.")
    events: int = strawberry.field(description="All events: the `seq` of the newest.")


@strawberry.type(description="One attempt of a step: a bar of a timeline.")
class StepAttempt:
    attempt: int = strawberry.field(description="Its number, from 1.")
    status: StepStatus = strawberry.field(description="Where the attempt stands.")
    started_at: DateTime | None = strawberry.field(description="When it began; null when nobody told.")
    ended_at: DateTime | None = strawberry.field(description="When it ended; null while it goes on.")


@strawberry.type(description="What became of one step of a run.")
class StepStats:
    step_key: str = strawberry.field(description="The step.")
    status: StepStatus = strawberry.field(description="Where it stands: its latest attempt.")
    attempts: int = strawberry.field(description="Number of the latest attempt, at least 1.")
    attempt_spans: list[StepAttempt] = strawberry.field(
        description="One per attempt, in order: the bars of a timeline."
    )
    started_at: DateTime | None = strawberry.field(description="Of the first attempt.")
    ended_at: DateTime | None = strawberry.field(description="Of the last attempt; null while it goes on.")
    duration_seconds: float | None = strawberry.field(description="To now while in progress.")
    materializations: int = strawberry.field(description="Its materialization events.")
    expectations: int = strawberry.field(description="Its expectation results.")
