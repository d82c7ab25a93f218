"""The four rules that choose an instance."""

from pathlib import Path

import pytest

from daglens.instance_location import InstanceOrigin, InvalidHome, default_fallback, locate


def test_rule_1_yaml_in_home(tmp_path):
    """A dagster.yaml in $DAGSTER_HOME is what decides."""
    (tmp_path / "dagster.yaml").write_text("")
    where = locate({"DAGSTER_HOME": str(tmp_path)}, fallback=tmp_path / "other")
    assert (where.origin, where.home, where.yaml_file) == (
        InstanceOrigin.DAGSTER_YAML,
        tmp_path,
        tmp_path / "dagster.yaml",
    )


def test_rule_2_home(tmp_path):
    """$DAGSTER_HOME alone is a local instance there, made when missing; a fallback doesn't override it."""
    home = tmp_path / "made" / "here"
    where = locate({"DAGSTER_HOME": str(home)}, fallback=tmp_path / "other")
    assert (where.origin, where.home, where.yaml_file) == (InstanceOrigin.DAGSTER_HOME, home, None)
    assert home.is_dir()
    assert not (tmp_path / "other").exists()


def test_rule_3_fallback(tmp_path):
    """Without $DAGSTER_HOME the fallback folder is a local instance; a dagster.yaml there means nothing."""
    (tmp_path / "dagster.yaml").write_text("run_storage: 1")
    where = locate({}, fallback=tmp_path)
    assert (where.origin, where.home, where.yaml_file) == (InstanceOrigin.FALLBACK_DIR, tmp_path, None)


def test_rule_4_ephemeral(tmp_path):
    """Without any folder, or when asked for, the instance is ephemeral."""
    assert locate({}).origin is InstanceOrigin.EPHEMERAL
    assert locate({"DAGSTER_HOME": str(tmp_path)}, ephemeral=True).origin is InstanceOrigin.EPHEMERAL


def test_empty_variable_counts_as_unset(tmp_path):
    """DAGSTER_HOME="" is as if it were not set."""
    assert locate({"DAGSTER_HOME": ""}, fallback=tmp_path).origin is InstanceOrigin.FALLBACK_DIR


def test_option_stands_in_for_the_variable(tmp_path):
    """`--instance-home D` is DAGSTER_HOME=D, and wins over it."""
    where = locate({"DAGSTER_HOME": str(tmp_path / "a")}, home=tmp_path / "b")
    assert (where.origin, where.home) == (InstanceOrigin.DAGSTER_HOME, tmp_path / "b")
    assert not (tmp_path / "a").exists()


def test_an_empty_option_is_refused(tmp_path):
    """`--instance-home "$WHERE"` with nothing in it doesn't stand for another instance."""
    with pytest.raises(InvalidHome, match="--instance-home is empty"):
        locate({"DAGSTER_HOME": str(tmp_path)}, home="", fallback=tmp_path)


@pytest.mark.parametrize("make", [True, False])
def test_a_folder_that_can_t_be_looked_into(tmp_path, make):
    """Where nobody can tell whether there is a dagster.yaml, none of the rules is taken for the right one: what the
    file says of storages and access would be passed over."""
    # Permissions mean nothing to root, who may run this; to nobody can a path be as long as this.
    home = tmp_path / ("a" * 200)
    while len(str(home)) < 4_085:
        home = home / ("a" * min(200, 4_090 - len(str(home))))
    home.mkdir(parents=True)
    with pytest.raises(InvalidHome, match="which can't be read: File name too long"):
        locate({"DAGSTER_HOME": str(home)}, make=make)


@pytest.mark.parametrize("named", ["relative", "./here", "../x"])
def test_relative_home_is_refused(named):
    """A relative home would scatter data; the error says what to write instead."""
    with pytest.raises(InvalidHome, match="must be an absolute path"):
        locate({"DAGSTER_HOME": named})


def test_tilde_is_expanded(monkeypatch, tmp_path):
    """`~` counts as absolute."""
    monkeypatch.setenv("HOME", str(tmp_path))
    assert locate({"DAGSTER_HOME": "~/x"}).home == tmp_path / "x"


def test_a_file_in_its_place_is_a_clear_error(tmp_path):
    """A file where the folder, or one of its parents, should be is named."""
    (tmp_path / "file").write_text("")
    for path in (tmp_path / "file", tmp_path / "file" / "below"):
        with pytest.raises(InvalidHome, match="a file stands there"):
            locate({"DAGSTER_HOME": str(path)})


def test_glob_characters_are_only_characters(tmp_path):
    """A home with glob characters in its name has its dagster.yaml read."""
    home = tmp_path / "a[b]*?"
    home.mkdir()
    (home / "dagster.yaml").write_text("")
    assert locate({"DAGSTER_HOME": str(home)}).origin is InstanceOrigin.DAGSTER_YAML


def test_default_fallback(monkeypatch, tmp_path):
    """Every command falls back to one folder below XDG_DATA_HOME, or ~/.local/share."""
    monkeypatch.setenv("HOME", "/somebody")
    assert default_fallback({"XDG_DATA_HOME": str(tmp_path)}) == tmp_path / "daglens"
    assert default_fallback({}) == Path("/somebody/.local/share/daglens")
    assert default_fallback({"XDG_DATA_HOME": "relative"}) == Path("/somebody/.local/share/daglens")
