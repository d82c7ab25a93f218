"""Which instance: the four rules (design 2), in their order.

1. `$DAGSTER_HOME/dagster.yaml` exists: what it says, over the defaults of 2.
2. `$DAGSTER_HOME` is set: a local instance in that folder.
3. A fallback folder was given: a local instance there.
4. Else an ephemeral instance.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from daglens.storage.errors import DaglensError

HOME_VARIABLE = "DAGSTER_HOME"
YAML_NAME = "dagster.yaml"


class InstanceOrigin(StrEnum):
    """The rule that chose an instance."""

    DAGSTER_YAML = "DAGSTER_YAML"
    DAGSTER_HOME = "DAGSTER_HOME"
    FALLBACK_DIR = "FALLBACK_DIR"
    EPHEMERAL = "EPHEMERAL"


class InvalidHome(DaglensError):
    """The instance's folder can't be used."""

    code = "INVALID_HOME"


@dataclass(frozen=True, slots=True)
class Location:
    """Where an instance lives.

    Attributes:
        home: Its folder, made if it was missing; None for an ephemeral one.
        yaml_file: The dagster.yaml to read; only by rule 1.
    """

    origin: InstanceOrigin
    home: Path | None
    yaml_file: Path | None = None


def default_fallback(environ: Mapping[str, str] | None = None) -> Path:
    """The fallback folder that every `daglens` command gives: `${XDG_DATA_HOME:-~/.local/share}/daglens`.

    A relative XDG_DATA_HOME counts as unset, as the XDG base directory specification asks.
    """
    base = (os.environ if environ is None else environ).get("XDG_DATA_HOME", "")
    return (Path(base) if os.path.isabs(base) else Path("~/.local/share").expanduser()) / "daglens"


def locate(
    environ: Mapping[str, str] | None = None,
    *,
    home: str | Path | None = None,
    fallback: str | Path | None = None,
    ephemeral: bool = False,
    make: bool = True,
) -> Location:
    """Apply the four rules. `home` stands in for DAGSTER_HOME; `ephemeral` goes straight to rule 4.

    A missing folder is made, unless `make` is False.

    Raises:
        InvalidHome: `home` is empty; the folder is relative, a file stands in its place, or it can't be made or looked
            into.
    """
    if ephemeral:
        return Location(InstanceOrigin.EPHEMERAL, None)
    if home is not None and not str(home):
        # As of `--instance-home "$WHERE"` with nothing in it: another instance would be written to, or deleted from.
        raise InvalidHome("--instance-home is empty. Name a folder, or leave it out.")
    named = str(home) if home is not None else (os.environ if environ is None else environ).get(HOME_VARIABLE, "")
    if named:
        what = HOME_VARIABLE if home is None else "--instance-home"
        folder = _folder(named, what, make)
        yaml_file = folder / YAML_NAME
        if _is_there(yaml_file, what):
            return Location(InstanceOrigin.DAGSTER_YAML, folder, yaml_file)
        return Location(InstanceOrigin.DAGSTER_HOME, folder)
    if fallback is not None:
        return Location(InstanceOrigin.FALLBACK_DIR, _folder(str(fallback), "The fallback folder", make))
    return Location(InstanceOrigin.EPHEMERAL, None)


def _folder(named: str, what: str, make: bool) -> Path:
    if "\0" in named:
        raise InvalidHome(f"{what} has a NUL character in it.")
    folder = Path(os.path.expanduser(named))
    if not folder.is_absolute():
        # A relative home would scatter data over whatever folders commands are started in (weaknesses.md 31).
        raise InvalidHome(f"{what} must be an absolute path, but is {named!r}. Write {str(folder.absolute())!r}.")
    try:
        if make or (os.path.lexists(folder) and not folder.is_dir()):
            folder.mkdir(parents=True, exist_ok=True)
    except (FileExistsError, NotADirectoryError):
        raise InvalidHome(f"{what} is {str(folder)!r}, but a file stands there. Name a folder.") from None
    except OSError as error:
        hint = "Make it and give it to this user, or name another."
        raise InvalidHome(f"{what} is {str(folder)!r}, which can't be made: {error.strerror}. {hint}") from None
    return folder


def _is_there(yaml_file: Path, what: str) -> bool:
    try:
        os.lstat(yaml_file)
    except FileNotFoundError:
        return False
    except OSError as error:
        # Not a folder without the file: that is another instance, to which whoever has no token is let in.
        raise InvalidHome(
            f"{what} is {str(yaml_file.parent)!r}, which can't be read: {error.strerror}. So nobody can tell whether a "
            f"{YAML_NAME} is in it. Give this user the right to look into the folder, or name another."
        ) from None
    return True
