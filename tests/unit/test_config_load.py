"""Each kind of mistake in a dagster.yaml has its own sentence, and all of them come at once."""

from __future__ import annotations

import subprocess
import sys
from typing import Any

import pytest

from daglens.config.loaded import LoadedConfig
from daglens.config.problems import ConfigError
from daglens.config.secrets import Secret
from daglens.config.settings import Limits, Retention, Settings
from daglens.instance import Instance
from daglens.storage.errors import StorageUnavailable
from tests.unit.config_stubs import STUBS, load, problems_of


def section(config: str = "", *, name: str = "run_storage", cls: str = "Runs", module: str = "stub_storages") -> str:
    """A section of a dagster.yaml; config is on one line (6 with it, 4 without)."""
    return f"{name}:\n  module: {module}\n  class: {cls}\n" + (f"  config: {config}\n" if config else "")


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        (
            section(module="my_very_absent_module.run_storage"),
            "dagster.yaml:2: run_storage.module: no package my_very_absent_module is installed in the Python that runs "
            f"daglens ({sys.prefix}); install it there, or name its folder in PYTHONPATH",
        ),
        (
            section(module="daglens.storage.memry"),
            "dagster.yaml:2: run_storage.module: the package daglens.storage has no module memry, did you mean "
            "daglens.storage.memory?",
        ),
        (
            section(module="daglens.storage.memory.InMemoryRunStorage"),
            "dagster.yaml:2: run_storage.module: this names a class; write module: daglens.storage.memory and class: "
            "InMemoryRunStorage",
        ),
        (section(module="../evil"), "dagster.yaml:2: run_storage.module: this is not the dotted name of a module"),
        (section(module=".memory"), "dagster.yaml:2: run_storage.module: this is not the dotted name of a module"),
        (
            section(cls="Rums"),
            "dagster.yaml:3: run_storage.class: the module stub_storages has no such class, did you mean Runs?",
        ),
        (section(cls="function"), "dagster.yaml:3: run_storage.class: this is no class but a function"),
        (
            section(cls="Events"),
            "dagster.yaml:3: run_storage.class: this is an event log storage and belongs under event_log_storage; "
            "run_storage takes a run storage",
        ),
        (
            section(cls="Half"),
            "dagster.yaml:3: run_storage.class: this is not a run storage: it lacks the methods page, heartbeat",
        ),
        (
            section("{size: 2}", cls="Plain"),
            "dagster.yaml:4: run_storage.config.size: unknown key; Plain takes no configuration",
        ),
        (
            section("{size: 2}", cls="Unreadable"),
            "dagster.yaml:4: run_storage.config: the Config of Unreadable can't be made of this: ",
        ),
        (
            section("{postgress_url: x}"),
            "dagster.yaml:4: run_storage.config.postgress_url: unknown key, did you mean postgres_url?",
        ),
        (section("{zzz: x}"), "dagster.yaml:4: run_storage.config.zzz: unknown key"),
        (
            section("{database: {pasword: x, password: y}}"),
            "dagster.yaml:4: run_storage.config.database.pasword: unknown key, did you mean password?",
        ),
        (
            section("{replicas: [{password: x}, {hostname: y}]}"),
            "dagster.yaml:4: run_storage.config.replicas.1.password: this key is missing",
        ),
        (section("{size: many}"), "dagster.yaml:4: run_storage.config.size: must be a whole number"),
        (section("{size: 1.5}"), "dagster.yaml:4: run_storage.config.size: must be a whole number"),
        (section("{size: yes}"), "dagster.yaml:4: run_storage.config.size: must be a number, not true or false"),
        (section("{size: 13}"), "dagster.yaml:4: run_storage.config: this value is not accepted: 13 is no size, "),
        (section("{ratio: x}"), "dagster.yaml:4: run_storage.config.ratio: must be a number"),
        (section("{eager: maybe}"), "dagster.yaml:4: run_storage.config.eager: must be true or false"),
        (section("{base_dir: 5}"), "dagster.yaml:4: run_storage.config.base_dir: must be text; put quotes around it"),
        (section("{base_dir: {a: b}}"), "dagster.yaml:4: run_storage.config.base_dir: must be text; put quotes"),
        (section("{hosts: x}"), "dagster.yaml:4: run_storage.config.hosts: must be a list"),
        (section("{hosts: [a, 5]}"), "dagster.yaml:4: run_storage.config.hosts.1: must be text; put quotes around it"),
        (section("{database: x}"), "dagster.yaml:4: run_storage.config.database: must hold keys and values"),
        (
            section("{durability: fast}"),
            "dagster.yaml:4: run_storage.config.durability: this value is not accepted: must be 'full' or 'normal'",
        ),
        (section("[1, 2]"), "dagster.yaml:4: run_storage.config: must hold keys and values"),
        (
            section("{size: {env: ABSENT}}"),
            "dagster.yaml:4: run_storage.config.size: the environment variable ABSENT is not set",
        ),
        (section("{size: {env: WORD}}"), "dagster.yaml:4: run_storage.config.size: must be a whole number"),
        (
            section("{size: {env: 5}}"),
            "dagster.yaml:4: run_storage.config.size: `env:` takes the name of an environment",
        ),
        (
            section("{token: {file: absent.txt}}"),
            "dagster.yaml:4: run_storage.config.token: the file absent.txt can't be read: No such file or directory",
        ),
        (section("{token: {file: .}}"), "dagster.yaml:4: run_storage.config.token: the file . "),
        (section("{token: {file: 5}}"), "dagster.yaml:4: run_storage.config.token: `file:` takes the path of a file"),
        (section(cls="{env: ABSENT}"), "dagster.yaml:3: run_storage.class: the environment variable ABSENT is not set"),
        ("run_storage:\n  class: Runs\n", "dagster.yaml:1: run_storage.module: this key is missing"),
        ("run_storage:\n  module: stub_storages\n", "dagster.yaml:1: run_storage.class: this key is missing"),
        ("run_storage: sqlite\n", "dagster.yaml:1: run_storage: must hold module, class and, where needed, config"),
        (section() + "  conf: {}\n", "dagster.yaml:4: run_storage.conf: unknown key, did you mean config?"),
        (section(cls="5"), "dagster.yaml:3: run_storage.class: must be text; put quotes around it"),
        (section(cls="''"), "dagster.yaml:3: run_storage.class: this key is empty"),
        ("runstorage: {}\n", "dagster.yaml:1: runstorage: unknown section, did you mean run_storage?"),
        ("xyzzy: {}\n", "dagster.yaml:1: xyzzy: unknown section"),
        ("daglens: {limit: {}}\n", "dagster.yaml:1: daglens.limit: unknown key, did you mean limits?"),
        (
            "daglens:\n  limits:\n    max_page: 5000\n",
            "dagster.yaml:3: daglens.limits.max_page: this value is not accepted: must be from 1 to 1,000",
        ),
        ("daglens: 5\n", "dagster.yaml:1: daglens: must hold keys and values"),
        ("storage: {}\n", "dagster.yaml:1: storage: must hold one of sqlite, postgres and custom"),
        ("storage: {sqlit: {}}\n", "dagster.yaml:1: storage.sqlit: unknown key, did you mean sqlite?"),
        ("a: 1\n\tb", "dagster.yaml:2: this is not YAML: "),
    ],
)
def test_mistakes(text, problem, tmp_path):
    """File, line, path and sentence of one mistake, and nothing else is complained about."""
    problems = problems_of(tmp_path, text, WORD="a word")
    assert len(problems) == 1
    assert problems[0].startswith(problem)


