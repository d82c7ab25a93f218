"""Where a recorder writes to: what the caller says, else what the environment says, else the instance of the rules."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import TYPE_CHECKING

from daglens.instance import Instance
from daglens.recorder.destination import TO_VARIABLE, Destination, InstanceDestination
from daglens.recorder.problems import Problems
from daglens.storage.errors import DaglensError

if TYPE_CHECKING:
    from daglens.recorder.remote.address import Token


def destination_for(
    run_id: str,
    problems: Problems,
    *,
    instance: Instance | None = None,
    to: str | None = None,
    token: str | Token | None = None,
    opener: Callable[[], Instance] = Instance.open,
) -> Destination:
    """Where the run is recorded: `instance`, or the server `to`, or that of $DAGLENS_TO, or what `opener` opens.

    Args:
        token: For the server; by default that of $DAGLENS_TOKEN_FILE or $DAGLENS_TOKEN.

    Raises:
        ValueError: Both `instance` and `to` are given.
        InvalidServerAddress: `to` is none. An unfit $DAGLENS_TO is told when the destination is opened.
    """
    if instance is not None:
        if to is not None:
            raise ValueError("Give `instance` or `to`: a run is recorded in one place.")
        return InstanceDestination(problems, instance=instance)
    if to is not None:
        return _remote(to, run_id, problems, token)
    named = os.environ.get(TO_VARIABLE)
    if not named:
        return InstanceDestination(problems, opener=opener)
    try:
        return _remote(named, run_id, problems, token)
    except DaglensError as error:
        return InstanceDestination(problems, opener=_raising(error))


def _remote(to: str, run_id: str, problems: Problems, token: str | Token | None) -> Destination:
    # Only who records to a server pays for what that takes.
    from daglens.recorder.remote.address import ServerAddress, Token
    from daglens.recorder.remote.destination import RemoteDestination

    if token is None:
        token = Token.of_environment()
    elif isinstance(token, str):
        token = Token.given(token)
    return RemoteDestination(ServerAddress.parse(to), token, run_id, problems)


def _raising(error: DaglensError) -> Callable[[], Instance]:
    def opener() -> Instance:
        raise error

    return opener
