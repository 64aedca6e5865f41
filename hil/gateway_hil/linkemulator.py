"""A slow, lossy link between two network namespaces: rate, delay, depth and loss as stated, per direction.

    with LinkEmulator(rate_bps=1e6, delay_s=0.03, depth=65536) as link:
        hub = link.far.popen("python", "-m", "http.server", "--bind", link.far_address)
        link.near.run("curl", link.far_address)
        link.link_loss()            # silence in both directions, as 4G or a NAT does it
        link.link_loss(False)
        link.forget()               # the same for ever, for the TCP connections there are now

Each side is a namespace (`gateway_hil.netns`) with a TUN interface; a thread carries IP packets from one to
the other through one `Fifo` a direction. The kernel's own netem is absent where this is needed most.
`python -m gateway_hil.linkemulator --help` is the same by hand.
"""

import argparse
import contextlib
import os
import random
import select
import sys
import threading
import time
from types import TracebackType
from typing import Final, Self

from gateway_hil.fifo import Fifo, LinkCounters
from gateway_hil.nat import Nat
from gateway_hil.netns import Namespace

NETWORK: Final = "198.18.0"  # RFC 2544: for benchmarks of networks
INTERFACE: Final = "link0"
_PACKET_MAX: Final = 65_536
_READS: Final = 64  # packets of one direction before the other has its turn


class LinkEmulator:
    """Use it as a context manager; verbs and counters may be used from any thread.

    `delay_s` is one way. `depth` is in octets of IP packets, for each direction. `here` makes the near side
    the namespace of the caller instead of a new one; two such links need `subnet`s of their own, 0 to 63.
    `tcp` is the congestion control of connections over it, "cubic" say, instead of this machine's usual one.
    Raises OSError where namespaces or TUN interfaces are forbidden, ValueError for impossible settings.
    """

    def __init__(
        self,
        rate_bps: float = 1e6,
        delay_s: float = 0.03,
        depth: int = 65_536,
        *,
        loss: float = 0.0,
        seed: int = 0,
        here: bool = False,
        subnet: int = 0,
        tcp: str = "",
    ) -> None:
        if not 0 <= subnet < 64:
            raise ValueError(f"subnet {subnet} is none of 0 to 63")
        self.up = Fifo(rate_bps, delay_s, depth, loss, random.Random(f"up {seed}"))
        self.down = Fifo(rate_bps, delay_s, depth, loss, random.Random(f"down {seed}"))
        self._here = here
        self._tcp = tcp
        self._interface = INTERFACE if subnet == 0 else f"link{subnet}"
        self.near_address, self.far_address = (f"{NETWORK}.{4 * subnet + side}" for side in (1, 2))
        self.undeliverable = 0  # packets that the other side's kernel refused (its interface is down)
        self.forgotten = 0  # packets of connections that the NAT forgot
        self._nat = Nat()
        self._lock = threading.Lock()
        self._stopping = False
        self._thread = threading.Thread(target=self._run, name="link", daemon=True)

    @property
    def counters(self) -> dict[str, LinkCounters]:
        """What became of the packets: "up" from near to far, "down" the other way."""
        return {"up": self.up.counters, "down": self.down.counters}

    def link_loss(self, lost: bool = True, *, only: str = "") -> None:
        """The fault verb: nothing gets through and nobody is told, until `link_loss(False)`.

        In both directions or `only` "up" or "down".
        """
        with self._lock:
            for fifo in self._ways(only):
                fifo.cut(time.monotonic_ns(), lost)
        self._wake()

    def forget(self) -> int:
        """As a NAT does: TCP connections that there are get nothing through any more. How many they are."""
        with self._lock:
            return self._nat.forget()

    def change(
        self,
        *,
        rate_bps: float | None = None,
        delay_s: float | None = None,
        depth: int | None = None,
        loss: float | None = None,
        only: str = "",
    ) -> None:
        """Other settings from now on, for both directions or `only` "up" or "down"."""
        with self._lock:
            for fifo in self._ways(only):
                fifo.change(time.monotonic_ns(), rate_bps=rate_bps, delay_s=delay_s, depth=depth, loss=loss)
        self._wake()

    def _ways(self, only: str) -> list[Fifo]:
        return [{"up": self.up, "down": self.down}[only]] if only else [self.up, self.down]

    def __enter__(self) -> Self:
        with contextlib.ExitStack() as stack:
            self.near = Namespace(here=self._here)
            stack.callback(self.near.close)
            self.far = Namespace()
            stack.callback(self.far.close)
            self._near_tun = self.near.open_tun(self._interface, f"{self.near_address}/30")
            stack.callback(os.close, self._near_tun)
            self._far_tun = self.far.open_tun(self._interface, f"{self.far_address}/30")
            stack.callback(os.close, self._far_tun)
            if self._tcp:
                self._choose_tcp(self.near, self.near_address)
                self._choose_tcp(self.far, self.far_address)
            self._wake_read, self._wake_write = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
            stack.callback(os.close, self._wake_read)
            stack.callback(os.close, self._wake_write)
            stack.callback(self._join)
            self._thread.start()
            self._opened = stack.pop_all()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._opened.close()

    def _choose_tcp(self, side: Namespace, address: str) -> None:
        """By route, ip-route(8): the sysctl of a namespace refuses what not every user of it may choose."""
        found = side.run("ip", "-o", "route", "show", "dev", self._interface).split()
        side.run("ip", "route", "change", *found, "dev", self._interface, "congctl", self._tcp)

    def _join(self) -> None:
        self._stopping = True
        self._wake()
        if self._thread.is_alive():
            self._thread.join()

    def _wake(self) -> None:
        with contextlib.suppress(BlockingIOError):  # full: it is awake already
            os.write(self._wake_write, b"!")

    def _run(self) -> None:
        """Carry packets; sleep until one comes or is due. By select: poll and epoll count milliseconds."""
        with contextlib.suppress(PermissionError):  # on a busy machine it would be late
            os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(1))
        ways = ((self._near_tun, self.up, self._far_tun), (self._far_tun, self.down, self._near_tun))
        while not self._stopping:
            with self._lock:
                for source, fifo, target in ways:
                    self._fetch(source, fifo)
                    self._deliver(fifo, target)
                dues = [due_ns for _, fifo, _ in ways if (due_ns := fifo.due_ns()) is not None]
            pause_s = max(0.0, (min(dues) - time.monotonic_ns()) / 1e9) if dues else None
            select.select([self._near_tun, self._far_tun, self._wake_read], [], [], pause_s)
            with contextlib.suppress(BlockingIOError):
                os.read(self._wake_read, 4096)

    def _fetch(self, source: int, fifo: Fifo) -> None:
        for _ in range(_READS):
            try:
                packet = os.read(source, _PACKET_MAX)
            except OSError:  # nothing there; or the interface was taken down, which has nothing to say
                return
            if self._nat.passes(packet):
                fifo.put(time.monotonic_ns(), packet)
            else:
                self.forgotten += 1

    def _deliver(self, fifo: Fifo, target: int) -> None:
        for packet in fifo.take(time.monotonic_ns()):
            try:
                os.write(target, packet)
            except OSError:
                self.undeliverable += 1


