"""`daglens runs prune`: what ended long ago goes, with all it has; killed anywhere, a second call carries on."""

from __future__ import annotations

from pathlib import Path

import pytest

from daglens.instance import Instance
from daglens.storage import event_types as et
from daglens.storage.records import RunFilter
from tests.cli.conftest import SECOND, Command, record

DAY = 86_400 * SECOND
ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def aged(command: Command) -> Command:
    """Runs that ended 50, 40, 35 and 1 days ago, and one of 60 days that has not ended."""
    with Instance.open(home=command.home) as instance:
        now = instance.runs.now_us()
        for run_id, days, end in (
            ("open", 60, None),
            ("d50", 50, et.RUN_SUCCESS),
            ("d40", 40, et.RUN_FAILURE),
            ("d35", 35, et.RUN_SUCCESS),
            ("d1", 1, et.RUN_SUCCESS),
        ):
            record(instance, run_id, end, created=now - days * DAY)
    return command


def ids(command: Command) -> list[str]:
    """The runs that are there, oldest first."""
    with Instance.open(home=command.home) as instance:
        return [run.run_id for run in instance.runs.page(RunFilter(), newest_first=False, limit=1000).runs]


def test_prune(aged: Command) -> None:
    """Finished runs that ended longer ago go, with events and logs; what went is said."""
    answer = aged("runs", "prune", "--older-than", "30d", "--yes")
    assert answer.code == 0, answer.err
    assert answer.out.startswith("Deleted 3 runs that ended before ")
    assert answer.out.endswith("with 21 events and 60 B of logs and artifacts.\n")
    assert ids(aged) == ["open", "d1"]
    with Instance.open(home=aged.home) as instance:
        assert instance.events.heads(["d50"])["d50"].deleted
        assert not any(instance.compute_logs.list(["d50", "d40", "d35"]).values())
    assert "Deleted 0 runs" in aged("runs", "prune", "--older-than", "30d", "--yes").out


def test_conditions(aged: Command) -> None:
    """--status and --keep-last keep what they say; --json has a line per run."""
    only = aged("runs", "prune", "--older-than", "30d", "--status", "failure", "--json", "--yes")
    assert only.objects == [{"runId": "d40", "events": 7, "bytes": 20, "dryRun": False}]
    assert (
        aged("runs", "prune", "--older-than", "30d", "--keep-last", "2", "--json", "--yes").objects[0]["runId"] == "d50"
    )
    assert ids(aged) == ["open", "d35", "d1"]


def test_dry_run(aged: Command) -> None:
    """--dry-run tells, without asking, what would go, oldest first, and deletes nothing."""
    answer = aged("runs", "prune", "--older-than", "30d", "--dry-run", "--json")
    assert answer.objects == [
        {"runId": run_id, "events": 7, "bytes": 20, "dryRun": True} for run_id in ("d50", "d40", "d35")
    ]
    assert "Would delete 3 runs" in aged("runs", "prune", "--older-than", "30d", "--dry-run").out
    assert len(ids(aged)) == 5


def test_it_asks_first(aged: Command) -> None:
    """Without a terminal to ask on and without --yes nothing goes, and the number is said; none is fine."""
    answer = aged("runs", "prune", "--older-than", "30d")
    assert answer.code == 2
    assert "delete 3 runs; add --yes" in " ".join(answer.err.replace("│", " ").split())
    assert len(ids(aged)) == 5
    assert aged("runs", "prune", "--older-than", "3000d").code == 0


@pytest.mark.parametrize(
    ("args", "told"),
    [
        (["--older-than", "soon"], "'soon' is no time"),
        (["--older-than", "30d", "--status", "STARTED"], "STARTED is no status of a finished run"),
        (["--older-than", "30d", "--keep-last", "-1"], "--keep-last"),
        ([], "--older-than"),
    ],
)
def test_wrong_use(aged: Command, args: list[str], told: str) -> None:
    """What can't be meant ends with code 2 and a sentence, and nothing goes."""
    answer = aged("runs", "prune", "--yes", *args)
    assert answer.code == 2
    assert told in " ".join(answer.err.replace("│", " ").split())
    assert len(ids(aged)) == 5


def test_killed_in_the_middle(command: Command) -> None:
    """After `kill -9` a second call deletes the rest, and nothing of any run is left behind."""
    with Instance.open(home=command.home) as instance:
        names = [f"r{n:02}" for n in range(40)]
        long_ago = instance.runs.now_us() - 90 * DAY
        for n, name in enumerate(names):
            record(instance, name, et.RUN_SUCCESS, created=long_ago + n * SECOND)
            (instance.artifacts.folder(name) / "report.txt").write_text("words")
    program = command.start("runs", "prune", "--older-than", "30d", "--yes", "--json")
    assert program.stdout is not None
    for _ in range(5):
        assert program.stdout.readline()
    program.kill()
    program.communicate(timeout=60)
    left = ids(command)
    assert left == names[-len(left) :]
    assert 0 < len(left) <= 35
    answer = command("runs", "prune", "--older-than", "30d", "--yes")
    assert answer.code == 0
    with Instance.open(home=command.home) as instance:
        assert instance.runs.page(RunFilter()).runs == []
        assert all(head.deleted for head in instance.events.heads(names).values())
        assert not any(instance.events.steps(names).values())
        assert not any(instance.compute_logs.list(names).values())
        assert not any(instance.artifacts.list(name).artifacts for name in names)


def test_a_run_that_stays(aged: Command) -> None:
    """A run that can't be deleted is named with the reason, the others go, and the exit code says so."""
    yaml = "compute_logs:\n  module: tests.cli.sticky_logs\n  class: StickyLogs\n"
    (aged.home / "dagster.yaml").write_text(yaml)
    aged.env["PYTHONPATH"] = str(ROOT)
    answer = aged("runs", "prune", "--older-than", "30d", "--yes")
    assert answer.code == 1
    assert answer.err == "d40: not deleted: these logs are not\ufffd[31m yours\n"
    assert answer.out.startswith("Deleted 2 runs")
    assert ids(aged) == ["open", "d40", "d1"]
    (aged.home / "dagster.yaml").unlink()
    assert aged("runs", "prune", "--older-than", "30d", "--yes").code == 0
    assert ids(aged) == ["open", "d1"]
