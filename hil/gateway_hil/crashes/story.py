"""Stories: what is done to a spool, step by step, drawn from a seed; and the run that does it.

A run holds the real `gateway.lanes.Lanes` over a recording disk, and beside it the account of what
must be there. Its hub is honest and takes each record once.
"""

import errno
import itertools
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from enum import StrEnum
from pathlib import Path
from random import Random
from typing import Final

import msgpack

from gateway.clock import ClockSource
from gateway.errors import SpoolError
from gateway.lanes import Lanes
from gateway.plan import SpoolPlan
from gateway.reading import Kind, Lane
from gateway.records import BatchHeader, Source, pack_batch
from gateway.segment import Lost, Payload, StoredFrame
from gateway_hil.crashes.invariants import Account, Violation, check
from gateway_hil.crashes.medium import PAGE
from gateway_hil.crashes.recorder import Failing, RecordingDisk

FOLDER: Final = Path("/spool")
_BASE_NS: Final = 10**15
_INCARNATIONS: Final = 3
_GAP_HEAD: Final = 16  # of a page of gateway.twopage
_WIDE: Final = 1 << 40  # a number that takes 9 bytes
QUOTA_PAGES: Final = 64  # of a segment: four of them are the least quota there can be
ROOMY: Final = 1 << 40


class Do(StrEnum):
    """What a step can be."""

    APPEND = "append"
    SEND = "send"  # the hub takes something, and the box does not know yet
    WELCOME = "welcome"  # the box hears it for all lanes, and may send from now on
    ACK = "ack"  # the box hears what the hub has
    PREPARE = "prepare"
    REOPEN = "reopen"
    FAIL = "fail"  # the next operation of a kind fails
    FULL = "full"  # no new file can be made from now on
    ROOM = "room"  # and now it can


@dataclass(frozen=True, slots=True)
class Step:
    """One thing that is done. `sizes` are an append's payloads: records, and bytes of padding in each."""

    do: Do
    lane: int = 0
    incarnation: int = 1
    sizes: tuple[tuple[int, int], ...] = ()
    much: int = 0
    operation: str = ""
    errno: int = 0

    def told(self) -> str:
        """The step in words."""
        match self.do:
            case Do.APPEND:
                sizes = " + ".join(f"{count} records of {size} B" for count, size in self.sizes)
                return f"append to lane {self.lane}: {sizes}"
            case Do.SEND:
                return f"the hub takes up to {self.much} B of lane {self.lane}"
            case Do.ACK:
                return f"the hub's ack of lane {self.lane} arrives"
            case Do.FAIL:
                return f"the next {self.operation} fails ({errno.errorcode[self.errno]})"
            case Do.FULL:
                return "the disk is full"
            case Do.ROOM:
                return "the disk has room again"
            case Do.PREPARE:
                return f"lane {self.lane} prepares a blank file"
            case Do.WELCOME:
                return "the hub's Welcome arrives"
            case Do.REOPEN:
                return "close and open again"


@dataclass(frozen=True, slots=True)
class Story:
    """Steps on a spool whose segments have so many pages."""

    seed: int
    segment_pages: int
    steps: tuple[Step, ...]

    def shorter(self, start: int, stop: int) -> "Story":
        """Without some steps."""
        return replace(self, steps=self.steps[:start] + self.steps[stop:])


def draw_story(seed: int, length: int = 40) -> Story:
    """A story from a seed."""
    draw = Random(seed)
    pages = draw.choice((4, 5, 5, 7, 9, QUOTA_PAGES))
    lanes = draw.sample(range(len(Lane)), draw.choice((1, 2, 4)))
    faulty = draw.random() < 0.5
    if pages == QUOTA_PAGES:
        lanes, length = lanes[:1], 2 * length
    steps = [_draw_step(draw, pages, lanes, faulty) for _ in range(length)]
    return Story(seed, pages, tuple(steps))


