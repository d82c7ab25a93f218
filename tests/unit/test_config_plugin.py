"""A storage plug-in, installed from a folder, named in dagster.yaml."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from daglens.config.load import load_config
from daglens.config.problems import ConfigError
from tests.plugins.installing import AWESOME, install


@pytest.fixture(scope="module")
def awesome_folder(tmp_path_factory):
    """Where `my_very_awesome_module` is installed."""
    return install(AWESOME, tmp_path_factory.mktemp("site-packages"))


@pytest.fixture
def awesome(awesome_folder, monkeypatch):
    """`my_very_awesome_module` can be imported."""
    monkeypatch.syspath_prepend(awesome_folder)


def write(folder: Path, text: str) -> Path:
    path = folder / "dagster.yaml"
    path.write_text(text)
    return path


SEED = """\
run_storage:
  module: my_very_awesome_module.run_storage
  class: AwesomeRunStorage
  config:
    secret_word: "quux"
"""


def test_seed_example_loads(awesome, tmp_path):
    """The class is made with its secret, and nothing that shows the section holds it."""
    config = load_config(write(tmp_path, SEED), tmp_path)
    section = config.sections["run_storage"]
    assert (section.module, section.class_name) == ("my_very_awesome_module.run_storage", "AwesomeRunStorage")
    assert section.config == {"secret_word": "***", "awesomeness": 11}
    storage = section.build()
    assert storage.secret_word.reveal() == "quux"
    assert "quux" not in repr(config) + json.dumps(section.config) + repr(section)
    assert section.clean("no entry for quux") == "no entry for ***"


def test_constructor_that_raises_is_a_problem_without_the_secret(awesome, tmp_path):
    """What the class says when it is made is in the problem, the secret taken out."""
    config = load_config(write(tmp_path, SEED.replace("quux", "wrong")), tmp_path)
    with pytest.raises(ConfigError) as refused:
        config.build()
    assert [str(problem) for problem in refused.value.problems] == [
        "dagster.yaml:1: run_storage: AwesomeRunStorage could not be made of this configuration: "
        "ValueError: cannot log in with ***"
    ]
    assert "wrong" not in str(refused.value)


def test_missing_secret_names_the_key(awesome, tmp_path):
    """Without its config the class lacks its secret, and the problem names the key."""
    with pytest.raises(ConfigError) as refused:
        load_config(write(tmp_path, SEED[: SEED.index("  config")]), tmp_path)
    assert [str(problem) for problem in refused.value.problems] == [
        "dagster.yaml:1: run_storage.config.secret_word: this key is missing"
    ]


def test_bad_secret_is_not_shown(awesome, tmp_path):
    """A number in place of a secret is refused without being quoted."""
    with pytest.raises(ConfigError) as refused:
        load_config(write(tmp_path, SEED.replace('"quux"', "4815162342")), tmp_path)
    assert [str(problem) for problem in refused.value.problems] == [
        "dagster.yaml:5: run_storage.config.secret_word: must be text; put quotes around it"
    ]


def test_secret_from_environment_and_file(awesome, tmp_path):
    """`env:` and `file:` bring secrets and numbers; a relative path is relative to the folder of the file."""
    (tmp_path / "word.txt").write_text("from a file\n")
    text = SEED.replace('"quux"', "{file: word.txt}\n    awesomeness: {env: AWESOMENESS}")
    config = load_config(write(tmp_path, text), tmp_path, environ={"AWESOMENESS": "7"})
    storage = config.sections["run_storage"].build()
    assert (storage.secret_word.reveal(), storage.awesomeness) == ("from a file", 7)
