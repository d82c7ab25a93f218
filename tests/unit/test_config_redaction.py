"""What is shown of configurations and of messages near them."""

from __future__ import annotations

import dataclasses
import datetime
import enum
import json
import math
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pydantic
import pytest

from daglens.config.redaction import WITHHELD, Redactor, looks_secret, secrets_in, shown, without_credentials
from daglens.config.secrets import Secret


@dataclasses.dataclass(frozen=True)
class Inner:
    """Part of a Config."""

    password: Secret
    hostname: str = "db"


class Model(pydantic.BaseModel):
    """A Config as somebody who likes pydantic writes it."""

    api: pydantic.SecretStr
    region: str = "eu"


class Colour(enum.Enum):
    """A choice."""

    RED = "red"


@dataclasses.dataclass(frozen=True)
class Config:
    """A Config with everything in it."""

    url: Secret
    inner: Inner
    model: Model
    plain_url: str
    careless_password: str
    tokens_file: Path
    hosts: tuple[str, ...]
    extra: dict[str, Any]
    since: datetime.date
    colour: Colour
    blob: bytes
    ratio: float
    thing: object
    port: int | None = None


CONFIG = Config(
    url=Secret("planted-1"),
    inner=Inner(Secret("planted-2")),
    model=Model(api=pydantic.SecretStr("planted-3")),
    plain_url="postgresql://me:planted-4@db:5432/runs?sslpassword=planted-5&x=1",
    careless_password="planted-6",
    tokens_file=Path("/etc/tokens"),
    hosts=("a", "https://u:planted-7@b/"),
    extra={"api_key": "planted-8", "nested": {"secret": 4815162342, "max_tokens": 7}},
    since=datetime.date(2026, 1, 2),
    colour=Colour.RED,
    blob=b"planted-9",
    ratio=math.inf,
    thing=object(),
)


def test_effective_configuration_shows_no_secret():
    """Typed secrets, keys named like secrets and credentials in URLs are masked; the rest is there, as JSON."""
    assert shown(CONFIG) == {
        "url": "***",
        "inner": {"password": "***", "hostname": "db"},
        "model": {"api": "***", "region": "eu"},
        "plain_url": "postgresql://***@db:5432/runs?sslpassword=***&x=1",
        "careless_password": "***",
        "tokens_file": "/etc/tokens",
        "hosts": ["a", "https://***@b/"],
        "extra": {"api_key": "***", "nested": {"secret": "***", "max_tokens": 7}},
        "since": "2026-01-02",
        "colour": "red",
        "blob": "***",
        "ratio": "inf",
        "thing": "<object>",
        "port": None,
    }
    json.dumps(shown(CONFIG), allow_nan=False)


def test_secrets_of_a_configuration_leave_messages():
    """What `shown` masks is also taken out of what a storage says."""
    redactor = Redactor()
    for secret in secrets_in(CONFIG):
        redactor.hide(secret)
    said = " / ".join(f"refused planted-{number}" for number in range(1, 10))
    assert redactor.clean(said) == " / ".join(["refused ***"] * 9)


@pytest.mark.parametrize(
    ("text", "masked"),
    [
        ("postgres://u:p@ss/w@rd@host/db failed", "postgres://***@host/db failed"),
        ("no route to https://example.org/a", "no route to https://example.org/a"),
        ("mail me@example.org", "mail me@example.org"),
        ("host=db password='a b' user=me", "host=db password=*** user=me"),
        ("sig=abc&se=2026", "sig=***&se=2026"),
        ("password authentication failed", "password authentication failed"),
    ],
)
def test_credentials_in_texts(text, masked):
    """URLs lose what stands before the last @, parameters named like secrets lose their value; plain text stays."""
    assert without_credentials(text) == masked


@pytest.mark.parametrize(
    "key", ["password", "pg_password", "secret_word", "apiKey", "aws-access-key", "token", "sas", "PWD"]
)
def test_names_of_secrets(key):
    """Keys that hold secrets by custom."""
    assert looks_secret(key)


@pytest.mark.parametrize(
    "key", ["tokens_file", "passenger", "hostname", "key", "base_dir", "secret_path", "basis", "keys"]
)
def test_names_of_other_things(key):
    """Keys that only look a little like them."""
    assert not looks_secret(key)


@pytest.mark.parametrize("secret", ["a/b c+d", 'quo"te\\back', "naïve ☃ word", "line one\nline two"])
def test_a_secret_is_found_in_each_form(secret):
    """As it is, in a repr, in JSON, in a URL: somebody else's message may hold any of these."""
    redactor = Redactor()
    redactor.hide(secret)
    for form in (secret, repr(secret), json.dumps(secret), quote(secret, safe=""), " ".join(secret.split())):
        assert redactor.clean(f"<{form}>").strip("<>\"'") == "***"


def test_password_of_a_secret_url_is_hidden_by_itself():
    """A driver that names only the password, decoded, doesn't get it through."""
    redactor = Redactor()
    redactor.hide(Secret("postgresql://me:p%40ss-word@db/runs"))
    assert redactor.clean("auth failed for p@ss-word and p%40ss-word") == "auth failed for *** and ***"


def test_a_very_short_secret_hides_the_whole_message():
    """Replacing single letters would spell the secret by its gaps. What stands in its place says why, also twice."""
    redactor = Redactor()
    redactor.hide("ab")
    assert redactor.clean("cabbage") == WITHHELD
    assert "longer password" in WITHHELD
    redactor.hide("a")
    assert redactor.clean(redactor.clean("cabbage")) == WITHHELD
    assert redactor.clean("no such letters") == "no such letters"


@pytest.mark.parametrize(
    "word", ["a" * 2_000_000, "a://" * 500_000, "://" * 500_000 + "@", "a" * 2_000_000 + " ://@", "ssl" * 700_000]
)
def test_long_words_are_looked_at_once(word):
    """Clients choose the words of messages, a field's name for one, and each log line and error is cleaned on the event
    loop. Looked at anew from each letter on, these take hours: pytest's own limit ends that."""
    assert without_credentials(word) == word
