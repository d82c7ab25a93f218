"""What the help says of options that commands of both parsers have (see script_commands)."""

from __future__ import annotations

from typing import Final

INSTANCE_HOME: Final = "The instance's folder; stands in for $DAGSTER_HOME. Without both: ~/.local/share/daglens."
TO: Final = (
    "Record to this server, as https://lens.example.org, instead of to an instance of this machine. Also by "
    "$DAGLENS_TO."
)
TOKEN_FILE: Final = "Holds the token for that server. Also by $DAGLENS_TOKEN_FILE; $DAGLENS_TOKEN is a token itself."
