"""How a command ends: the foreseen errors as one sentence on stderr, and the exit code."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable

from daglens.config.redaction import clean_for_terminal
from daglens.storage.errors import DaglensError

_HINTS = {"RUN_NOT_FOUND": ". `daglens runs list` shows the runs, `daglens instance info` where it looks for them."}
_USAGE_CODES = {
    "CONFIG_INVALID",
    "INSECURE_BINDING",
    "INVALID_DOCUMENTS",
    "INVALID_HOME",
    "INVALID_NAME",
    "INVALID_SERVER_ADDRESS",
    "INVALID_SERVER_SETTING",
    "INVALID_TOKENS",
}


def run(command: Callable[[], object]) -> None:
    """Call `command`; what it raises becomes one sentence on stderr, not a traceback.

    Raises:
        SystemExit: It failed: 2 for wrong usage or configuration, 130 for Ctrl-C, else 1. Or it says so itself.
    """
    try:
        command()
    except DaglensError as error:
        _say(f"{error}", _HINTS.get(error.code, ""))
        sys.exit(2 if error.code in _USAGE_CODES else 1)
    except KeyboardInterrupt:  # typer takes care of it only while a command runs
        sys.exit(130)
    except Exception as error:  # a bug, of ours or of a storage by somebody else
        _say(_unforeseen(error))
        _drop_output()
        sys.exit(1)


def _say(sentence: str, hint: str = "") -> None:
    # It may quote what a server answered, or what somebody's run is called.
    told = "".join(sign if sign.isprintable() or sign == "\n" else "\ufffd" for sign in clean_for_terminal(sentence))
    print(f"daglens: {told}{hint}", file=sys.stderr)


def _drop_output() -> None:
    """Where stdout takes no more (a full disk), Python would say so once more at its end, with a traceback."""
    try:
        sys.stdout.flush()
    except OSError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _unforeseen(error: Exception) -> str:
    if os.environ.get("DAGLENS_TRACEBACK"):
        import traceback

        return "".join(traceback.format_exception(error)).rstrip()
    told = f"{type(error).__name__}: {' '.join(str(error).split())}"
    return f"{DaglensError()} {told[:2000]} (DAGLENS_TRACEBACK=1 shows where.)"