def test_module_that_raises_on_import(tmp_path, monkeypatch):
    """A module that is there but fails to import says what it raised: an error, a missing import, an exit."""
    for name, source in {
        "raising_one": "raise RuntimeError('needs a\\nnewer driver')",
        "raising_two": "import a_driver_that_is_absent",
        "raising_three": "import sys; sys.exit('usage: …')",
        "raising_four": "def",
    }.items():
        (tmp_path / f"{name}.py").write_text(source)
    monkeypatch.syspath_prepend(tmp_path)
    text = (
        section(module="raising_one")
        + section(module="raising_two", name="event_log_storage")
        + section(module="raising_three", name="compute_logs")
        + section(module="raising_four", name="local_artifact_storage")
    )
    start = "module: the module is there, but importing it raised an error: "
    problems = problems_of(tmp_path, text)
    assert [problem.split(start)[1].split("(")[0].strip() for problem in problems] == [
        "RuntimeError: needs a newer driver",
        "ModuleNotFoundError: No module named 'a_driver_that_is_absent'",
        "SystemExit: usage: …",
        "SyntaxError: invalid syntax",
    ]


def test_all_problems_of_all_sections_come_at_once(tmp_path):
    """In the order of lines, each once."""
    text = (
        section("{postgress_url: x, size: many}")
        + section("{hosts: {env: NO_HOSTS}}", name="event_log_storage", cls="Events")
        + section(name="compute_logs", cls="Lags")
        + section(name="local_artifact_storage", module="absent_package")
        + "runlauncher: {}\ndaglens: {live: {poll_interval_s: x}}\nrun_storage: {}\n"
    )
    assert [problem.split(": ", 2)[:2] for problem in problems_of(tmp_path, text)] == [
        ["dagster.yaml:4", "run_storage.config.postgress_url"],
        ["dagster.yaml:4", "run_storage.config.size"],
        ["dagster.yaml:8", "event_log_storage.config.hosts"],
        ["dagster.yaml:11", "compute_logs.class"],
        ["dagster.yaml:13", "local_artifact_storage.module"],
        ["dagster.yaml:15", "runlauncher"],
        ["dagster.yaml:16", "daglens.live.poll_interval_s"],
        ["dagster.yaml:17", "run_storage"],
    ]


