"""From what the resolvers tell of a step to its GraphQL object."""

from daglens.resolvers.steps import StepView
from daglens.schema.enums import StepStatus
from daglens.schema.run_parts import StepAttempt, StepStats
from daglens.schema.scalars import DateTime


def step_object(step: StepView) -> StepStats:
    """The object of a step."""
    return StepStats(
        step_key=step.step_key,
        status=StepStatus(step.status),
        attempts=step.attempts,
        attempt_spans=[
            StepAttempt(
                attempt=span.attempt,
                status=StepStatus(span.status),
                started_at=time_or_none(span.started_at_us),
                ended_at=time_or_none(span.ended_at_us),
            )
            for span in step.spans
        ],
        started_at=time_or_none(step.started_at_us),
        ended_at=time_or_none(step.ended_at_us),
        duration_seconds=step.duration_s,
        materializations=step.materializations,
        expectations=step.expectations,
    )


def time_or_none(at_us: int | None) -> DateTime | None:
    """A time for the DateTime scalar."""
    return None if at_us is None else DateTime(at_us)
