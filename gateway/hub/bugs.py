"""The last resort of a loop that serves many peers: what nobody foresaw costs one message, not the service.

Only the outermost loops catch with it (the fleet socket, the enrol socket, the index). What is
foreseen is a WireError or a HubError and handled where it is understood; the rest is a bug here,
and whoever finds a message that sets it off must not end the hub for every other box.
"""

import logging
import traceback
from collections import Counter


class Bugs:
    """Counts bugs as `bugs` in its owner's counters; logs each with its trace once."""

    def __init__(self, logger: logging.Logger, counts: Counter[str]) -> None:
        self._logger = logger
        self._counts = counts
        self._said: set[tuple[type[Exception], str, int | None]] = set()

    def caught(self, error: Exception, what: str) -> None:
        """Count an exception that `what` set off. Again from the same line, it is not logged again."""
        self._counts["bugs"] += 1
        (place,) = traceback.extract_tb(error.__traceback__, limit=-1)
        bug = (type(error), place.filename, place.lineno)
        if bug not in self._said:
            self._said.add(bug)
            self._logger.error("a bug, please report it: %s set it off", what, exc_info=error)
