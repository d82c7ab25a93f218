"""A server that lets in by tokens, one for each role."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

import httpx
import pytest

from daglens.access import Role
from daglens.access.token_file import add_token
from daglens.testing.server import LiveServer
from tests.server.conftest import PATIENCE_S, Serve, instance, serve

__all__ = ["instance", "serve"]

Client = Callable[..., httpx.Client]

NOBODY, STRANGER = "nobody", "unknown token"
OTHER = "other"
"""A recorder that has created nothing."""
UNKNOWN = "dgl_" + "x" * 43


@pytest.fixture
def tokens_file(tmp_path: Path) -> Path:
    """Where the tokens of this test stand."""
    return tmp_path / "tokens"


@pytest.fixture
def tokens(tokens_file: Path) -> Mapping[str, str]:
    """A token for each role, under the role's name, and one of another recorder."""
    made = {str(role): add_token(tokens_file, str(role), role) for role in Role}
    return made | {OTHER: add_token(tokens_file, OTHER, Role.RECORDER)}


@pytest.fixture
def guarded(serve: Serve, tokens: Mapping[str, str], tokens_file: Path) -> LiveServer:
    """A server of the instance that asks for them."""
    return serve(tokens=tokens_file)


def bearer(token: str | None) -> dict[str, str]:
    """The header that carries a token; none for None."""
    return {} if token is None else {"authorization": f"Bearer {token}"}


def client_of(server: LiveServer, token: str | None = None) -> httpx.Client:
    """A client that sends a token with each request."""
    return httpx.Client(base_url=server.url, headers=bearer(token), timeout=PATIENCE_S)


def mounted_secret(folder: Path, text: str, mode: int) -> Path:
    """The file `tokens` of a secret as Kubernetes mounts it: a link into a folder that a link leads to. Called again
    it brings the secret up to date, as Kubernetes does: another folder, and one rename."""
    folder.mkdir(exist_ok=True)
    version = folder / f"..version-{len(list(folder.iterdir()))}"
    version.mkdir()
    (version / "tokens").write_text(text)
    (version / "tokens").chmod(mode)
    (folder / "..data_tmp").symlink_to(version.name)
    (folder / "..data_tmp").rename(folder / "..data")
    file = folder / "tokens"
    if not file.is_symlink():
        file.symlink_to("..data/tokens")
    return file