def test_error_names_the_file_and_lists_the_problems(tmp_path):
    """The message of the error is the whole path, then a line for each problem; its code is stable."""
    with pytest.raises(ConfigError) as refused:
        load(tmp_path, "xyzzy: 1\nyzzyx: 2\n")
    assert str(refused.value).splitlines() == [
        f"The configuration of the instance can't be used. {tmp_path / 'dagster.yaml'}:",
        "dagster.yaml:1: xyzzy: unknown section",
        "dagster.yaml:2: yzzyx: unknown section",
    ]
    assert refused.value.code == "CONFIG_INVALID"
    assert [problem.code for problem in refused.value.problems] == ["CONFIG_UNKNOWN_KEY", "CONFIG_UNKNOWN_KEY"]


def test_references_stand_for_any_scalar(tmp_path):
    """`env:` and `file:` in place of text, numbers, booleans, secrets, list items, nested fields, module and class."""
    (tmp_path / "token").write_text("from file\r\n")
    text = STUBS.replace(
        "{module: stub_storages, class: Runs}",
        """
  module: {env: MODULE}
  class: {env: CLASS}
  config:
    size: {env: SIZE}
    ratio: {env: RATIO}
    eager: {env: EAGER}
    base_dir: {env: EMPTY}
    durability: {env: DURABILITY}
    token: {file: token}
    hosts: [a, {env: HOST}]
    database: {password: {env: PASSWORD}, port: {env: SIZE}, params: {env: kept}}""",
    )
    environ = {"MODULE": "stub_storages", "CLASS": "Runs", "SIZE": "7", "RATIO": "0.5", "EAGER": "true", "EMPTY": ""}
    environ |= {"DURABILITY": "normal", "HOST": "b", "PASSWORD": "pw"}
    config = load(tmp_path, text, **environ).sections["run_storage"].build().config
    assert (config.size, config.ratio, config.eager, config.base_dir) == (7, 0.5, True, "")
    assert (config.durability, config.token, config.hosts) == ("normal", Secret("from file"), ["a", "b"])
    assert (config.database.password, config.database.port) == (Secret("pw"), 7)
    assert config.database.params == {"env": "kept"}, "a mapping stays one where a mapping is asked for"


def test_a_value_from_a_file_never_shows(tmp_path):
    """Whatever field it is for: a text that is kept in a file of its own is meant to be a secret."""
    (tmp_path / "folder").write_text("planted-folder")
    text = STUBS.replace("class: Runs", "class: Runs, config: {base_dir: {file: folder}, hosts: [planted-folder]}")
    section = load(tmp_path, text).sections["run_storage"]
    assert section.build().config.base_dir == "planted-folder"
    assert section.config["base_dir"] == "***"
    assert section.clean("no folder planted-folder") == "no folder ***"


