"""Suspicion of a wrong line speed: bytes come again and again, and nothing ever makes sense.

One burst of noise is no reason for it, and neither is a device that speaks seldom but clearly: it takes some
hundred bytes, spread over several seconds, and not one good frame since the port was opened.
"""

from typing import Final

OCTETS: Final = 300
SECONDS: Final = 5  # different ones in which bytes came


class Mishearing:
    """The bytes of one port since it was opened, as long as none of them made sense."""

    def __init__(self, opened_ns: int) -> None:
        self.opened_ns = opened_ns
        self._octets = 0
        self._seconds = 0
        self._last = -1

    def heard(self, t_ns: int, octets: int) -> bool:
        """Count bytes that came; whether they are now, for the first time, enough to say something."""
        was = self._is_enough()
        self._octets += octets
        second = t_ns // 10**9
        self._seconds += second != self._last
        self._last = second
        return self._is_enough() and not was

    def _is_enough(self) -> bool:
        return self._octets >= OCTETS and self._seconds >= SECONDS
