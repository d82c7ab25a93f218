"""What events carry beside their own fields: metadata entries, errors of the recorded program, type checks."""

from typing import Optional

import strawberry

from daglens.schema.scalars import JSON, BigInt


@strawberry.interface(
    description="A labelled value that the pipeline attached to an event. The type says of which kind; a kind that "
    "this server doesn't know reads as JsonMetadataEntry."
)
class MetadataEntry:
    label: str = strawberry.field(description="What the value is, e.g. rows.")
    description: str | None = strawberry.field(description="A sentence about the value.")


@strawberry.type(description="Plain text.")
class TextMetadataEntry(MetadataEntry):
    text: str = strawberry.field(description="The text.")


@strawberry.type(description="A link.")
class UrlMetadataEntry(MetadataEntry):
    url: str = strawberry.field(description="The address, as the pipeline gave it; nobody has checked it.")


@strawberry.type(description="A place in a file system.")
class PathMetadataEntry(MetadataEntry):
    path: str = strawberry.field(description="The path, on the machine that ran the step.")


@strawberry.type(description="Structured data.")
class JsonMetadataEntry(MetadataEntry):
    json_value: JSON | None = strawberry.field(description="The value.")


@strawberry.type(description="Text to be shown as Markdown.")
class MarkdownMetadataEntry(MetadataEntry):
    markdown: str = strawberry.field(description="The source, not rendered and not sanitised.")


@strawberry.type(description="A number.")
class FloatMetadataEntry(MetadataEntry):
    float_value: float | None = strawberry.field(description="The number; null when it was NaN or infinite.")


@strawberry.type(description="A whole number.")
class IntMetadataEntry(MetadataEntry):
    int_value: BigInt = strawberry.field(description="The number.")


@strawberry.type(description="True or false.")
class BoolMetadataEntry(MetadataEntry):
    bool_value: bool = strawberry.field(description="The value.")


METADATA_TYPES = (
    TextMetadataEntry,
    UrlMetadataEntry,
    PathMetadataEntry,
    JsonMetadataEntry,
    MarkdownMetadataEntry,
    FloatMetadataEntry,
    IntMetadataEntry,
    BoolMetadataEntry,
)


@strawberry.type(description="What went wrong in the recorded program.")
class ErrorInfo:
    class_name: str | None = strawberry.field(description="Name of the exception's class.")
    message: str = strawberry.field(description="What the exception says.")
    stack: list[str] = strawberry.field(
        description="The stack, outermost call first; a text of one or more lines each."
    )
    cause: Optional["ErrorInfo"] = strawberry.field(description="The error that led to this one.")


@strawberry.type(description="Whether a value of a step had the type that was declared for it.")
class TypeCheck:
    success: bool = strawberry.field(description="True when the value passed.")
    label: str | None = strawberry.field(description="Name of the check.")
    description: str | None = strawberry.field(description="What was found.")
    metadata_entries: list[MetadataEntry] = strawberry.field(description="Values that the check attached.")
