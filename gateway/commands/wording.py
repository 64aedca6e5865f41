"""Words that several commands print alike."""

from collections.abc import Sequence
from typing import Final

_SHOWN: Final = 12


def listed(words: Sequence[str], otherwise: str = "none") -> str:
    """Words with commas between them; of a long list its beginning, and how many more there are."""
    if len(words) > _SHOWN:
        words = [*words[:_SHOWN], f"and {len(words) - _SHOWN} more"]
    return ", ".join(words) or otherwise
