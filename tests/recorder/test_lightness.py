"""What recording loads: a pipeline, or a command that is wrapped, waits for no server's libraries."""

from __future__ import annotations

from tests.recorder.conftest import Program, only_run

HEAVY = {
    *("alembic", "asyncio", "graphql", "orjson", "pydantic", "rich", "sqlalchemy", "starlette", "strawberry", "typer"),
    *("uvicorn", "yaml"),
}

# What `daglens record` on a local instance has no use for: it took a quarter of what it added to a command.
UNUSED = {
    *("ctypes", "difflib", "importlib.resources", "logging", "secrets", "shutil", "tempfile", "traceback", "uuid"),
    *("daglens.access", "daglens.config.load", "daglens.config.problems", "daglens.config.settings"),
    *("daglens.recorder.logs", "daglens.recorder.metadata", "daglens.recorder.remote", "daglens.temporary_home"),
}

RECORD = """
import sys
from daglens.cli import main
sys.argv = ["daglens", "record", "--pipeline", "p", "--step", "s", "--", "true"]
try:
    main()
except SystemExit as end:
    assert not end.code
print(*sorted(sys.modules))
"""

PYTHON = """
import sys
import daglens
if __name__ == "__main__":
    with daglens.start_run("p") as run:
        with run.step("a") as step:
            step.materialize("x", {"n": 1})
        run.call_step("b", print, "hello", isolate=True)
    print(*sorted(sys.modules))
"""


def loaded(program: Program, source: str) -> set[str]:
    done = program.run(source)
    assert done.returncode == 0, done.stderr
    return set(done.stdout.splitlines()[-1].split())


def test_record_is_light(program):
    """`daglens record` on SQLite loads no typer, tables or colours, and no SQLAlchemy, GraphQL or server; nor, on a
    database that is there, what it doesn't use of daglens and of Python itself."""
    assert not loaded(program, RECORD) & HEAVY
    assert not loaded(program, RECORD) & UNUSED


def test_recording_from_python_is_light(program):
    """Nor does a recorded pipeline."""
    assert not loaded(program, PYTHON) & HEAVY


FILES_USED_UP = """
import os, resource, daglens, logging
held = []
with daglens.start_run("p") as run:
    with run.step("a") as step:
        resource.setrlimit(resource.RLIMIT_NOFILE, (100, 100))
        try:
            while True:
                held.append(os.open("/dev/null", os.O_RDONLY))
        except OSError:
            pass
        step.materialize("x", {"n": 1, "text": daglens.Text("t")})
        step.log.info("from the step")
        run.log.info("from the run")
        logging.getLogger("mine").addHandler(run.log_handler())
        logging.getLogger("mine").warning("from a handler")
        for one in held:
            os.close(one)
"""


def test_a_pipeline_that_has_used_up_its_files(program, local):
    """What telling an event uses is loaded by then: nothing is raised in a pipeline that can open no file any more."""
    done = program.run(FILES_USED_UP)
    assert (done.returncode, done.stderr) == (0, "")
    told = only_run(local)
    assert told.one("STEP_MATERIALIZATION", "a")
    messages = [event.message for event in told.all("LOG_MESSAGE")]
    assert messages == ["from the step", "from the run", "from a handler"]
