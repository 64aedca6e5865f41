"""Types of arguments for argparse that say what is wrong before anything is measured."""

import argparse
import os
from collections.abc import Callable
from pathlib import Path


def whole(least: int) -> Callable[[str], int]:
    """A whole number, `least` or more: a run of nothing would keep every promise."""

    def read(text: str) -> int:
        if not text.isdecimal() or int(text) < least:
            raise argparse.ArgumentTypeError(f"must be a whole number from {least}, not {text!r}")
        return int(text)

    return read


def folder(text: str) -> Path:
    """A folder that is there and can be written."""
    path = Path(text)
    if not path.is_dir() or not os.access(path, os.W_OK):
        raise argparse.ArgumentTypeError(f"{text} is no folder that can be written; make it first")
    return path
