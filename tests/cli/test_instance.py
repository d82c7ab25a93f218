"""`daglens instance info|check`: which instance it is, what it is made of, and whether it works."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.cli.conftest import Command
from tests.plugins.installing import AWESOME, install

SECTIONS = ("run_storage", "event_log_storage", "compute_logs", "local_artifact_storage")
SEED = """\
run_storage:
  module: my_very_awesome_module.run_storage
  class: AwesomeRunStorage
  config:
    secret_word: "quux"
"""
MISTAKES = """\
run_storage:
  module: daglens.storage.sqlite
  class: SqliteRunStorag
event_log_storage:
  module: nonesuch.module
  class: Log
compute_logs:
  module: daglens.storage.compute_logs
  class: LocalComputeLogManager
  config: {base_dirr: /tmp}
frobnicate: 1
"""


@pytest.fixture(scope="module")
def awesome_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the plug-in is installed."""
    return install(AWESOME, tmp_path_factory.mktemp("site-packages"))


def configure(command: Command, text: str) -> None:
    """Write the instance's dagster.yaml."""
    command.home.mkdir(exist_ok=True)
    (command.home / "dagster.yaml").write_text(text)


def test_info_of_a_folder(command: Command) -> None:
    """Which rule won, where, and module, class and config of each section, and the settings in effect; as one JSON
    object, too."""
    configure(command, "daglens: {limits: {max_page: 7}, access: {trusted_roles: {a@b: viewer}}}\n")
    answer = command("instance", "info")
    assert answer.code == 0
    assert answer.out.splitlines()[:2] == ["origin: DAGSTER_YAML", f"home: {command.home}"]
    assert "class: SqliteRunStorage" in answer.out
    assert "max_page: 7\n" in answer.out and "max_depth: 20\n" in answer.out
    (told,) = command("instance", "info", "--json").objects
    assert set(told) == {"origin", "home", *SECTIONS, "daglens"}
    assert (told["daglens"]["limits"]["max_page"], told["daglens"]["access"]["allowed_hosts"]) == (7, [])
    assert told["run_storage"]["className"] == "SqliteRunStorage"


@pytest.mark.parametrize(
    ("variables", "origin", "home"),
    [
        ({"DAGSTER_HOME": "", "XDG_DATA_HOME": "{tmp}/data"}, "FALLBACK_DIR", "{tmp}/data/daglens"),
        ({"DAGSTER_HOME": "", "XDG_DATA_HOME": "", "HOME": "{tmp}"}, "FALLBACK_DIR", "{tmp}/.local/share/daglens"),
        ({"DAGSTER_HOME": "{tmp}/other"}, "DAGSTER_HOME", "{tmp}/other"),
    ],
)
def test_which_rule(command: Command, tmp_path: Path, variables: dict[str, str], origin: str, home: str) -> None:
    """An empty DAGSTER_HOME counts as unset; then it is the user's folder."""
    command.env |= {name: value.format(tmp=tmp_path) for name, value in variables.items()}
    (told,) = command("instance", "info", "--json").objects
    assert (told["origin"], told["home"]) == (origin, home.format(tmp=tmp_path))


def test_instance_home_stands_in_for_the_variable(command: Command, tmp_path: Path) -> None:
    """--instance-home wins over DAGSTER_HOME, and its dagster.yaml is read."""
    other = tmp_path / "other"
    other.mkdir()
    (other / "dagster.yaml").write_text("telemetry: {enabled: false}\n")
    answer = command("instance", "info", "--instance-home", str(other))
    assert answer.out.splitlines()[:2] == ["origin: DAGSTER_YAML", f"home: {other}"]
    assert "telemetry" in answer.err


@pytest.mark.parametrize(
    ("home", "sentence"),
    [
        ("relative", "must be an absolute path"),
        ("{tmp}/file", "a file stands there"),
        ("/proc/nonesuch", "can't be made"),
    ],
)
def test_folders_that_are_none(command: Command, tmp_path: Path, home: str, sentence: str) -> None:
    """A folder that can't be the instance's is one sentence that says what to do, exit code 2."""
    (tmp_path / "file").touch()
    for what in (("instance", "info"), ("instance", "check"), ("runs", "list"), ("serve", "--port", "0")):
        answer = command(*what, "--instance-home", home.format(tmp=tmp_path))
        assert (answer.code, answer.out) == (2, "")
        assert sentence in answer.err
        assert answer.err.count("\n") == 1


def test_check_of_an_instance_that_works(command: Command) -> None:
    """Each section's class is named and said to be well."""
    answer = command("instance", "check")
    assert (answer.code, answer.err) == (0, "")
    assert [line.partition(":")[0] for line in answer.out.splitlines()] == ["DAGSTER_HOME", *SECTIONS]
    assert all(line.endswith(": ok") for line in answer.out.splitlines()[1:])


def test_check_lists_every_mistake(command: Command) -> None:
    """All mistakes at once, each with its line and what to do, from every command; exit code 2, no traceback."""
    configure(command, MISTAKES)
    answer = command("instance", "check")
    assert answer.code == 2
    lines = answer.err.splitlines()
    assert "Traceback" not in answer.err
    assert [line.partition(": ")[0] for line in lines[1:]] == [f"dagster.yaml:{n}" for n in (3, 5, 10, 11)]
    assert "did you mean SqliteRunStorage?" in lines[1]
    assert "did you mean base_dir?" in lines[3]
    for what in (("instance", "info"), ("runs", "list"), ("events", "last"), ("serve", "--port", "0"), ("demo",)):
        other = command(*what)
        assert (other.code, other.out, other.err) == (2, "", answer.err)


def test_check_asks_each_storage(command: Command) -> None:
    """A storage that doesn't answer is named with what to do, the others are checked all the same; exit code 2."""
    (command.home / "history").mkdir(parents=True)
    (command.home / "history" / "daglens.db").write_text("a text that somebody has put where the database belongs" * 9)
    answer = command("instance", "check")
    assert answer.code == 2
    told = dict(line.split(": ", 1) for line in answer.out.splitlines()[1:])
    assert "This file is no SQLite database. Move it away" in told["run_storage"]
    assert told["compute_logs"].endswith(": ok")
    assert "Traceback" not in answer.out + answer.err


def test_a_plugin_s_secret_shows_nowhere(command: Command, awesome_folder: Path) -> None:
    """Neither info nor check shows the secret of a plug-in, also when its class puts it into its error."""
    command.env["PYTHONPATH"] = str(awesome_folder)
    for word, code in (("quux", 0), ("wrong", 2)):
        configure(command, SEED.replace("quux", word))
        for what in (("instance", "info"), ("instance", "info", "--json"), ("instance", "check")):
            answer = command(*what)
            assert answer.code == code
            assert word not in answer.out + answer.err
            assert ("AwesomeRunStorage") in answer.out + answer.err
