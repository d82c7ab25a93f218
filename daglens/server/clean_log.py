"""Server logs without secrets: whoever raised an error may have put its configuration into the message."""

from __future__ import annotations

import logging

from daglens.config.redaction import clean_for_terminal


class WithoutSecrets(logging.Filter):
    """Takes the secrets of every configuration in use out of records, tracebacks included.

    Add it to a handler: a logger's filters don't see what comes from the loggers below it.
    """

    def filter(self, record: logging.LogRecord) -> bool:
        """Clean the record, and let it pass."""
        record.msg, record.args = clean_for_terminal(record.getMessage()), ()
        if record.exc_info and not record.exc_text:
            record.exc_text = _FORMATTER.formatException(record.exc_info)
        if record.exc_text:
            record.exc_text = clean_for_terminal(record.exc_text)
        return True


_FORMATTER = logging.Formatter()
