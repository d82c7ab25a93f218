"""What `import daglens` costs: a pipeline that records must not load a web server."""

from __future__ import annotations

import subprocess
import sys

from tests.packaging.child import child_environment

HEAVY = {"alembic", "graphql", "pydantic", "rich", "sqlalchemy", "starlette", "strawberry", "typer", "uvicorn", "yaml"}


def modules_after(code: str) -> set[str]:
    outcome = subprocess.run(
        [sys.executable, "-c", f"{code}\nimport sys\nprint(*sorted(sys.modules), sep='\\n')"],
        env=child_environment(),
        check=True,
        capture_output=True,
        text=True,
        timeout=60,
    )
    return set(outcome.stdout.split())


def test_import_is_light() -> None:
    """Neither `import daglens` nor a look at its names loads strawberry, SQLAlchemy, starlette or their like."""
    assert not modules_after("import daglens; dir(daglens)") & HEAVY


def test_version_is_the_distribution_s() -> None:
    """`daglens.__version__` and the installed metadata agree."""
    from importlib.metadata import version

    import daglens

    assert daglens.__version__ == version("daglens")
