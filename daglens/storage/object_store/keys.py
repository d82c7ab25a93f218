"""Names of objects, and what they tell without being opened.

    <prefix>/<run>/<step>~<attempt>/<out|err>/opened                       the log exists
    <prefix>/<run>/<step>~<attempt>/<out|err>/00000000000000000000         the bytes from offset 0 on
    <prefix>/<run>/<step>~<attempt>/<out|err>/00000000000000001234         those from offset 1,234 on; empty: the end
    <prefix>/<run>/<step>~<attempt>/<out|err>/00000000000000000000-merged  several parts in one, from offset 0 on
    <prefix>/<run>/<step>~<attempt>/<out|err>/truncated                    more was written than is kept
    <prefix>/<run>/<step>~<attempt>/step-key                               where the name can't tell the step key

Run ids and step keys are escaped as in file names (storage/names.py), and so is a dot at the end, which Azure drops.
"""

from __future__ import annotations

import re
from typing import NamedTuple

from daglens.storage.errors import InvalidName
from daglens.storage.names import check_name, file_name, is_cut, text_of
from daglens.storage.records import ComputeIO, LogKey

OPENED = "opened"
TRUNCATED = "truncated"
STEP_KEY = "step-key"

MAX_ATTEMPT = 2_147_483_647

_FOLDER_OF = {ComputeIO.STDOUT: "out", ComputeIO.STDERR: "err"}
_IO_OF = {folder: io for io, folder in _FOLDER_OF.items()}
_PART = re.compile(r"([0-9]{20})(-merged)?")
_STEP = re.compile(r"(.+)~([1-9][0-9]{0,9})")


class PartName(NamedTuple):
    """What the name of a part tells: where its first byte stands in the log."""

    offset: int
    merged: bool


class StepName(NamedTuple):
    """What the name of a step's folder tells.

    Attributes:
        step_key: None: it is in the object `step-key` of the folder.
    """

    folder: str
    step_key: str | None
    attempt: int


def run_folder(prefix: str, run_id: str) -> str:
    """Where all logs of a run are.

    Raises:
        InvalidName: The run id can't be one.
    """
    return f"{prefix}/{_folder(check_name(run_id, 'run id'))}"


def step_folder(prefix: str, key: LogKey) -> str:
    """Where both streams of an attempt are.

    Raises:
        InvalidName: Run id, step key or attempt can't be one.
    """
    if not 1 <= key.attempt <= MAX_ATTEMPT:
        raise InvalidName(f"Attempts are counted from 1; {key.attempt} is none.")
    return f"{run_folder(prefix, key.run_id)}/{_folder(check_name(key.step_key, 'step key'))}~{key.attempt}"


def stream_folder(prefix: str, key: LogKey, io: ComputeIO) -> str:
    """Where one stream is.

    Raises:
        InvalidName: Run id, step key or attempt can't be one.
    """
    return f"{step_folder(prefix, key)}/{_FOLDER_OF[io]}"


def io_of(folder: str) -> ComputeIO | None:
    """The stream of a folder's name; None: it is none of ours."""
    return _IO_OF.get(folder)


def keeps_step_key(step_key: str) -> bool:
    """True when the name of its folder can't tell the step key."""
    return is_cut(_folder(step_key))


def part_name(offset: int, *, merged: bool = False) -> str:
    """Name of the part whose first byte stands at `offset`."""
    return f"{offset:020}-merged" if merged else f"{offset:020}"


def parse_part(name: str) -> PartName | None:
    """What a name tells; None: it is not a part's."""
    found = _PART.fullmatch(name)
    return None if found is None else PartName(int(found[1]), found[2] is not None)


def parse_step(folder: str) -> StepName | None:
    """What the name of a step's folder tells; None: it is none of ours."""
    found = _STEP.fullmatch(folder)
    if found is None or int(found[2]) > MAX_ATTEMPT:
        return None
    if is_cut(found[1]):
        return StepName(folder, None, int(found[2]))
    step_key = text_of(found[1])
    try:
        ours = _folder(check_name(step_key, "step key")) == found[1]
    except InvalidName:
        return None
    return StepName(folder, step_key, int(found[2])) if ours else None


def _folder(text: str) -> str:
    name = file_name(text)
    return f"{name[:-1]}%2E" if name.endswith(".") else name
