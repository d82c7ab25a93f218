"""Files that runs left behind."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from daglens.resolvers import cursors, urls
from daglens.resolvers.context import RequestContext
from daglens.resolvers.limits import MAX_ARTIFACTS
from daglens.resolvers.loaders import ArtifactsKey
from daglens.storage.records import Artifact


@dataclass(frozen=True, slots=True)
class Page:
    """A page of a run's artifacts in order of path; `cursor` goes on behind its last."""

    run_id: str
    artifacts: Sequence[Artifact]
    cursor: str
    has_more: bool
    url_prefix: str

    def download_url(self, artifact: Artifact) -> str:
        """Absolute path of the file on this server."""
        return urls.artifact_url(self.url_prefix, self.run_id, artifact.path)


async def page(context: RequestContext, run_id: str, after: str | None, limit: int) -> Page:
    """A page of the artifacts of a run that is there.

    Raises:
        InvalidCursor, BadLimit, StorageUnavailable
    """
    limit = context.page_limit(limit, MAX_ARTIFACTS)
    path = None if after is None else cursors.parse_artifact_cursor(after, run_id)
    found = await context.loaders.artifacts.get(ArtifactsKey(run_id, path, limit))
    if found.artifacts:
        path = found.artifacts[-1].path
    return Page(run_id, found.artifacts, cursors.artifact_cursor(run_id, path), found.has_more, context.url_prefix)
