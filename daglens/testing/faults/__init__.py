"""What can go wrong around daglens, each with a name, and the tools that make it happen.

`FAULTS` lists them, with what is promised; docs/reliability.md holds the same list with how often each was tried. A
storage's author uses the tools on an own storage:

from daglens.testing.faults import InFront, kill_between, slow_commit
"""

from __future__ import annotations

from daglens.testing.faults.commits import slow_commit
from daglens.testing.faults.connections import FailingProxy
from daglens.testing.faults.disks import SmallDisk, small_disk
from daglens.testing.faults.files import corrupt_pages, tear
from daglens.testing.faults.processes import kill_between
from daglens.testing.faults.registry import FAULTS, Fault, fault
from daglens.testing.faults.storages import Hanging, InFront, hanging, raising

__all__ = [
    "FAULTS",
    "FailingProxy",
    "Fault",
    "Hanging",
    "InFront",
    "SmallDisk",
    "corrupt_pages",
    "fault",
    "hanging",
    "kill_between",
    "raising",
    "slow_commit",
    "small_disk",
    "tear",
]