def main(arguments: list[str] | None = None) -> int:
    """A link by hand: says how to run commands on either side, takes orders on stdin, counts at the end."""
    parser = argparse.ArgumentParser(prog="python -m gateway_hil.linkemulator", description=main.__doc__)
    parser.add_argument("--rate-bps", type=float, default=1e6, help="bit/s each way (default: 1e6)")
    parser.add_argument("--delay-ms", type=float, default=30.0, help="one way (default: 30)")
    parser.add_argument("--depth", type=int, default=65_536, help="octets each way (default: 65536)")
    parser.add_argument("--loss", type=float, default=0.0, help="share of packets lost, 0 to 1")
    parser.add_argument("--seed", type=int, default=0, help="makes the loss repeatable")
    parser.add_argument("--here", action="store_true", help="the near side is this shell's network")
    chosen = parser.parse_args(arguments)
    try:
        link = LinkEmulator(
            chosen.rate_bps, chosen.delay_ms / 1e3, chosen.depth,
            loss=chosen.loss, seed=chosen.seed, here=chosen.here,
        )  # fmt: skip
        with link:
            for name, side in (("near", link.near), ("far", link.far)):
                print(f"{name} {getattr(link, name + '_address')}: {' '.join(side.command('COMMAND'))}")
            print("orders: cut, mend, rate BPS, delay MS, loss SHARE, counters; Ctrl-D ends", flush=True)
            with contextlib.suppress(KeyboardInterrupt):
                for line in sys.stdin:
                    _obey(link, line.split())
            _print_counters(link)
    except (OSError, ValueError) as error:
        print(f"{parser.prog}: {error}", file=sys.stderr)
        return 1
    return 0


def _obey(link: LinkEmulator, words: list[str]) -> None:
    try:
        match words:
            case ["cut"] | ["mend"]:
                link.link_loss(words == ["cut"])
            case ["rate", bps]:
                link.change(rate_bps=float(bps))
            case ["delay", ms]:
                link.change(delay_s=float(ms) / 1e3)
            case ["loss", share]:
                link.change(loss=float(share))
            case ["counters"]:
                _print_counters(link)
            case _:
                print(f"no order: {' '.join(words)!r}", flush=True)
    except ValueError as error:
        print(error, flush=True)


def _print_counters(link: LinkEmulator) -> None:
    for name, counters in link.counters.items():
        print(f"{name}: {counters}", flush=True)


if __name__ == "__main__":
    sys.exit(main())
