"""What wheel and sdist hold: each file of the package once, no links, and the files that are no Python."""

from __future__ import annotations

import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest

from tests.packaging.child import child_environment, failing_npm

ROOT = Path(__file__).parents[2]

TOP_LEVEL_OF_SDIST = {
    ".ci",
    ".gitignore",
    "CHANGELOG.md",
    "LICENSE",
    "Makefile",
    "PKG-INFO",
    "README.md",
    "benchmarks",
    "daglens",
    "deploy",
    "docs",
    "hatch_build.py",
    "mkdocs.yml",
    "pyproject.toml",
    "scripts",
    "tests",
}
ASSETS = {
    "daglens/server/assets/graphiql.LICENSE",
    "daglens/server/assets/graphiql.min.css",
    "daglens/server/assets/graphiql.min.js",
    "daglens/server/assets/react-dom.LICENSE",
    "daglens/server/assets/react-dom.production.min.js",
    "daglens/server/assets/react.LICENSE",
    "daglens/server/assets/react.production.min.js",
}
# Of each kind of file that is no Python one, so that a build that loses the kind is seen.
DATA_FILES = {
    "daglens/py.typed",
    "daglens/graphql/schema.graphql",
    "daglens/graphql/operations/runs-page.graphql",
    "daglens/graphql/operations/fragments.graphql",
    "daglens/storage/migrations/env.py",
    "daglens/storage/migrations/script.py.mako",
    "daglens/storage/sqlite/schema.sql",
}


def build(source: Path, target: str, into: Path, environment: dict[str, str] | None = None) -> Path:
    """One built distribution. Without isolation: these tests install nothing."""
    subprocess.run(
        [sys.executable, "-m", "build", "--no-isolation", f"--{target}", "--outdir", str(into), str(source)],
        env=environment or child_environment(),
        check=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        timeout=150,
    )
    (built,) = into.iterdir()
    return built


@pytest.fixture(scope="module")
def sdist(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build(ROOT, "sdist", tmp_path_factory.mktemp("sdist"))


@pytest.fixture(scope="module")
def unpacked_sdist(sdist: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("unpacked")
    with tarfile.open(sdist) as tar:
        tar.extractall(folder, filter="data")
    (top,) = folder.iterdir()
    return top


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build(ROOT, "wheel", tmp_path_factory.mktemp("wheel"))


def package_files() -> set[str]:
    """Names of what is in the package's folder in this checkout, GraphiQL's files among them."""
    return {
        path.relative_to(ROOT).as_posix()
        for path in (ROOT / "daglens").rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }


def test_wheel_holds_the_package_and_nothing_else(wheel: Path) -> None:
    """Each file of daglens/ is in the wheel once, beside the wheel's own metadata; no root link has been followed."""
    with zipfile.ZipFile(wheel) as archive:
        names = archive.namelist()
    assert len(names) == len(set(names))
    own = {name for name in names if ".dist-info/" not in name}
    assert own == package_files()


def test_wheel_holds_what_is_no_python(wheel: Path) -> None:
    """GraphiQL with its licences, GraphQL documents, migrations and the marker for types come with the wheel."""
    with zipfile.ZipFile(wheel) as archive:
        names = set(archive.namelist())
    assert names >= ASSETS | DATA_FILES
    assert any(name.startswith("daglens/storage/migrations/versions/") for name in names)
    assert any(name.endswith(".dist-info/licenses/LICENSE") for name in names)


def test_graphql_folder_is_no_package(wheel: Path) -> None:
    """daglens/graphql holds documents only: an __init__.py would let the root link shadow graphql-core."""
    with zipfile.ZipFile(wheel) as archive:
        in_graphql = [name for name in archive.namelist() if name.startswith("daglens/graphql/")]
    assert {Path(name).suffix for name in in_graphql} == {".graphql"}


def test_sdist_holds_each_file_once_and_no_link(sdist: Path) -> None:
    """The sdist has the whole package, what builds and tests it, and nothing a second time through a link."""
    with tarfile.open(sdist) as tar:
        members = tar.getmembers()
    assert all(member.isfile() for member in members)
    names = [member.name.partition("/")[2] for member in members]
    assert len(names) == len(set(names))
    assert {name.partition("/")[0] for name in names} == TOP_LEVEL_OF_SDIST
    assert {name for name in names if name.startswith("daglens/")} == package_files()
    assert not any("node_modules" in name for name in names)


def test_build_from_sdist_fetches_nothing(unpacked_sdist: Path, tmp_path: Path) -> None:
    """A wheel built from the sdist has GraphiQL's files although npm can't be used."""
    called = tmp_path / "npm-was-called"
    npm_folder = failing_npm(tmp_path, f"touch '{called}'; exit 1")
    built = build(unpacked_sdist, "wheel", tmp_path / "out", child_environment(npm_folder))
    with zipfile.ZipFile(built) as archive:
        assert set(archive.namelist()) >= ASSETS
    assert not called.exists()


def test_root_links_lead_into_the_package() -> None:
    """The four links at the root are the map of the system; they are relative, so they hold in any checkout."""
    for name in ("schema", "resolvers", "storage", "graphql"):
        assert (ROOT / name).readlink() == Path("daglens", name)
        assert (ROOT / name).is_dir()
