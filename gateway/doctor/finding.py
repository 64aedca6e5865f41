"""What a check of `gateway doctor` says."""

from dataclasses import dataclass
from typing import Literal

State = Literal["ok", "note", "wrong"]


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing looked at. `mend` is what to type or do, empty where nothing is to be done."""

    check: str
    state: State
    text: str
    mend: str = ""


def wrong(check: str, error: Exception) -> Finding:
    """Of an error whose text says what is the matter, and after the semicolon what to do."""
    text, _, mend = str(error).partition("; ")
    return Finding(check, "wrong", text, mend)
