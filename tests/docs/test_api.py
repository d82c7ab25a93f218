"""docs/api.md: its documents work against the schema, its addresses and reasons are those of the server."""

from __future__ import annotations

import re

import pytest
from graphql import (
    OperationDefinitionNode,
    build_schema,
    is_scalar_type,
    is_specified_scalar_type,
    parse,
    validate,
)

from daglens.storage.records import LogUnavailableReason
from tests.docs.snippets import ROOT, Snippet, marked, snippets

DOCUMENT = "docs/api.md"
SCHEMA = build_schema((ROOT / "daglens/graphql/schema.graphql").read_text())
BLOCKS = [snippet for snippet in snippets(DOCUMENT) if snippet.language == "graphql"]


@pytest.mark.parametrize("snippet", BLOCKS, ids=lambda snippet: f"line {snippet.line}")
def test_documents_are_valid(snippet: Snippet):
    """Each operation is what the schema accepts, of the kind its mark says."""
    document = parse(snippet.text)
    assert validate(SCHEMA, document) == []
    first = document.definitions[0]
    assert isinstance(first, OperationDefinitionNode)
    assert snippet.mark == first.operation.value


def test_the_scalars_of_a_generator():
    """Whoever generates types is told what each scalar of ours is, and of no other."""
    (block,) = marked(DOCUMENT, "codegen")
    told = set(re.findall(r"(\w+): \"", block.text.partition("scalars: {")[2].partition("}")[0]))
    ours = {
        name for name, kind in SCHEMA.type_map.items() if is_scalar_type(kind) and not is_specified_scalar_type(kind)
    }
    assert told == ours


def test_every_reason_is_told():
    """The table of reasons names each reason, and no other."""
    text = (ROOT / DOCUMENT).read_text().partition("## Compute logs")[2].partition("\n## ")[0]
    assert set(re.findall(r"^\| `([A-Z_]+)` \|", text, re.M)) == {reason.value for reason in LogUnavailableReason}
