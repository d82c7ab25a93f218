"""From bytes to values with lines, whatever the bytes are."""

from __future__ import annotations

import datetime
import os
from pathlib import Path

import pytest

from daglens.config.problems import ProblemCode
from daglens.config.redaction import Redactor
from daglens.config.yaml_file import BROKEN, MAX_BYTES, parse_yaml, read_yaml


def parsed(text: str | bytes):
    return parse_yaml(text.encode() if isinstance(text, str) else text, "dagster.yaml", Path())


def problems_of(text: str | bytes) -> list[str]:
    return [str(problem) for problem in parsed(text).problems.all(Redactor())]


def root_of(text: str):
    file = parsed(text)
    assert problems_of(text) == []
    return file.root


def test_values_are_those_of_yaml():
    """Texts, numbers, booleans, dates, lists and mappings, as PyYAML's safe loader has them."""
    assert root_of("a: x\nb: 5\nc: 1.5\nd: yes\ne:\nf: [1, {g: 2026-01-02}]\nh: |\n  two\n  lines\ni: =\n") == {
        "a": "x",
        "b": 5,
        "c": 1.5,
        "d": True,
        "e": None,
        "f": [1, {"g": datetime.date(2026, 1, 2)}],
        "h": "two\nlines\n",
        "i": "=",
    }


def test_keys_are_texts_as_written():
    """`on` is not True and `010` is not 8 as a key."""
    assert root_of("on: 1\n010: 2\n'': 3\nnull: 4\n") == {"on": 1, "010": 2, "": 3, "null": 4}


@pytest.mark.parametrize("text", ["", "\n\n", "# only a comment\n", "---\n", "null\n", "\ufeff"])
def test_empty_file_has_no_sections(text):
    """Nothing, comments, or a byte order mark: no section and no problem."""
    assert root_of(text) == {}


def test_every_place_has_its_line():
    """Keys, list items and what stands inside of them; an unknown place has the line of what is around it."""
    file = parsed("a:\n  b: 1\n  c:\n    - x\n    - d: 2\n")
    line_of = file.problems.line_of
    places = [("a",), ("a", "b"), ("a", "c", 0), ("a", "c", 1, "d"), ("a", "missing"), ("a", "c", 1, "no"), ()]
    assert [line_of(place) for place in places] == [1, 2, 4, 5, 1, 5, None]


def test_duplicate_keys_are_problems():
    """Each with its own line and that of the first."""
    assert problems_of("a:\n  b: 1\n  c: 2\n  b: 3\na: {}\n") == [
        "dagster.yaml:4: a.b: this key stands twice, first in line 2",
        "dagster.yaml:5: a: this key stands twice, first in line 1",
    ]


def test_anchors_and_merge_keys_work():
    """Own keys win over merged ones, earlier sources over later; lines are those of the source."""
    text = "x: &x {p: 1, q: 2}\ny: &y\n  q: 3\n  r: 4\nz:\n  <<: [*x, *y]\n  p: 5\nw: *y\n"
    file = parsed(text)
    assert root_of(text)["z"] == {"p": 5, "q": 2, "r": 4}
    assert file.root["w"] == {"q": 3, "r": 4}
    assert [file.problems.line_of(("z", key)) for key in "pqr"] == [7, 1, 4]


@pytest.mark.parametrize(
    "text",
    [
        "a: !!python/object/apply:os.system ['touch {file}']",
        "a: !!python/object/new:os.system ['touch {file}']",
        "a: !!python/name:os.system",
        "!!python/object/apply:os.system ['touch {file}']",
        "a: !custom x",
        "a: !!binary aGk=",
        "a: !!set {{x, y}}",
    ],
)
def test_tags_are_refused_and_nothing_is_executed(text, tmp_path):
    """A tag is a problem; what it names is never called."""
    planted = tmp_path / "executed"
    (problem,) = parsed(text.format(file=planted)).problems.all(Redactor())
    assert problem.code is ProblemCode.NOT_YAML
    assert "nothing was executed" in problem.sentence
    assert not planted.exists()


