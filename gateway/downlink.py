"""The downlink: a box judges what its hub sends, does it at most once, and says what became of it.

Nothing is believed but the signature of the key that was pinned at enrolment. What is done is one of a
closed list (`gateway.order.ARGUMENTS`), noted in the ledger before it is begun. Whenever core dies, the
next one ends what was begun:

    died                                        the next core says
    before the ledger had it                    nothing: the hub sends it again, and it is done then
    ping, throttle: after that                  done: that one write is the deed; a throttle holds again
    reload: before the new plan was in place    interrupted; the old plan goes on
    reload: after that                          done: it runs by the new plan, as the plan's hash shows
    lamp, flash, auto: before the lamp answered interrupted
    before the result was on the disk           the same result again; the hub knows it by its id

All that waits for a disk or a child runs in a thread, which is there from the first order on. So is
`cryptography`, which it loads: 3.3 MiB.
"""

import hashlib
import logging
import queue
import threading
from collections import Counter, OrderedDict
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

from gateway import lamporders
from gateway.clock import Clock, ClockSource
from gateway.disk import Disk
from gateway.errors import ConfigError, WireError
from gateway.keys import enrolment_path, read_enrolment
from gateway.ledger import Entry, Ledger, Phase, ThrottleUntil
from gateway.log import Condition, say
from gateway.order import LAMP_ORDERS, LIFE_MAX_S, Order, signed, unpack_order
from gateway.plan import Plan, parse_plan
from gateway.pluginchild import run_child
from gateway.reading import BoxCommand, Outcome
from gateway.records import Item, pack_outcome
from gateway.wire import Command

_WAITING_MAX: Final = 32
_ANSWER_AGAIN_S: Final = 60.0  # who sends an order again and again gets one result a minute
_ANSWERED_MAX: Final = 256
_CLOCKS_APART_S: Final = 3600  # the hub's and the box's, when it is judged how long an order lives
_log = logging.getLogger("downlink")


@dataclass(frozen=True, slots=True)
class Deeds:
    """What core does for the downlink; all are called in the downlink's thread.

    `take_over` puts a new plan in the place of the old one and starts core anew; if it cannot, it calls
    `Downlink.not_taken_over`.
    """

    put_result: Callable[[bytes, Item], None]  # order's id, record
    throttle: Callable[[int | None], None]  # bytes a second on the bulk connection; None: as fast as it goes
    take_over: Callable[[Plan], None]


