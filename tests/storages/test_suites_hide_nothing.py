"""The conformance suites are put together from topics: no topic hides a test of another."""

from __future__ import annotations

from collections import Counter

import pytest

import daglens.testing
from daglens.testing import runs

SUITES = [getattr(daglens.testing, name) for name in daglens.testing.__all__ if name.endswith("Conformance")]


def names(suite: type) -> list[str]:
    """Names of the tests that each class of a suite defines itself."""
    return [name for kind in suite.__mro__ for name in vars(kind) if name.startswith("test_")]


@pytest.mark.parametrize("suite", SUITES, ids=lambda suite: suite.__name__)
def test_each_test_has_a_name_of_its_own(suite: type) -> None:
    """Of two tests of one name an author's class would run only one, and nobody would say so."""
    found = names(suite)
    assert len(found) > 10
    assert {name for name, count in Counter(found).items() if count > 1} == set()


def test_topics_to_add_hide_nothing() -> None:
    """A topic that authors add beside the suite has names of its own, too."""
    suite = set(names(daglens.testing.RunStorageConformance))
    assert suite.isdisjoint(names(runs.RunLeases))
