"""The road to the hub: TCP over the link emulator, at the stated rate, and through a cut nobody tells of."""

import socket
import threading
import time
from collections.abc import Callable, Iterator

import pytest

from gateway_hil.bench import Bench, CannotHere
from gateway_hil.linkemulator import LinkEmulator
from gateway_hil.netns import why_not

pytestmark = pytest.mark.needs("network")

PORT = 7
OCTETS = 48_000
RATE_BPS = 512_000.0


@pytest.fixture
def link() -> Iterator[LinkEmulator]:
    """A link that carries 48,000 octets in three quarters of a second."""
    if reason := why_not():
        raise CannotHere(reason)
    with LinkEmulator(RATE_BPS, 0.02, 16_384) as link:
        yield link


class Sink(threading.Thread):
    """Takes one connection on the far side and counts what comes."""

    def __init__(self, link: LinkEmulator) -> None:
        super().__init__(daemon=True)
        self.octets = 0
        self.came = threading.Condition()
        with link.far.entered():
            self._listener = socket.create_server((link.far_address, PORT))
        self.start()

    def run(self) -> None:
        """Until the other side closes."""
        with self._listener, self._listener.accept()[0] as connection:
            while chunk := connection.recv(4096):
                with self.came:
                    self.octets += len(chunk)
                    self.came.notify_all()

    def until(self, octets: int, within_s: float) -> bool:
        """Whether so many came in time."""
        with self.came:
            return self.came.wait_for(lambda: self.octets >= octets, within_s)


def test_tcp_has_the_rate_and_outlives_a_silent_cut(
    link: LinkEmulator, bench: Bench, note: Callable[[str], None]
) -> None:
    sink = Sink(link)
    with link.near.entered():
        near = socket.create_connection((link.far_address, PORT), 10 * bench.slowness)
    with near:
        near.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)  # what is sent in the cut leaves in it
        start_s = time.monotonic()
        near.sendall(bytes(OCTETS))
        assert sink.until(OCTETS, 10 * bench.slowness)
        took_s = time.monotonic() - start_s
        # 1448 octets of payload in packets of 1500: what TCP can have at most.
        assert took_s >= OCTETS * 8 / RATE_BPS - 0.1
        note(f"TCP had {OCTETS * 8 / took_s / RATE_BPS:.0%} of the rate, headers not counted")

        link.link_loss()
        near.sendall(bytes(1000))  # nobody tells: the kernel takes it
        assert not sink.until(OCTETS + 1, 0.5)
        link.link_loss(False)
        assert sink.until(OCTETS + 1000, 10 * bench.slowness), "sent again by TCP"
    sink.join(10 * bench.slowness)
    assert not sink.is_alive()
    assert link.up.counters.dropped_cut > 0
