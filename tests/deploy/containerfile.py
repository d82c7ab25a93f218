"""deploy/Dockerfile, read into its instructions."""

from __future__ import annotations

import json
import re
import shlex
from dataclasses import dataclass

from tests.docs.snippets import ROOT

FILE = ROOT / "deploy" / "Dockerfile"


@dataclass(frozen=True)
class Instruction:
    """One instruction.

    Attributes:
        stage: Number of its build stage from 0 on; -1 before the first FROM.
        name: `RUN`, `COPY`, …
        rest: What follows, on one line.
    """

    stage: int
    name: str
    rest: str

    @property
    def words(self) -> list[str]:
        """Of the exec form, `["daglens", "serve"]`, or as a shell splits them."""
        if self.rest.startswith("["):
            words: list[str] = json.loads(self.rest)
            return words
        return shlex.split(self.rest)


def instructions() -> list[Instruction]:
    """All of the file, in order."""
    text = re.sub(r"^\s*#.*\n", "", FILE.read_text(encoding="utf-8"), flags=re.M)
    found: list[Instruction] = []
    stage = -1
    for line in re.sub(r"\\\n\s*", "", text).splitlines():
        if not line.strip():
            continue
        name, _, rest = line.strip().partition(" ")
        stage += name == "FROM"
        found.append(Instruction(stage, name, rest.strip()))
    return found


def last_stage() -> list[Instruction]:
    """What the image itself is made by."""
    found = instructions()
    return [each for each in found if each.stage == found[-1].stage]
