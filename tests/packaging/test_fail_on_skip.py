"""`--fail-on-skip`, as CI uses it: a test that did not run is no success."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.packaging.child import child_environment

CONFTEST = Path(__file__).parents[1] / "conftest.py"

SKIPPING = {
    "mark": "import pytest\n@pytest.mark.skip(reason='no browser')\ndef test_it(): ...\n",
    "call": "import pytest\ndef test_it(): pytest.skip('no browser')\n",
    "module": "import pytest\npytest.skip('no browser', allow_module_level=True)\n",
    "fixture": "import pytest\n@pytest.fixture\ndef f(): pytest.skip('no browser')\ndef test_it(f): ...\n",
}
PASSING = {
    "success": "def test_it(): ...\n",
    "expected failure": "import pytest\n@pytest.mark.xfail\ndef test_it(): assert False\n",
}


def run_pytest(folder: Path, test: str, *options: str) -> subprocess.CompletedProcess[str]:
    shutil.copy(CONFTEST, folder / "conftest.py")
    (folder / "test_one.py").write_text(test)
    return subprocess.run(
        [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", *options, str(folder)],
        cwd=folder,
        env=child_environment(),
        capture_output=True,
        text=True,
        timeout=60,
    )


@pytest.mark.parametrize("kind", SKIPPING)
def test_skip_counts_as_failure(kind: str, tmp_path: Path) -> None:
    """However a test skips, the session fails with the option and says the reason; without it, it doesn't fail."""
    outcome = run_pytest(tmp_path, SKIPPING[kind], "--fail-on-skip")
    assert outcome.returncode not in (0, 5), outcome.stdout
    assert "no browser" in outcome.stdout
    assert run_pytest(tmp_path, SKIPPING[kind]).returncode in (0, 5)


@pytest.mark.parametrize("kind", PASSING)
def test_what_ran_is_left_alone(kind: str, tmp_path: Path) -> None:
    """Successes and expected failures pass with the option."""
    assert run_pytest(tmp_path, PASSING[kind], "--fail-on-skip").returncode == 0
