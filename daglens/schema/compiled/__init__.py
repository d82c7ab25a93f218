"""Long lists, written by a plan made once per operation instead of field by field.

A resolver returns `Rows`; the executor (`execution_context`) completes them, and any other list or object of which
nothing but plain attributes is selected, by a `plan` of `leaves`. What a plan doesn't foresee goes to graphql-core's
own executor, on the same rows: an answer never depends on which way it came. `counters` tells how many lists took which
way.
"""

from daglens.schema.compiled.counters import Counters, counters
from daglens.schema.compiled.execution_context import CompiledExecutionContext
from daglens.schema.compiled.rows import Columns, Rows, Surprise

__all__ = ["Columns", "CompiledExecutionContext", "Counters", "Rows", "Surprise", "counters"]
