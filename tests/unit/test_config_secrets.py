"""A secret has one way out, `reveal()`."""

from __future__ import annotations

import copy
import dataclasses
import json
import logging
import pickle

import pydantic
import pytest

from daglens.config.secrets import Secret

WORD = "hunter2-correct-horse"


@dataclasses.dataclass(frozen=True)
class Holder:
    """A Config with a secret."""

    password: Secret


@pytest.mark.parametrize(
    "show",
    [
        repr,
        str,
        "{}".format,
        "{:>30}".format,
        lambda secret: f"{secret!r:>30} {secret!a}",
        lambda secret: "%s %r" % (secret, secret),  # noqa: UP031
        lambda secret: repr(Holder(secret)),
        lambda secret: repr(dataclasses.asdict(Holder(secret))),
        lambda secret: repr([secret, {"password": secret}]),
        lambda secret: json.dumps({"password": secret}, default=str),
        lambda secret: pydantic.TypeAdapter(Holder).dump_json(Holder(secret)).decode(),
        lambda secret: logging.LogRecord("n", 20, "p", 1, "uses %s", (secret,), None).getMessage(),
    ],
)
def test_every_printed_form_is_masked(show):
    """However a secret is printed, its text isn't there and `***` is."""
    text = show(Secret(WORD))
    assert WORD not in text
    assert "***" in text


def test_reveal_gives_the_text():
    """The one way out."""
    assert Secret(WORD).reveal() == WORD


def test_equal_secrets_are_equal_and_others_are_not():
    """Secrets compare by their text, with secrets only, and may be keys."""
    assert Secret(WORD) == Secret(WORD)
    assert hash(Secret(WORD)) == hash(Secret(WORD))
    assert Secret(WORD) != Secret("another")
    assert Secret(WORD) != WORD
    assert not Secret("")


def test_a_secret_is_copied_but_not_pickled():
    """A pickle would be its text on a disk or a wire; a copy is the same secret."""
    secret = Secret(WORD)
    assert copy.deepcopy(Holder(secret)) == Holder(secret)
    assert copy.copy(secret) is secret
    for protocol in range(pickle.HIGHEST_PROTOCOL + 1):
        with pytest.raises(TypeError, match="not pickled"):
            pickle.dumps(secret, protocol)


def test_only_a_string_becomes_a_secret():
    """Anything else is refused, in a message that doesn't hold it."""
    with pytest.raises(TypeError, match="of int") as refused:
        Secret(4815162342)  # type: ignore[arg-type]
    assert "4815162342" not in str(refused.value)


def test_pydantic_reads_secrets():
    """A field typed Secret takes a string or a Secret, and refuses anything else."""
    adapter = pydantic.TypeAdapter(Holder)
    assert adapter.validate_python({"password": WORD}).password == Secret(WORD)
    assert adapter.validate_python({"password": Secret(WORD)}).password == Secret(WORD)
    with pytest.raises(pydantic.ValidationError):
        adapter.validate_python({"password": 5})
