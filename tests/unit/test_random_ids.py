"""Ids that nobody else has."""

from __future__ import annotations

import uuid

from daglens.storage.random_ids import random_id, random_uuid


def test_a_uuid_is_one_of_version_4() -> None:
    """It is written as the module uuid writes one, and says of itself that it is random."""
    for _ in range(100):
        made = random_uuid()
        read = uuid.UUID(made)
        assert str(read) == made
        assert (read.version, read.variant) == (4, uuid.RFC_4122)


def test_no_two_are_alike() -> None:
    """Neither ids nor UUIDs come twice."""
    assert len({random_id() for _ in range(1000)}) == len({random_uuid() for _ in range(1000)}) == 1000
    assert len(random_id(8)) == 16
