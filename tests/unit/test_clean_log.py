"""What is written to a terminal or a log, without the secrets of the configurations in use."""

from __future__ import annotations

import gc
import io
import logging
from pathlib import Path

from daglens.config.redaction import Redactor, clean_for_terminal
from daglens.recorder.problems import note
from daglens.server.clean_log import WithoutSecrets


def hiding(*secrets: str) -> Redactor:
    """What a configuration with these secrets leaves behind."""
    redactor = Redactor()
    for secret in secrets:
        redactor.hide(secret)
    return redactor


def test_every_configuration_in_use_is_hidden() -> None:
    """The secrets of each are taken out, until nobody holds it any more."""
    one, other = hiding("first-secret"), hiding("other-secret")
    assert clean_for_terminal("first-secret and other-secret") == "*** and ***"
    del one
    gc.collect()
    assert clean_for_terminal("first-secret and other-secret") == "first-secret and ***"
    assert other.clean("other-secret") == "***"


def test_log_records(tmp_path: Path) -> None:
    """Message, arguments and traceback of a record lose them; the rest of the record stays as it is."""
    kept = hiding("quux-and-more")
    stream = io.StringIO()
    handler = logging.StreamHandler(stream)
    handler.addFilter(WithoutSecrets())
    log = logging.getLogger("daglens.of.this.test")
    log.propagate = False
    log.addHandler(handler)
    log.warning("%s: %d%%", ValueError("no entry for quux-and-more"), 7)
    try:
        raise OSError("quux-and-more again")
    except OSError:
        log.exception("failed")
    told = stream.getvalue()
    assert told.startswith("no entry for ***: 7%\nfailed\nTraceback (most recent call last):")
    assert told.endswith("OSError: *** again\n")
    assert kept.clean(told) == told


def test_a_recorder_s_notes(capsys) -> None:
    """What a recorder says on stderr is clean, too."""
    kept = hiding("quux-and-more")
    note("The storage said: quux-and-more,\n thrice.")
    assert capsys.readouterr().err == "daglens: The storage said: ***, thrice.\n"
    assert kept.clean("quux-and-more") == "***"
