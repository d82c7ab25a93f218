"""graphql-core's executor, with list completion of our own."""

from __future__ import annotations

import logging
from collections.abc import AsyncIterable, Awaitable, Iterable
from typing import Any

from graphql import GraphQLAbstractType, GraphQLList, GraphQLObjectType, GraphQLOutputType, GraphQLResolveInfo
from graphql.execution.collect_fields import FieldDetailsList
from graphql.execution.executor import Executor
from graphql.pyutils import Path, RefMap, gather_with_cancel
from graphql.type.definition import GraphQLResolveInfoHelpers
from strawberry.schema.schema import StrawberryGraphQLCoreExecutionContext

from daglens.schema.compiled.counters import TALLY
from daglens.schema.compiled.plan import Ineligible, ListPlan, Operation, plan_list, plan_one
from daglens.schema.compiled.plan_cache import PlanCache
from daglens.schema.compiled.rows import Rows, Surprise
from daglens.schema.documents import is_cached

log = logging.getLogger("daglens.schema")

_PLANS = PlanCache()


class CompiledExecutionContext(StrawberryGraphQLCoreExecutionContext):
    """Completes lists by plans, and hands what these don't foresee to graphql-core.

    Attributes:
        plans: Where plans are kept; one cache serves all schemas, since types belong to one of them.
    """

    plans = _PLANS

    @property
    def async_helpers(self) -> GraphQLResolveInfoHelpers:
        """See graphql-core's Executor, which makes them once and keeps them: methods of its own, so that it holds
        itself, and with it all of the operation, until Python's garbage collector comes."""
        return GraphQLResolveInfoHelpers(gather=self.gather_async_work, track=self.track_async_work)

    @async_helpers.setter
    def async_helpers(self, made: GraphQLResolveInfoHelpers) -> None:
        pass

    def build_per_event_executor(self, payload: Any) -> Executor[Any]:
        """See graphql-core's Executor.

        Which fields are selected is remembered by lists that are made anew for each message of a subscription; the
        memory is the subscription's, and grew by 1.5 kB a message for as long as somebody watched (benchmarks/soak.py).
        """
        executor = super().build_per_event_executor(payload)
        executor._relevant_sub_fields = {}
        executor._stream_usages = RefMap()
        return executor

    def complete_list_value(
        self,
        return_type: GraphQLList[GraphQLOutputType],
        field_details_list: FieldDetailsList,
        info: GraphQLResolveInfo[Any],
        path: Path,
        result: AsyncIterable[Any] | Iterable[Any],
        position_context: Any,
    ) -> Any:
        """See graphql-core's Executor."""
        if type(result) is list or isinstance(result, Rows):
            if not result:
                return []
            plan = self._plan(return_type.of_type, field_details_list, type(result), position_context)
            if plan is None:
                TALLY.ineligible += 1
            else:
                try:
                    completed = plan.complete(result)
                    objects = list(result) if plan.rest else ()
                except Exception as surprise:
                    # Whatever it is: graphql-core says what becomes of it, on the same rows.
                    TALLY.fallen_back += 1
                    log.debug("The list at %s is completed by graphql-core: %r", path.as_list(), surprise)
                else:
                    TALLY.fast += 1
                    return self._with_rest(plan, path, objects, completed) if plan.rest else completed
        return super().complete_list_value(return_type, field_details_list, info, path, result, position_context)

    def complete_abstract_value(
        self,
        return_type: GraphQLAbstractType,
        field_details_list: FieldDetailsList,
        info: GraphQLResolveInfo[Any],
        path: Path,
        result: Any,
        position_context: Any,
    ) -> Any:
        """See graphql-core's Executor."""
        completed = self._whole(return_type, field_details_list, path, result, position_context)
        if completed is not None:
            return completed
        return super().complete_abstract_value(return_type, field_details_list, info, path, result, position_context)

    def complete_object_value(
        self,
        return_type: GraphQLObjectType,
        field_details_list: FieldDetailsList,
        info: GraphQLResolveInfo[Any],
        path: Path,
        result: Any,
        position_context: Any,
    ) -> Any:
        """See graphql-core's Executor."""
        completed = self._whole(return_type, field_details_list, path, result, position_context)
        if completed is not None:
            return completed
        return super().complete_object_value(return_type, field_details_list, info, path, result, position_context)

    def _whole(
        self, kind: GraphQLOutputType, details: FieldDetailsList, path: Path, value: Any, position_context: Any
    ) -> dict[str, Any] | None:
        """An object with all that is selected of it; None where graphql-core has to complete it."""
        plan = self._plan(kind, details, object, position_context)
        if plan is None:
            return None
        lists = TALLY.fast
        try:
            completed: dict[str, Any] = plan.complete([value])[0]
        except Exception as surprise:
            TALLY.fast = lists
            log.debug("The object at %s is completed by graphql-core: %r", path.as_list(), surprise)
            return None
        return completed

    def _plan(
        self, kind: GraphQLOutputType, details: FieldDetailsList, source: type, position_context: Any
    ) -> ListPlan | None:
        """The plan for items of a type that come in a `source`; `object`: for one alone, whole."""
        if position_context is not None or any(
            detail.defer_usage is not None or detail.fragment_variable_values is not None for detail in details
        ):
            return None
        if self.middleware_manager is not None and self.middleware_manager.middlewares:
            return None
        if self.operation.loc is not None and not is_cached(self.operation.loc.source.body):
            # Plans hold the nodes they were made for, and these their document.
            return None
        selection = self.plans.selection(kind, source, details, self.fragment_definitions)
        values = selection.values(self.variable_values.coerced)
        if values in selection.plans:
            return selection.plans[values]
        TALLY.plans += 1
        operation = Operation(self.schema, self.fragments, self.variable_values, self.operation)
        plan: ListPlan | None = None
        try:
            plan = (plan_one if source is object else plan_list)(operation, kind, details, source)
        except (Ineligible, Surprise) as reason:
            log.debug("No plan for %s: %s", kind, reason)
        except Exception as error:
            # A directive whose variable is null, say: graphql-core meets the same and tells it.
            log.debug("No plan for %s: %r", kind, error)
        selection.keep(values, plan)
        return plan

    def _with_rest(self, plan: ListPlan, path: Path, items: Iterable[Any], completed: list[Any]) -> Any:
        """The items with the fields that graphql-core completes, all of them nullable: none ends the item."""
        assert plan.item_type is not None
        TALLY.mixed += 1
        awaited: list[tuple[dict[str, Any], Awaitable[dict[str, Any]]]] = []
        for index, item in enumerate(items):
            rest = self.execute_fields(plan.item_type, item, path.add_key(index, None), plan.rest, None)
            if self.is_awaitable(rest):
                awaited.append((completed[index], rest))
            else:
                completed[index].update(rest)
        if not awaited:
            return completed

        async def complete() -> list[Any]:
            answers = await gather_with_cancel(*[rest for _, rest in awaited])
            for (item, _), rest in zip(awaited, answers, strict=True):
                item.update(rest)
            return completed

        return complete()
