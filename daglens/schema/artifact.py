"""Files that runs left behind."""

import strawberry

from daglens.resolvers import artifacts
from daglens.schema.scalars import BigInt, Cursor, DateTime


@strawberry.type(description="A file below the run's folder of the artifact storage.")
class Artifact:
    path: str = strawberry.field(description="Relative to the run's folder, with `/`.")
    size_bytes: BigInt = strawberry.field(description="Its size.")
    modified_at: DateTime = strawberry.field(description="When it was last written.")
    download_url: str = strawberry.field(
        description="Absolute path (with the server's prefix) of the file, with range requests."
    )


@strawberry.type(description="A page of a run's artifacts, in order of path.")
class ArtifactPage:
    nodes: list[Artifact] = strawberry.field(description="The files.")
    cursor: Cursor = strawberry.field(description="Hand it back as `after` to go on behind the last file.")
    has_more: bool = strawberry.field(description="There are more files behind this page.")


def page_object(page: artifacts.Page) -> ArtifactPage:
    """The object of a page."""
    return ArtifactPage(
        nodes=[
            Artifact(
                path=item.path,
                size_bytes=BigInt(item.size_bytes),
                modified_at=DateTime(item.modified_at_us),
                download_url=page.download_url(item),
            )
            for item in page.artifacts
        ],
        cursor=Cursor(page.cursor),
        has_more=page.has_more,
    )