@pytest.mark.parametrize(
    "text", ["p: *hunter2", "p: !hunter2", "p: !hunter2!x y", "p: &hunter2 &hunter2 x", "p: @hunter2"]
)
def test_unquoted_passwords_that_are_no_yaml_are_not_quoted(text):
    """An unquoted password that begins with * ! & or @ is a mistake whose message doesn't hold it."""
    (problem,) = problems_of(text)
    assert problem.startswith("dagster.yaml:1: ")
    assert "hunter2" not in problem


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        (b"a: 1\nb: \xff\n", "dagster.yaml:2: a byte here is not UTF-8; save the file as UTF-8"),
        (b"a: 1\n\nb: x\x00\n", "dagster.yaml:3: a character here (U+0000) can't stand in YAML"),
        ("- a\n- b\n", "dagster.yaml:1: the file must hold sections (`name: …`) at its top level"),
        ("just text\n", "dagster.yaml:1: the file must hold sections (`name: …`) at its top level"),
        ("a: 1\n---\nb: 2\n", "dagster.yaml:2: this is not YAML: the file holds a second document (---); one is taken"),
        ("a: 1\nb:\n\tc: 1\n", "dagster.yaml:3: this is not YAML: a tab stands here; indent with spaces"),
        (
            "a: @b\n",
            "dagster.yaml:1: this is not YAML: while scanning for the next token, found character '@' that cannot "
            "start any token; a text that begins with it needs quotes",
        ),
        (
            "a: [1,\nb: 2\n",
            "dagster.yaml:3: this is not YAML: while parsing a flow sequence, expected ',' or ']', but got "
            "'<stream end>' (it begins in line 1)",
        ),
        ("a: &x [*x]\n", "dagster.yaml:1: a.0: this alias stands inside the very value it names"),
        ("a: &x\n  b: {c: *x}\n", "dagster.yaml:1: a.b.c: this alias stands inside the very value it names"),
        ("a: 2026-13-45\n", "dagster.yaml:1: a: this can't be read as a date; put quotes around a text"),
        ("a: " + "9" * 5000, "dagster.yaml:1: a: this can't be read as a whole number; put quotes around a text"),
        ("? [a, b]\n: 1\n", "dagster.yaml:1: a key must be a plain text"),
        ('a: "\\ud800"\n', "dagster.yaml:1: a: this text holds half of a surrogate pair"),
        ("a:\n  <<: 5\n", "dagster.yaml:2: a: `<<` takes an alias of a mapping, or a list of such"),
        ("\n" + "[" * 100_000, "dagster.yaml:2: nested too deeply"),
        ("x" * (MAX_BYTES + 1), "dagster.yaml: the file is larger than 1024 KiB"),
    ],
)
def test_what_is_no_yaml_for_us(text, problem):
    """One sentence with the line, whatever is wrong with the text."""
    assert problems_of(text)[0].startswith(problem)


def test_aliases_of_aliases_are_bounded():
    """A file of a few hundred bytes that stands for billions of values is refused soon."""
    text = "a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n"
    text += "".join(f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]\n" for n in range(1, 12))
    assert "too large with its aliases followed" in problems_of(text)[-1]


def test_long_chains_of_aliases_are_bounded():
    """Each level is shallow; followed to the end they are too deep."""
    text = "a0: &a0 [x]\n" + "".join(f"a{n}: &a{n} [*a{n - 1}]\n" for n in range(1, 3000))
    assert "nested too deeply" in problems_of(text)[-1]


def test_a_broken_value_stays_in_its_place():
    """What a problem was noted for is marked, so that nothing else complains about it; the rest is read."""
    assert parsed("a: !x y\nb: 1\n").root == {"a": BROKEN, "b": 1}


@pytest.mark.parametrize(
    ("make", "sentence"),
    [
        (lambda path: None, "there is no such file"),
        (lambda path: path.mkdir(), "this is no file"),
        (lambda path: os.mkfifo(path), "this is no file"),
    ],
)
def test_unreadable_files_are_problems(make, sentence, tmp_path):
    """A missing file, a folder and a named pipe (which would wait for ever) are told."""
    path = tmp_path / "dagster.yaml"
    make(path)
    assert [str(problem) for problem in read_yaml(path).problems.all(Redactor())] == [f"dagster.yaml: {sentence}"]


def test_glob_characters_in_the_path_are_characters(tmp_path):
    """A home called [a]* has its dagster.yaml read."""
    folder = tmp_path / "[a]*?"
    folder.mkdir()
    (folder / "dagster.yaml").write_text("x: 1\n")
    assert read_yaml(folder / "dagster.yaml").root == {"x": 1}
