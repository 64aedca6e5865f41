"""A NAT that forgets: TCP connections it knew get no packet through any more, and nobody is told.

That is what mobile networks do to a connection that was idle too long, or to all of them when one of the
network's own machines is changed: neither end hears anything, each believes the other to be there. New
connections pass.
"""

from typing import Final

_TCP: Final = 6
_IPV4: Final = 4
Flow = tuple[bytes, bytes]  # the ends, each address and port, in a fixed order


class Nat:
    """Which TCP connections may pass. It is shown every packet of both directions."""

    def __init__(self) -> None:
        self._known: set[Flow] = set()
        self._forgotten: set[Flow] = set()

    def forget(self) -> int:
        """Forget every connection seen so far; how many that were."""
        count = len(self._known)
        self._forgotten |= self._known
        self._known.clear()
        return count

    def passes(self, packet: bytes) -> bool:
        """Whether it lets this IP packet through. What is not TCP always passes."""
        flow = flow_of(packet)
        if flow is None:
            return True
        if flow in self._forgotten:
            return False
        self._known.add(flow)
        return True


def flow_of(packet: bytes) -> Flow | None:
    """The TCP connection that an IPv4 packet belongs to (RFC 791, RFC 9293); None for anything else."""
    if len(packet) < 20 or packet[0] >> 4 != _IPV4 or packet[9] != _TCP:
        return None
    ports_at = 4 * (packet[0] & 15)
    if int.from_bytes(packet[6:8], "big") & 0x1FFF or len(packet) < ports_at + 4:
        return None  # a later fragment has no ports
    one = packet[12:16] + packet[ports_at : ports_at + 2]
    other = packet[16:20] + packet[ports_at + 2 : ports_at + 4]
    return (one, other) if one < other else (other, one)