def _draw_step(draw: Random, pages: int, lanes: list[int], faulty: bool) -> Step:
    lane = draw.choice(lanes)
    dice = draw.random()
    if dice < 0.55:
        return draw_append(draw, lane, pages)
    if dice < 0.59:
        return Step(Do.WELCOME)
    if dice < 0.72:
        return Step(Do.SEND, lane, much=draw.choice((1, 4000, 100_000)))
    if dice < 0.82:
        return Step(Do.ACK, lane)
    if dice < 0.86:
        return Step(Do.PREPARE, lane)
    if dice < 0.90 or not faulty:
        return Step(Do.REOPEN) if dice < 0.90 else draw_append(draw, lane, pages)
    if dice < 0.955:
        operation = draw.choice(
            ("sync", "sync", "write", "create", "rename", "unlink", "sync folder", "read")
        )
        code = errno.ENOSPC if operation == "create" and draw.random() < 0.5 else errno.EIO
        return Step(Do.FAIL, lane, operation=operation, errno=code)
    return Step(Do.FULL if dice < 0.985 else Do.ROOM)


def draw_append(draw: Random, lane: int, pages: int) -> Step:
    """An append that fits a segment of so many pages."""
    room = (pages - 2) * PAGE
    sizes = []
    most = min(room // 3, 16_000) - 200
    likely = (most, most // 2) if pages == QUOTA_PAGES else (draw.randrange(60), most // 2)
    for _ in range(3 if pages == QUOTA_PAGES else draw.choice((1, 1, 2, 3))):
        size = draw.choice((*likely, draw.randrange(1, most)))
        count = max(draw.choice((1, 2, 5)), size // 900 + 1)
        sizes.append((count, size // count))
    return Step(Do.APPEND, lane, draw.randrange(1, _INCARNATIONS + 1), tuple(sizes))


@contextmanager
def determined(seed: int) -> Iterator[None]:
    """Nonces, epochs and file names from a seed, so that a story can be played again to the byte."""
    draw = Random(seed)
    before = (secrets.randbits, secrets.token_hex, secrets.token_bytes)
    secrets.randbits = draw.getrandbits  # type: ignore[assignment]
    secrets.token_hex = lambda size: draw.randbytes(size).hex()  # type: ignore[assignment,misc]
    secrets.token_bytes = draw.randbytes  # type: ignore[assignment]
    try:
        yield
    finally:
        secrets.randbits, secrets.token_hex, secrets.token_bytes = before


def plan_of(story: Story) -> tuple[SpoolPlan, tuple[int, ...]]:
    """The plan and the segments' bytes. A quota is at least a MiB: only big segments reach it."""
    size = story.segment_pages * PAGE
    plan = SpoolPlan(quota_mib=(1, 1, 1, 1), floor_mib=(0, 0, 0, 0), reserve_mib=0)
    return plan, (size,) * len(Lane)


class Run:
    """A spool and its account. Every method may raise Violation."""

    def __init__(self, story: Story, disk: RecordingDisk) -> None:
        self.story = story
        self.disk = disk
        self.accounts = tuple(Account() for _ in Lane)
        self.epoch: bytes | None = None  # once something was appended under it
        self.lanes: Lanes | None = None
        self.settled = False  # the hub's Welcome came, since it was opened
        self._tries = itertools.count()
        disk.writes = self._notice

    def continued(self, disk: RecordingDisk) -> "Run":
        """What happens next, on a disk as a power cut left it."""
        run = Run(self.story, disk)
        run.accounts = tuple(account.fork() for account in self.accounts)
        run.epoch = self.epoch
        run._tries = self._tries  # what is appended is never twice the same
        return run

    def open(self) -> None:
        """Open the spool and hold it against the account."""
        self.settled = False
        try:
            self.open_damaged()
        except OSError:
            if not self.disk.failed:
                raise
            return
        assert self.lanes is not None
        if self.epoch is not None and self.lanes.epoch != self.epoch:
            raise Violation("the epoch changed")
        for lane, (log, account) in enumerate(zip(self.lanes.logs, self.accounts, strict=True)):
            try:
                check(log, account)
            except Violation as violation:
                raise Violation(f"lane {lane}: {violation}") from None

    def open_damaged(self) -> None:
        """Open the spool, whatever there is of it."""
        plan, sizes = plan_of(self.story)
        self.lanes = Lanes(FOLDER, plan, self.disk, sizes)

    def settle(self) -> None:
        """The hub's Welcome. A box whose disk refuses to note it says Hello again later."""
        assert self.lanes is not None
        try:
            for log, account in zip(self.lanes.logs, self.accounts, strict=True):
                log.settle(account.hub_has)
        except OSError:
            if not self.disk.failed:
                raise
            return
        self.settled = True

    def close(self) -> None:
        """Close the spool; every file must be closed then."""
        if self.lanes is not None:
            self.lanes.close()
            self.lanes = None
        if self.disk.open_files:
            raise Violation(f"left open: {', '.join(sorted(self.disk.open_files))}")

    def step(self, step: Step) -> None:
        """Do one step."""
        if self.lanes is None:
            self.open()
            if self.lanes is None:
                return
        match step.do:
            case Do.APPEND:
                self._append(step)
            case Do.SEND:
                self._send(step)
            case Do.ACK:
                account = self.accounts[step.lane]
                self.lanes.logs[step.lane].ack(account.hub_has)
            case Do.WELCOME:
                self.settle()
            case Do.PREPARE:
                self.lanes.logs[step.lane].prepare()
            case Do.REOPEN:
                self.close()
                self.open()
            case Do.FAIL:
                self.disk.failing.append(Failing(step.operation, step.errno))
            case Do.FULL:
                self.disk.capacity = self.disk.used()
            case Do.ROOM:
                self.disk.capacity = ROOMY

    def _notice(self, path: str, content: bytes) -> None:
        """What a lane is about to declare as given up may be lost from now on."""
        if path.endswith("/gap"):
            gap = msgpack.unpackb(content[_GAP_HEAD:], strict_map_key=False)
            account = self.accounts[int(path.split("/")[-2])]
            account.given_up = max(account.given_up, gap.get("last", 0))
            account.uncounted |= "read" in self.disk.failed

    def _append(self, step: Step) -> None:
        assert self.lanes is not None
        account = self.accounts[step.lane]
        payloads, marks = self._payloads(step, account.marks.get(step.incarnation, 0) + 1)
        account.will_append(payloads, marks)
        self.epoch = self.lanes.epoch
        try:
            first_seq = self.lanes.logs[step.lane].append(payloads)
        except SpoolError:
            if not self.disk.failed and self.disk.capacity == ROOMY:
                raise
            return
        account.has_appended(first_seq, payloads, marks)

    def _payloads(self, step: Step, n: int) -> tuple[tuple[Payload, ...], dict[int, int]]:
        """Real batches: the kinds and the marks in them are read back."""
        payloads = []
        for count, size in step.sizes:
            header = BatchHeader(
                boot=b"bootboot",
                table=b"tabtable",
                base_mono_ns=_BASE_NS,
                base_wall_ns=_BASE_NS,
                clock=ClockSource.NTP,
                clock_error_us=10,
                sources=(Source(step.incarnation, n, count),),
            )
            packed = msgpack.packb([Kind.READING, 1, next(self._tries), *[_WIDE + n] * (size // 9)])
            payloads.append(Payload(count, pack_batch(header, [(_BASE_NS, packed)] * count)))
            n += count
        return tuple(payloads), {step.incarnation: n - 1}

    def _send(self, step: Step) -> None:
        assert self.lanes is not None
        account = self.accounts[step.lane]
        if not self.settled:
            return
        try:
            items = self.lanes.logs[step.lane].peek(account.hub_has, step.much)
        except OSError:
            if "read" not in self.disk.failed:
                raise
            return
        for item in items:
            self._hub_takes(account, item)

    def _hub_takes(self, account: Account, item: StoredFrame | Lost) -> None:
        if isinstance(item, StoredFrame):
            kept = account.frames.get(item.first_seq)
            if kept is None or (kept.count, kept.content) != (item.count, item.content):
                raise Violation(f"the hub is sent {item.first_seq}..{item.last_seq}, which was not appended")
        account.hub_takes(item.last_seq)