class Downlink:
    """Takes orders from the uplink's thread; `site` is None where core was started from a plan alone."""

    def __init__(
        self, plan: Plan, site: Path | None, clock: Clock, deeds: Deeds, disk: Disk | None = None
    ) -> None:
        self.counters: Counter[str] = Counter()
        self._plan = plan
        self._site = site
        self._clock = clock
        self._deeds = deeds
        self._disk = disk or Disk()
        self._path = plan.state / "orders"
        self._ledger: Ledger | None = None
        self._todo: queue.Queue[Callable[[], None]] = queue.Queue(_WAITING_MAX)
        self._thread: threading.Thread | None = None
        self._starting = threading.Lock()
        self._throttled_until_ns: int | None = None
        self._answered: OrderedDict[bytes, int] = OrderedDict()  # id -> CLOCK_MONOTONIC ns
        self._key = Condition(_log, "downlink")

    def start(self) -> None:
        """End what a core before this one began, in the thread; without orders there is none."""
        if self._path.exists():
            self._do(lambda: None)

    def take(self, command: Command) -> None:
        """Have an order judged and carried out. Never waits; what is too much is counted: it comes again."""
        self._do(lambda: self.obey(command))

    def kept(self, order_ids: Iterable[bytes]) -> None:
        """The results of these orders are on the disk."""
        ids = list(order_ids)
        if ids:
            self._do(lambda: self._told(ids))

    def not_taken_over(self) -> None:
        """The new plan could not be put in the place of the old one."""
        self._do(lambda: self._end_begun(Outcome.FAILED))

    def _do(self, deed: Callable[[], None]) -> None:
        try:
            self._todo.put_nowait(deed)
        except queue.Full:
            self.counters["dropped"] += 1
        with self._starting:
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name="downlink", daemon=True)
                self._thread.start()

    def _run(self) -> None:
        self.resume()
        while True:
            try:
                self._todo.get(timeout=self._throttle_left_s())()
            except queue.Empty:
                self.end_throttle()

    # --- in the thread; tests call these without one ------------------------------------------------

    def resume(self) -> None:
        """End what was begun, tell what was not told, and hold the throttle that still holds."""
        self._end_begun(Outcome.INTERRUPTED)
        for entry in self._book.entries.values():
            if entry.phase is Phase.FINISHED:
                self._answer(entry.id, entry.command, entry.outcome)
        if self._book.throttle is not None:
            self._hold(self._book.throttle)

    @property
    def _book(self) -> Ledger:
        if self._ledger is None:
            self._ledger = Ledger(self._disk, self._path)
        return self._ledger

    def _end_begun(self, outcome: Outcome) -> None:
        for entry in list(self._book.entries.values()):
            if entry.phase < Phase.FINISHED:
                is_taken_over = entry.phase is Phase.TAKING_OVER and entry.proof == _proof(self._plan)
                self._finish(entry, Outcome.DONE if is_taken_over else outcome)

    def obey(self, command: Command) -> None:
        """Judge one order, do it, and answer it if its sender is proven."""
        try:
            order, outcome = self._read(command)
        except WireError as error:
            self.counters[error.reason] += 1
            return
        outcome = outcome or self._refusal(order)
        if outcome is not None:
            self._answer(order.id, order.command, outcome)
        elif (before := self._book.entries.get(order.id)) is not None:
            self.counters["orders_again"] += 1
            if before.phase >= Phase.FINISHED:  # else its result will come
                self._answer(before.id, before.command, before.outcome)
        else:
            self._carry_out(order)

    def _read(self, command: Command) -> tuple[Order, Outcome | None]:
        """The order if its sender is proven, by the pinned key or, without one, by the connection alone."""
        try:
            key = read_enrolment(enrolment_path(self._plan.state)).hub_sign
        except ConfigError as error:
            raise WireError("order_unenrolled", str(error)) from error
        if not key:
            text = "this box was enrolled before hubs signed commands, so none is done; enrol it anew"
            self._key.breaks(f"{text}: gateway hub token --box {self._plan.box}")
            return unpack_order(command.content), Outcome.NOT_PINNED
        self._key.heals()
        # Here, not above: cores of boxes that never get an order do without these megabytes.
        from cryptography.exceptions import InvalidSignature
        from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

        try:
            public = Ed25519PublicKey.from_public_bytes(bytes.fromhex(key))
            public.verify(command.signature, signed(command.content))
        except (InvalidSignature, ValueError) as error:
            raise WireError("order_signature", "not signed by the hub this box is enrolled with") from error
        return unpack_order(command.content), None

    def _refusal(self, order: Order) -> Outcome | None:
        """Why an order is not begun; None for one that may be, or was begun before."""
        if order.box != self._plan.box:
            return Outcome.OTHER_BOX
        if order.id in self._book.entries:
            return None
        if order.command is BoxCommand.UNKNOWN:
            return Outcome.UNKNOWN_COMMAND
        if order.wrong_arguments():
            return Outcome.BAD_ARGUMENTS
        if order.not_after_s <= self._book.forgotten_s:
            return Outcome.EXPIRED  # it may have been done, by a clock that went back since
        now_s = self._now_s()
        if now_s is None:
            if order.command is not BoxCommand.PING:
                return Outcome.CLOCK_UNKNOWN
        elif order.not_after_s < now_s:
            return Outcome.EXPIRED
        elif order.not_after_s > now_s + LIFE_MAX_S + _CLOCKS_APART_S:
            return Outcome.TOO_LONG_LIVED
        if self._book.is_full(now_s or 0):
            return Outcome.TOO_MANY
        if (outcome := lamporders.misfit(self._plan, order)) is not None:
            return outcome
        return Outcome.NO_SITE if order.command is BoxCommand.RELOAD and self._site is None else None

    def _now_s(self) -> int | None:
        now = self._clock.state()
        return None if now.source is ClockSource.NONE else now.wall_ns // 10**9

    def _carry_out(self, order: Order) -> None:
        entry = Entry(order.id, order.not_after_s, order.command)
        if order.command in {BoxCommand.PING, BoxCommand.THROTTLE}:
            entry = replace(entry, phase=Phase.FINISHED, outcome=Outcome.DONE)
        throttle = self._throttle(order) if order.command is BoxCommand.THROTTLE else None
        say(_log, logging.INFO, f"the hub's owner has this box {order.name}", order=order.id.hex())
        try:
            self._book.begin(entry, self._now_s() or 0, throttle)
        except OSError as error:
            self._disk_refuses(error)
            self._answer(order.id, order.command, Outcome.NOT_NOTED)
            return
        if throttle is not None:
            self._hold(throttle)
        if order.command is BoxCommand.RELOAD:
            self._reload(entry)
        elif order.command in LAMP_ORDERS:
            self._finish(entry, lamporders.carry_out(self._plan, order))
        else:
            self._answer(order.id, order.command, Outcome.DONE)

    def _reload(self, entry: Entry) -> None:
        """Compile the site file anew; a plan that differs takes over, which ends this core."""
        assert self._site is not None
        try:
            printed = run_child("gateway.compile", str(self._site), doing=f"checking {self._site}")
            plan = parse_plan(printed, f"the plan of {self._site}")
            if (plan.box, plan.state) != (self._plan.box, self._plan.state):
                raise ConfigError("another box or state folder is no reload; start the gateway anew for that")
        except ConfigError as error:
            say(_log, logging.ERROR, f"{self._site} is not taken over, the old plan goes on: {error}")
            self._finish(entry, Outcome.SITE_WRONG)
            return
        except OSError as error:  # no memory for a child
            say(_log, logging.ERROR, f"{self._site} cannot be checked: {error.strerror}")
            self._finish(entry, Outcome.FAILED)
            return
        if plan == self._plan:
            self._finish(entry, Outcome.DONE)
            return
        try:
            self._book.change(replace(entry, phase=Phase.TAKING_OVER, proof=_proof(plan)))
        except OSError as error:
            self._disk_refuses(error)
            self._finish(entry, Outcome.FAILED)
            return
        self._deeds.take_over(plan)

    def _finish(self, entry: Entry, outcome: Outcome) -> None:
        try:
            self._book.finish(entry.id, outcome)
        except OSError as error:
            self._disk_refuses(error)  # the next core says that it was interrupted
        else:
            self._answer(entry.id, entry.command, outcome)

    def _answer(self, order_id: bytes, command: BoxCommand, outcome: Outcome) -> None:
        """Make a result, unless the same order had one just now."""
        now_ns = self._clock.mono_ns()
        before_ns = self._answered.get(order_id)
        if before_ns is not None and now_ns - before_ns < _ANSWER_AGAIN_S * 1e9:
            self.counters["not_answered_again"] += 1
            return
        self._answered[order_id] = now_ns
        if len(self._answered) > _ANSWERED_MAX:
            self._answered.popitem(last=False)
        self.counters[f"order_{outcome.name.lower()}"] += 1
        self._deeds.put_result(order_id, (now_ns, pack_outcome(command, order_id, outcome)))

    def _told(self, order_ids: list[bytes]) -> None:
        try:
            self._book.told(order_ids)
        except OSError as error:
            self._disk_refuses(error)  # the next core tells them once more

    def _disk_refuses(self, error: OSError) -> None:
        self.counters["disk_errors"] += 1
        say(_log, logging.ERROR, f"{self._path} cannot be written ({error.strerror}); check the disk")

    # --- the throttle ---------------------------------------------------------------------------------

    def _throttle(self, order: Order) -> ThrottleUntil:
        now, for_s = self._clock.state(), order.arguments["for_s"]
        wall_s, mono_s = (at_ns // 10**9 + for_s for at_ns in (now.wall_ns, now.mono_ns))
        return ThrottleUntil(order.arguments["bytes_per_s"], for_s, wall_s, now.boot, mono_s)

    def _hold(self, throttle: ThrottleUntil) -> None:
        now = self._clock.state()
        if now.boot == throttle.boot:
            left_s = throttle.mono_s - now.mono_ns / 1e9
        elif now.source is not ClockSource.NONE:
            left_s = throttle.wall_s - now.wall_ns / 1e9
        else:  # nobody can say how long the box was off
            left_s = throttle.for_s - now.mono_ns / 1e9
        left_s = min(left_s, throttle.for_s)
        self._throttled_until_ns = now.mono_ns + int(left_s * 1e9)
        if left_s <= 0:
            self.end_throttle()
        else:
            self._deeds.throttle(throttle.bytes_per_s)

    def _throttle_left_s(self) -> float | None:
        if self._throttled_until_ns is None:
            return None
        return max(0.0, (self._throttled_until_ns - self._clock.mono_ns()) / 1e9)

    def end_throttle(self) -> None:
        """Lift the throttle: its time is over."""
        self._throttled_until_ns = None
        self._deeds.throttle(None)
        try:
            self._book.end_throttle()
        except OSError as error:
            self._disk_refuses(error)  # its end on the clocks counts also for the next core


def _proof(plan: Plan) -> bytes:
    return hashlib.sha256(plan.text().encode()).digest()[:8]
