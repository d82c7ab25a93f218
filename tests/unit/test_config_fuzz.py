"""Whatever a dagster.yaml holds, it is a result or a ConfigError, and no secret is in it."""

from __future__ import annotations

import json
import re
import tempfile
from pathlib import Path
from typing import Any

import yaml
from hypothesis import example, given
from hypothesis import strategies as st

from daglens.config.problems import ConfigError
from daglens.storage.errors import DaglensError
from tests.unit.config_stubs import STUBS, load

PLANTED = "pl4nted-s3cret"

WORDS = """
module class config env file size token database password port replicas hosts stub_storages Runs Events Both
run_storage event_log_storage storage custom sqlite daglens limits max_page retention params postgres_url
fail_with unavailable << HOME
"""
words = st.sampled_from(WORDS.split())
scalars = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8) | words | st.dates()
values = st.recursive(
    scalars,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(words | st.text(max_size=4), inner, max_size=4),
    max_leaves=12,
)
texts = st.lists(
    st.sampled_from(
        [*"\n \t:-?[]{},#&*!|>'\"%@`<\\", "- ", ": ", "<<: ", "&a ", "*a ", "!!python/name:os.system ", "\x00"]
    )
    | words
    | st.characters(),
    max_size=40,
).map("".join)


def outcome(text: str) -> str:
    """Everything that loading the text and building its sections shows to anybody."""
    with tempfile.TemporaryDirectory() as folder:
        error = problems = None
        try:
            config = load(Path(folder), text, HOME="from the environment")
        except ConfigError as refused:
            error, problems = str(refused), refused.problems
        if error is not None:
            assert problems
            assert len(error.splitlines()) == 1 + len(problems), "a problem is one line"
            return error + repr(problems)
        shown = repr(config) + json.dumps([section.config for section in config.sections.values()], allow_nan=False)
        for section in config.sections.values():
            if section.module != "stub_storages":
                continue  # the others would make files
            try:
                section.build()
            except DaglensError as refused:
                shown += str(refused) + repr(refused)
        return shown


@given(texts)
@example("a: !!int ''")
@example("a: !!timestamp x")
@example("a: !!bool x")
@example("? {}\n: x")
@example("{? {a: [b]} : }")
def test_any_text(text):
    """Arbitrary characters, most of them YAML's own."""
    outcome(STUBS + text.encode("utf-8", "replace").decode())


@given(values)
def test_any_values(value):
    """Arbitrary values in the place of a whole file."""
    outcome(yaml.safe_dump(value))


@given(values, st.sampled_from(["module", "class", "config"]))
def test_any_values_in_a_section(value, key):
    """Arbitrary values in the place of one key of a section."""
    outcome(STUBS.replace("module: stub_storages, class: Runs", yaml_line({**RUNS, key: value})))


RUNS: dict[str, Any] = {"module": "stub_storages", "class": "Runs"}


def yaml_line(section: dict[str, Any]) -> str:
    return yaml.safe_dump(section, default_flow_style=True, width=10**9).strip()[1:-1]


def plant(value: Any) -> Any:
    """The value with its texts replaced by the secret, but for names of keys."""
    if isinstance(value, dict):
        return {key: plant(part) for key, part in value.items()}
    if isinstance(value, list):
        return [plant(part) for part in value]
    return PLANTED if isinstance(value, str) else value


@given(st.sampled_from(["token", "postgres_url", "database", "password", "api_key", "secret_word"]), values)
@example("token", "x")
@example("database", {"password": "x", "port": "x", "hostnam": "x"})
@example("database", {"password": {"x": ["x"]}})
@example("token", {"env": "x"})
def test_secrets_never_show(key, value):
    """A secret at any depth of a secret's place, next to other mistakes or none, is in no problem, repr or section."""
    config = {key: plant(value), "size": 13, "fail_with": "cannot"}
    for size in (13, 1):
        text = yaml_line({**RUNS, "config": {**config, "size": size}})
        said = outcome(STUBS.replace("module: stub_storages, class: Runs", text))
        if not names_variable(config):
            assert PLANTED not in said


REAL = """\
run_storage:
  module: dagster_postgres.run_storage
  class: PostgresRunStorage
  config:
    postgres_url: "postgresql://me:pl4nted-s3cret@db:5432/runs?sslmode=require&sslpassword=pl4nted-s3cret"
event_log_storage:
  module: dagster_postgres.event_log
  class: PostgresEventLogStorage
  config:
    postgres_db: {username: me, password: pl4nted-s3cret, hostname: db, db_name: runs, port: 5432}
compute_logs:
  module: dagster_aws.s3.compute_log_manager
  class: S3ComputeLogManager
  config:
    bucket: logs
    access_key_id: pl4nted-s3cret
    secret_access_key: 'pl4nted-s3cret'
local_artifact_storage:
  module: stub_storages
  class: Artifacts
  config: {secret_word: "pl4nted-s3cret"}
daglens:
  retention: {older_than_days: 30}
  access:
    authenticator: {module: stub_storages, class: Door, config: {secret_word: pl4nted-s3cret}}
"""
_SECRET_AT = [match.span() for match in re.finditer(PLANTED, REAL)]


@given(st.lists(st.tuples(st.integers(0, len(REAL)), st.integers(0, 6), texts | words), min_size=1, max_size=3))
@example([(REAL.index('"postgresql'), 1, "")])
@example([(REAL.index("    postgres_url"), 0, "\t")])
@example([(REAL.index(": 'pl4nted"), 2, "")])
@example([(REAL.index("hostname"), 0, "pass")])
@example([(REAL.index("password: pl4") + len("password"), 1, "")])
@example([(REAL.index("password: pl4") + len("password:"), 1, "")])
def test_a_real_file_with_mistakes(edits):
    """A file of today's storages with a few characters of it changed: what is wrong with it is said without the
    secrets that are still whole."""
    text, shift_from = REAL, len(REAL)
    for place, length, put in sorted(edits, reverse=True):
        # From the end on, so that the places of the others hold; what is a secret stays one.
        length = min(length, max(0, shift_from - place))
        if any((begin < place + length and place < end) or begin < place < end for begin, end in _SECRET_AT):
            continue
        text, shift_from = text[:place] + put + text[place + length :], place
    with tempfile.TemporaryDirectory() as folder:
        try:
            config = load(Path(folder), text.encode("utf-8", "replace").decode())
        except ConfigError as refused:
            said = str(refused) + repr(refused.problems)
        else:
            said = repr(config) + json.dumps([section.config for section in config.sections.values()])
    assert PLANTED not in said


def names_variable(value: Any) -> bool:
    """Whether the planted text became the name of a variable or file, which problems may well show."""
    if isinstance(value, dict):
        if len(value) == 1 and set(value) <= {"env", "file"}:
            return True
        return any(names_variable(part) for part in value.values())
    return isinstance(value, list) and any(names_variable(part) for part in value)
