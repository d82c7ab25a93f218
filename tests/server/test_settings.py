"""Settings of a server, from dagster.yaml and the command line."""

from __future__ import annotations

import pytest

from daglens.config.settings import Access, Settings
from daglens.server.settings import InvalidServerSetting, ServerSettings


def test_the_command_line_adds_to_dagster_yaml() -> None:
    """Hosts and origins of both hold; an origin is compared as browsers write it, in lower case."""
    yaml = Settings(access=Access(allowed_hosts=("a.example.org",), allowed_origins=("https://Front.Example.org",)))
    made = ServerSettings.of(
        yaml, allowed_hosts=("b.example.org",), allowed_origins=("http://x.org:8080",), path_prefix="/daglens/"
    )
    assert made.allowed_hosts == ("a.example.org", "b.example.org")
    assert made.allowed_origins == ("https://front.example.org", "http://x.org:8080")
    assert made.path_prefix == "/daglens"


@pytest.mark.parametrize(
    "given",
    [
        {"allowed_origins": ("example.org",)},
        {"allowed_origins": ("https://example.org/path",)},
        {"allowed_hosts": ("http://example.org/",)},
        {"path_prefix": "daglens"},
    ],
)
def test_what_would_never_match_is_refused(given: dict[str, object]) -> None:
    """A host, an origin or a prefix that is written wrong is a sentence at the start."""
    with pytest.raises(InvalidServerSetting, match="should"):
        ServerSettings.of(Settings(), **given)  # type: ignore[arg-type]