def test_empty_sections_count_as_left_out(tmp_path):
    """A section without anything below it, as commenting out leaves behind, and an empty config."""
    config = load(tmp_path, STUBS.replace("class: Runs", "class: Runs, config:") + "storage:\ndaglens:\n")
    assert config.settings == Settings()
    assert config.sections["run_storage"].build().config.size == 1


def test_settings_are_read(tmp_path):
    """The `daglens:` section becomes typed values over the defaults."""
    own = "daglens:\n  limits: {max_page: 50}\n  access: {allowed_hosts: [daglens.example.org]}\n  live:\n"
    settings = load(tmp_path, STUBS + own.replace("  live:\n", "")).settings
    assert settings.limits == Limits(max_page=50)
    assert settings.access.allowed_hosts == ("daglens.example.org",)


def test_settings_are_carried_out(tmp_path):
    """None of the settings has a note that it does nothing."""
    config = load(tmp_path, STUBS + "daglens: {retention: {older_than_days: 30, statuses: [FAILURE]}}\n")
    assert config.settings.retention == Retention(30.0, ("FAILURE",))
    assert config.notes == ()


def test_sections_of_an_orchestrator_are_ignored_in_one_line(tmp_path):
    """However many there are, and whatever is in them."""
    text = STUBS + "run_launcher: {module: x, class: {env: ABSENT}}\ntelemetry: {enabled: false}\nschedules: 5\n"
    config = load(tmp_path, text)
    assert config.ignored == ("run_launcher", "telemetry", "schedules")
    assert config.notes == (
        "dagster.yaml: ignored, as only an orchestrator needs them: run_launcher, telemetry, schedules",
    )


def test_storages_are_made_on_demand(tmp_path):
    """Loading makes none; building makes each with its configuration and the home folder."""
    config = load(tmp_path, STUBS)
    assert list(config.sections) == ["run_storage", "event_log_storage", "compute_logs", "local_artifact_storage"]
    built = config.build()
    assert [type(storage).__name__ for storage in built.values()] == ["Runs", "Events", "Logs", "Artifacts"]
    assert all(storage.home == tmp_path for storage in built.values())


@pytest.mark.parametrize("value", ["", "~", '""', "{env: EMPTY}"])
@pytest.mark.parametrize("key", ["access: {tokens: %s}", "access: {trusted_header: %s}", "documents: {manifest: %s}"])
def test_an_empty_key_opens_no_door(tmp_path, key, value):
    """What keeps people out isn't left out by a key that stands there with nothing behind it."""
    (problem,) = problems_of(tmp_path, f"daglens:\n  {key % value}\n", EMPTY="")
    assert problem.endswith(": this value is not accepted: it is empty; give a name, or leave the key out")


def test_an_empty_authenticator_opens_no_door(tmp_path):
    """Likewise."""
    assert problems_of(tmp_path, "daglens:\n  access:\n    authenticator:\n") == [
        "dagster.yaml:3: daglens.access.authenticator: must hold module, class and, where needed, config"
    ]


def failing(config: LoadedConfig) -> ConfigError:
    with pytest.raises(ConfigError) as refused:
        config.build()
    return refused.value


def test_every_class_that_raises_is_told_and_the_others_are_closed(tmp_path, monkeypatch):
    """Two constructors raise: both are told, without secrets, and what was opened is closed."""
    text = STUBS.replace("class: Runs", "class: Runs, config: {fail_with: bad, token: planted-token}")
    text = text.replace("class: Logs", "class: Logs, config: {fail_with: worse, database: {password: planted-two}}")
    config = load(tmp_path, text)
    events = config.sections["event_log_storage"].build()
    object.__setattr__(config.sections["event_log_storage"], "_make", lambda: events)
    assert [str(problem) for problem in failing(config).problems] == [
        "dagster.yaml:1: run_storage: Runs could not be made of this configuration: RuntimeError: bad ***",
        "dagster.yaml:3: compute_logs: Logs could not be made of this configuration: RuntimeError: worse",
    ]
    assert events.closed == 1


