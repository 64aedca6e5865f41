"""A hub's owner with a signing key, and a downlink without core or thread whose deeds are written down."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from gateway.clock import ClockSource, ClockState
from gateway.disk import Disk
from gateway.downlink import Deeds, Downlink
from gateway.keys import Enrolment, enrolment_path, write_enrolment, z85_encode
from gateway.order import Order, pack_order, signed
from gateway.plan import Plan
from gateway.records import Item, unpack_record
from gateway.wire import Command

BOX = "elm-1"
NOW_S = 1_800_000_000
HOUR_S = 3600


class Owner:
    """Who has the hub's signing key."""

    def __init__(self, secret: bytes = b"owner" * 6 + b"!!") -> None:
        self._key = Ed25519PrivateKey.from_private_bytes(secret)
        self.public = self._key.public_key().public_bytes_raw().hex()

    def sign(self, content: bytes) -> bytes:
        return self._key.sign(signed(content))

    def raw(self, content: bytes) -> Command:
        return Command(1, self.sign(content), content)

    def order(
        self,
        name: str,
        number: int = 1,
        arguments: Mapping[str, int] | None = None,
        box: str = BOX,
        not_after_s: int = NOW_S + HOUR_S,
    ) -> Command:
        return self.raw(pack_order(Order(box, order_id(number), not_after_s, name, arguments or {})))

    def throttle(self, number: int = 1, bytes_per_s: int = 500, for_s: int = 600) -> Command:
        return self.order("throttle", number, {"bytes_per_s": bytes_per_s, "for_s": for_s})


def order_id(number: int) -> bytes:
    return number.to_bytes(8, "big")


@dataclass
class HandClock:
    """Both clocks, set by hand."""

    at: ClockState = field(
        default_factory=lambda: ClockState(b"boot---1", 10**12, NOW_S * 10**9, ClockSource.NTP, 500)
    )

    def mono_ns(self) -> int:
        return self.at.mono_ns

    def state(self) -> ClockState:
        return self.at

    def passes(self, seconds: float) -> None:
        passed_ns = int(seconds * 1e9)
        self.at = replace(self.at, mono_ns=self.at.mono_ns + passed_ns, wall_ns=self.at.wall_ns + passed_ns)

    def steps(self, seconds: float) -> None:
        """The wall clock is set."""
        self.at = replace(self.at, wall_ns=self.at.wall_ns + int(seconds * 1e9))

    def boots(self, source: ClockSource = ClockSource.NTP, off_s: float = 60) -> None:
        """A new life of the box, ten seconds old, so long after the last."""
        wall_ns = self.at.wall_ns + int(off_s * 1e9)
        self.at = ClockState(self.at.boot[:-1] + b"2", 10**10, wall_ns, source, 500)


class Life:
    """One life of a core's downlink. `say` hands it orders; what it did and said stands in lists."""

    def __init__(
        self,
        state: Path,
        clock: HandClock,
        site: Path | None = None,
        disk: Disk | None = None,
        plan: Plan | None = None,
    ) -> None:
        self.rates: list[int | None] = []
        self.plans: list[Plan] = []
        self.results: list[dict[str, Any]] = []
        deeds = Deeds(self._result, self.rates.append, self.plans.append)
        self.downlink = Downlink(plan or Plan(BOX, state, ()), site, clock, deeds, disk)

    def _result(self, told: bytes, item: Item) -> None:
        import msgpack

        result = unpack_record(msgpack.unpackb(item[1]), {"sensors": []})
        assert bytes.fromhex(result["id"]) == told
        assert result["ok"] == (result["outcome"] == "done")
        self.results.append(result)

    def obey(self, *commands: Command) -> list[str]:
        """Obey; the outcomes of the results that came of it."""
        before = len(self.results)
        for command in commands:
            self.downlink.obey(command)
        return [result["outcome"] for result in self.results[before:]]

    @property
    def counters(self) -> Mapping[str, int]:
        return self.downlink.counters


def enrol(state: Path, hub_sign: str) -> None:
    write_enrolment(enrolment_path(state), Enrolment(BOX, "tcp://hub:7711", z85_encode(bytes(32)), hub_sign))
