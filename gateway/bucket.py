"""A token bucket: how fast the bulk connection may send, where somebody asked for less than it could."""

from typing import Final

_BURST_S: Final = 0.1  # what may be sent at once, in time at the given rate


class Bucket:
    """Sends may go into debt by one message, and wait until it is paid. `rate` may be set by any thread."""

    def __init__(self) -> None:
        self.rate: float | None = None  # bytes a second; None: as fast as the link goes
        self._paid_ns = 0  # when what was sent will have been paid for

    def spend(self, size: int, now_ns: int) -> None:
        """Something was sent."""
        rate = self.rate
        if rate is not None:
            self._paid_ns = max(self._paid_ns, now_ns - int(_BURST_S * 1e9)) + int(size / rate * 1e9)

    def opens_ns(self) -> int:
        """When the next message may go; 0 if nothing holds it."""
        return 0 if self.rate is None else self._paid_ns