def test_a_storage_that_can_t_be_closed(tmp_path, monkeypatch):
    """A plug-in whose close raises keeps no other storage open, and its error is told: where the others can be used,
    and not in place of what is wrong with one that can't."""

    def hung_up(self):
        raise OSError("the line went dead")

    load(tmp_path, STUBS)
    monkeypatch.setattr(sys.modules["stub_storages"].Runs, "close", hung_up)
    instance = Instance.open(home=tmp_path, environ={})
    with pytest.raises(OSError, match="the line went dead"):
        instance.close()
    others: list[Any] = [instance.events, instance.compute_logs, instance.artifacts]
    assert [storage.closed for storage in others] == [1, 1, 1]

    config = load(tmp_path, STUBS.replace("class: Logs", "class: Logs, config: {fail_with: unavailable}"))
    with pytest.raises(StorageUnavailable):
        config.build()


def test_storage_errors_pass_without_secrets(tmp_path):
    """A database that is away is no mistake in the file: the storage's own error comes through, its secrets don't."""
    text = STUBS.replace("class: Events", "class: Events, config: {fail_with: unavailable, token: planted-token}")
    config = load(tmp_path, text)
    with pytest.raises(StorageUnavailable) as away:
        config.build()
    assert str(away.value) == "The storage does not answer. The database refused ***."


def test_validators_of_a_plugin_do_not_leak(tmp_path):
    """A Config whose own check quotes a secret in its message gets it taken out."""
    (problem,) = problems_of(tmp_path, section("{size: 13, token: planted-token}"))
    assert problem.endswith("this value is not accepted: 13 is no size, not even with ***")


def test_custom_storage_holds_runs_and_events(tmp_path):
    """`storage: custom:` names one class whose attributes are the two storages; it is made once."""
    rest = "".join(line for line in STUBS.splitlines(True) if line.startswith(("compute", "local")))
    text = "storage:\n  custom: {module: stub_storages, class: Both, config: {size: 2}}\n" + rest
    config = load(tmp_path, text)
    built = config.build()
    assert [type(storage).__name__ for storage in built.values()] == ["Runs", "Events", "Logs", "Artifacts"]
    assert config.sections["event_log_storage"].config["size"] == 2


def test_custom_storage_of_the_wrong_kind(tmp_path):
    """Its two attributes are held against the contracts when it is made."""
    rest = "".join(line for line in STUBS.splitlines(True) if line.startswith(("compute", "local")))
    text = "storage:\n  custom: {module: stub_storages, class: Neither}\n" + rest
    problems = [str(problem) for problem in failing(load(tmp_path, text)).problems]
    assert len(problems) == 2
    assert problems[0].startswith("dagster.yaml:2: storage.custom: this is not a run storage: it lacks the methods ")


def test_storage_and_run_storage_contradict(tmp_path):
    """Both say where runs are kept."""
    problems = problems_of(tmp_path, STUBS + "storage: {custom: {module: stub_storages, class: Both}}\n")
    assert problems == [
        "dagster.yaml:1: run_storage: storage and run_storage both say where this is kept; leave one out",
        "dagster.yaml:2: event_log_storage: storage and event_log_storage both say where this is kept; leave one out",
    ]


def test_odd_keys_stay_on_one_line(tmp_path):
    """A key with line ends and escape sequences can't forge a second problem or colour a terminal."""
    (problem,) = problems_of(tmp_path, '"x\\ndagster.yaml:1: \\e[31mfake": 1\n')
    assert problem == 'dagster.yaml:1: "x …": unknown section'
    (problem,) = problems_of(tmp_path, '"x\\e[31mfake": 1\n')
    assert problem == 'dagster.yaml:1: "x\\x1b[31mfake": unknown section'


def test_an_instance_without_a_file_loads_neither_yaml_nor_pydantic():
    """A recorder without a dagster.yaml starts without what only reads one."""
    code = "import sys, daglens.config.load; sys.exit(bool({'yaml', 'pydantic', 'sqlalchemy'} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", code], check=False, timeout=60).returncode == 0
