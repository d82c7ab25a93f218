"""The type of `info` in resolver methods."""

from typing import Any, TypeAlias

import strawberry

from daglens.resolvers.context import RequestContext

Info: TypeAlias = strawberry.Info[RequestContext, Any]
