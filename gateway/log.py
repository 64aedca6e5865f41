"""Logging on stderr: a JSON object a line, or plain text where stderr is a terminal.

A thing is said once when it breaks and once when it heals.
"""

import json
import logging
import os
import sys
import time
from typing import Any

_LEVELS = {"DEBUG": logging.DEBUG, "INFO": logging.INFO, "WARNING": logging.WARNING}


class _JsonLines(logging.Formatter):
    def __init__(self, unit: str) -> None:
        super().__init__()
        self._unit = unit

    def format(self, record: logging.LogRecord) -> str:
        line: dict[str, Any] = {
            "t": round(time.time(), 3),
            "unit": self._unit,
            "pid": os.getpid(),
            "level": record.levelname.lower(),
            "text": record.getMessage(),
        }
        line |= getattr(record, "facts", {})
        if record.exc_info:
            line["trace"] = self.formatException(record.exc_info)
        return json.dumps(line, default=str)


class _PlainLines(logging.Formatter):
    """`HH:MM:SS unit  text  fact=value`, local time, for whoever sits there; tables are left out."""

    def __init__(self, unit: str) -> None:
        super().__init__()
        self._unit = unit

    def format(self, record: logging.LogRecord) -> str:
        facts = getattr(record, "facts", {}).items()
        shown = [f"{name}={fact}" for name, fact in facts if not isinstance(fact, dict | list | tuple)]
        text = "  ".join([record.getMessage(), *shown])
        # What a stranger sent may be in it, and must not steer the terminal.
        text = "".join(char if char.isprintable() else f"\\x{ord(char):02x}" for char in text)
        line = f"{time.strftime('%H:%M:%S')} {self._unit:<10}  {text}"
        return f"{line}\n{self.formatException(record.exc_info)}" if record.exc_info else line


def start_logging(unit: str) -> None:
    """Send this process's log lines to stderr, from the level in GATEWAY_LOG (default INFO).

    As JSON, which journald, files and pipes get; as plain lines where stderr is a terminal.
    """
    out = logging.StreamHandler(sys.stderr)
    out.setFormatter(_PlainLines(unit) if sys.stderr.isatty() else _JsonLines(unit))
    root = logging.getLogger()
    root.handlers[:] = [out]
    root.setLevel(_LEVELS.get(os.environ.get("GATEWAY_LOG", "INFO").upper(), logging.INFO))


def say(logger: logging.Logger, level: int, text: str, **facts: Any) -> None:
    """Log `text` with named facts beside it."""
    logger.log(level, "%s", text, extra={"facts": facts})


class Condition:
    """Something that can be broken: says so once when it breaks and once when it heals."""

    def __init__(self, logger: logging.Logger, name: str) -> None:
        self._logger = logger
        self._name = name
        self.broken: str | None = None

    def breaks(self, why: str) -> None:
        """Log the reason, unless it was already broken for the same reason."""
        if self.broken != why:
            say(self._logger, logging.WARNING, f"{self._name}: {why}")
            self.broken = why

    def heals(self) -> None:
        """Log the recovery, if it was broken."""
        if self.broken is not None:
            say(self._logger, logging.INFO, f"{self._name}: well again")
            self.broken = None
