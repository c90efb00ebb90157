"""Loggers whose records a peer can cause: at most a few of each kind per minute; it knows no module that logs."""

from __future__ import annotations

import logging
from typing import Final

MAX_RECORDS: Final = 20
"""Records of one statement that pass in `INTERVAL`."""

INTERVAL: Final = 60.0
"""Seconds after which records of a statement pass again."""


class RecordRate(logging.Filter):
    """Passes `MAX_RECORDS` of each statement in each `INTERVAL`, and then reports how many it suppressed.

    Records are counted by the line of code that logs them, so the table is as small as the code. DEBUG records all
    pass, because a developer has asked for them.
    """

    def __init__(self) -> None:
        super().__init__()
        # When the interval of each statement began, and the records in it.
        self._counts: dict[tuple[str, int], tuple[float, int]] = {}

    def filter(self, record: logging.LogRecord) -> bool:
        """Return whether the record is logged."""
        if record.levelno <= logging.DEBUG:
            return True
        statement = (record.pathname, record.lineno)
        began, count = self._counts.get(statement, (0.0, 0))
        if began <= record.created < began + INTERVAL:
            self._counts[statement] = (began, count + 1)
            return count < MAX_RECORDS
        self._counts[statement] = (record.created, 1)
        if count > MAX_RECORDS:
            record.msg = f"{record.msg} ({count - MAX_RECORDS} more were not logged)"
        return True


def get_limited_logger(name: str) -> logging.Logger:
    """Return the logger of this name, with a limit on its own records."""
    logger = logging.getLogger(name)
    if not any(isinstance(one, RecordRate) for one in logger.filters):
        logger.addFilter(RecordRate())
    return logger
