"""A disk that hangs, refuses, is read-only, is exchanged: what is said, bounded memory, nothing lost."""

import asyncio
import contextlib
import errno
import itertools
import logging
import os
import re
import subprocess
import sys
import threading
import time
import tracemalloc
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NoReturn

import msgpack
import pytest

from gateway import spool as spool_module
from gateway.clock import SystemClock
from gateway.disk import Disk
from gateway.errors import SpoolError
from gateway.link import HELD_MAX, LinkClient
from gateway.linkserver import LinkServer, Peer
from gateway.plan import Plan, PortPlan, SpoolPlan
from gateway.reading import Lane
from gateway.records import Item
from gateway.spool import PENDING_MAX, Kept, Spool

PLAN = SpoolPlan(quota_mib=(2, 2, 16, 16), window_s=(0.0, 0.0, 0.0, 0.0), reserve_mib=0)


class TroubledDisk(Disk):
    """The real disk; calls on files of `lanes` hang while `goes` is clear, and fail with `error`, if any."""

    def __init__(self) -> None:
        self.goes = threading.Event()
        self.goes.set()
        self.error = 0
        self.lanes = "0123"
        self.attempts: list[float] = []
        self._attempted = threading.Semaphore(0)

    def _trouble(self, path: Path) -> None:
        if path.parent.name in self.lanes:
            self.goes.wait(20)
            if self.error:
                self.attempts.append(time.monotonic())
                self._attempted.release()
                raise OSError(self.error, os.strerror(self.error))

    def until_attempted(self, times: int) -> None:
        for _ in range(times):
            assert self._attempted.acquire(timeout=15)

    def is_attempted(self, within_s: float) -> bool:
        return self._attempted.acquire(timeout=within_s)

    def create(self, path: Path, size: int) -> None:
        self._trouble(path)
        super().create(path, size)

    def write(self, fd: int, content: bytes, at: int) -> None:
        self._trouble(Path(f"/proc/self/fd/{fd}").readlink())
        super().write(fd, content, at)


class Keeping:
    """A spool on a troubled disk, and what it called kept."""

    def __init__(self, folder: Path) -> None:
        self.disk = TroubledDisk()
        self.folder = folder
        self.on_kept: Callable[[Kept], None] = lambda kept: None
        self._changed = threading.Condition()
        self._highest: dict[tuple[int, int], int] = {}
        self.spool = Spool(folder, PLAN, b"tabletab", SystemClock(), self._kept, self.disk)

    def _kept(self, kept: Kept) -> None:
        with self._changed:
            for incarnation, n in kept.marks.items():
                self._highest[kept.lane, incarnation] = n
            self._changed.notify_all()
        self.on_kept(kept)

    def until_kept(self, lane: int, n: int) -> None:
        with self._changed:
            assert self._changed.wait_for(lambda: self._highest.get((lane, 77), 0) >= n, 15)


@pytest.fixture
def keeping(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Keeping]:
    monkeypatch.setattr(spool_module, "_RETRY_S", (0.02, 0.08))
    keeping = Keeping(tmp_path / "spool")
    yield keeping
    keeping.disk.goes.set()
    keeping.spool.close()


def items(count: int, start: int = 0) -> list[Item]:
    return [(10**15 + n, msgpack.packb([1, 1, n])) for n in range(start, start + count)]


def test_memory_is_bounded_while_the_disk_hangs_and_other_lanes_go_on(keeping: Keeping) -> None:
    spool = keeping.spool
    keeping.disk.lanes = "23"
    keeping.disk.goes.clear()
    tracemalloc.start()
    try:
        before, _ = tracemalloc.get_traced_memory()
        for lane in (Lane.TELEMETRY, Lane.BULK):
            for n in range(0, 20_000, 100):
                spool.put(lane, 77, n + 1, items(100, n))
        after, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert PENDING_MAX < after - before < 2.5 * PENDING_MAX  # two lanes
    taken = {lane: spool._seen[77, lane] for lane in (Lane.TELEMETRY, Lane.BULK)}
    assert spool.counters["refused"] == 40_000 - sum(taken.values())
    for lane in (Lane.ALERT, Lane.STATE):
        assert spool.put(lane, 77, 1, items(1))
        keeping.until_kept(lane, 1)
    keeping.disk.goes.set()
    for lane, n in taken.items():
        keeping.until_kept(lane, n)
        assert spool.put(lane, 77, n + 1, items(100))
        keeping.until_kept(lane, n + 100)


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (errno.ENOSPC, "free some space"),
        (errno.EROFS, "read-only.*may be dying; replace it"),
        (errno.EIO, "cannot be read or written.*replace it"),
        (errno.ENODEV, "is gone.*plugged in"),
        (errno.ENOENT, "folder is gone.*mounted"),
        (errno.EACCES, "owner"),
        (errno.ENOTCONN, "dmesg"),
    ],
)
def test_a_refusal_is_said_once_in_a_persons_words_and_heals(
    keeping: Keeping, error: int, words: str, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "spool")
    keeping.spool.put(2, 77, 1, items(5))
    keeping.until_kept(2, 5)
    keeping.disk.error = error
    keeping.spool.put(2, 77, 6, items(5))
    keeping.disk.until_attempted(4)
    refuses = keeping.spool.status()["lanes"]["telemetry"]["refuses"]
    keeping.disk.error = 0
    keeping.until_kept(2, 10)
    said = [record.getMessage() for record in caplog.records]
    assert [text.partition(":")[0] for text in said] == ["spool lane telemetry"] * 2
    assert re.search(words, said[0])
    assert said[0].endswith(refuses)
    assert said[1].endswith("well again")
    assert keeping.spool.status()["lanes"]["telemetry"]["refuses"] is None
    assert keeping.spool.logs[2].counters["append_errors"] >= 4


def test_a_disk_that_refuses_is_tried_ever_less_often(keeping: Keeping) -> None:
    keeping.disk.error = errno.EIO
    keeping.spool.put(1, 77, 1, items(1))
    keeping.disk.until_attempted(6)
    pauses = [after - before for before, after in itertools.pairwise(keeping.disk.attempts)]
    assert all(pause >= least for pause, least in zip(pauses, (0.02, 0.04, 0.08, 0.08), strict=False))
    keeping.disk.error = 0
    keeping.until_kept(1, 1)


def test_nothing_is_written_to_another_disk_in_place_of_this_one(keeping: Keeping) -> None:
    spool = keeping.spool
    spool.put(0, 77, 1, items(1))
    keeping.until_kept(0, 1)
    keeping.folder.rename(keeping.folder.with_name("old card"))
    for lane in Lane:
        (keeping.folder / str(int(lane))).mkdir(parents=True)
    (keeping.folder / "lock").touch()
    keeping.disk.error = errno.EIO
    spool.put(0, 77, 2, items(1))
    keeping.disk.until_attempted(1)
    with pytest.raises(SpoolError, match="another disk is mounted"):
        while True:  # until the thread has looked
            spool.check()
            time.sleep(0.001)
    assert not keeping.disk.is_attempted(0.2)  # more than twice the longest pause
    keeping.disk.error = 0
    spool.put(0, 77, 3, items(1))
    spool.finish()
    assert keeping.spool.kept_of(77)[0] == 1
    assert [path.name for path in keeping.folder.rglob("*") if path.is_file()] == ["lock"]


def test_what_came_later_is_not_kept_in_place_of_what_was_given_up_at_the_end(keeping: Keeping) -> None:
    """A worker forgets all up to the n that is kept, so nothing below it may be missing."""
    spool = keeping.spool
    keeping.disk.error = errno.ENOSPC
    spool.put(1, 77, 1, items(1))
    keeping.disk.until_attempted(1)
    spool.put(1, 77, 2, items(1))  # waits behind the first
    spool._writers[1].stop()
    keeping.disk.error = 0
    spool._writers[1].join(15)
    assert spool.kept_of(77)[1] == spool.logs[1].next_seq - 1


def test_what_workers_cannot_hand_over_is_counted_and_the_rest_is_all_kept(keeping: Keeping) -> None:
    """Link and spool together: bulk's disk hangs for long, alerts of the same worker pass."""

    async def scene() -> None:
        loop = asyncio.get_running_loop()

        def on_put(peer: Peer, lane: int, first_n: int, run: list[Item]) -> bool:
            return keeping.spool.put(lane, 77, first_n, run)

        server = LinkServer(
            keeping.folder.with_name("core.sock"), on_put, lambda _: keeping.spool.kept_of(77)
        )

        def tell(kept: Kept) -> None:
            for peer in server.by_incarnation.values():
                peer.kept(kept.lane, kept.marks[77])
            server.resume(kept.lane)

        keeping.on_kept = lambda kept: loop.call_soon_threadsafe(tell, kept) and None
        server.start()
        client = LinkClient(keeping.folder.with_name("core.sock"), "worker", 0)
        task = asyncio.create_task(client.run())
        keeping.disk.lanes = "3"
        keeping.disk.goes.clear()
        produced = 3 * HELD_MAX[Lane.BULK]
        for n in range(produced):
            client.put(Lane.BULK, 10**15 + n, msgpack.packb([1, 1, n]))
            if n % 100 == 0:
                await asyncio.sleep(0)  # the worker's loop turns
        dropped = client.dropped[Lane.BULK]
        assert dropped > 0
        client.put(Lane.ALERT, 10**15, msgpack.packb([2, 1, 0]))
        await asyncio.to_thread(keeping.until_kept, Lane.ALERT, 1)
        keeping.disk.goes.set()
        assert await client.flush(15)
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task
        server.close()
        keeping.on_kept = lambda kept: None
        assert keeping.spool.kept_of(77)[Lane.BULK] == produced - dropped
        assert keeping.spool.logs[Lane.BULK].next_seq - 1 == produced - dropped
        assert keeping.spool.counters["numbers_missing"] == 0

    asyncio.run(scene())


def test_status_says_what_waits_and_for_how_long_also_after_a_restart(keeping: Keeping) -> None:
    now = time.monotonic_ns()
    keeping.spool.put(2, 77, 1, [(now - 60 * 10**9, b"\x93\x01\x01\x05")])
    keeping.until_kept(2, 1)
    keeping.spool.put(2, 77, 2, [(now, b"\x93\x01\x01\x05")])
    keeping.until_kept(2, 2)
    status = keeping.spool.status()
    lane = status["lanes"]["telemetry"]
    assert (lane["produced"], lane["acked"], lane["held"], lane["disk_bytes"] % (8 << 20)) == (2, 0, 2, 0)
    assert 60 <= lane["oldest_s"] < 90
    assert lane["commit_ms"][0] > 0
    assert lane["commit_ms"][1] >= lane["commit_ms"][0]
    assert status["wear"]["written_bytes"] == 4 * 4096  # two pages of header, two commits
    assert status["lanes"]["bulk"]["oldest_s"] is None
    keeping.spool.logs[2].ack(1)
    assert keeping.spool.status()["lanes"]["telemetry"]["oldest_s"] < 30
    keeping.spool.close()
    keeping.spool = again = Spool(keeping.folder, PLAN, b"tabletab", SystemClock(), lambda kept: None)
    for _ in range(500):  # the lane's thread looks back first of all
        if again.status()["lanes"]["telemetry"]["oldest_s"] is not None:
            break
        time.sleep(0.01)
    assert again.status()["lanes"]["telemetry"]["oldest_s"] < 30


_READ_ONLY = """
import sys
from pathlib import Path
from gateway.doctor.state import state_folder
from gateway.plan import load_plan
print([(f.state, f.text, f.mend) for f in state_folder(load_plan(Path(sys.argv[1])))])
"""


@pytest.mark.slow
def test_a_disk_that_is_read_only_at_the_start_is_said_by_core_and_by_doctor(
    tmp_path: Path, not_run: Callable[[str], NoReturn]
) -> None:
    if subprocess.run(["unshare", "-Urm", "true"], capture_output=True, check=False).returncode != 0:
        not_run("this machine forbids unprivileged mount namespaces (unshare -Urm)")
    state, plan = tmp_path / "s", tmp_path / "plan.json"
    state.mkdir()
    Plan("b", state, (PortPlan(0, "replay:x", "serial", ()),), SpoolPlan()).save(plan)
    mount = (
        f"mount -t tmpfs tmpfs {state} && mkdir {state}/spool && mount -o remount,ro {state} "
        f"&& {sys.executable} -c '{_READ_ONLY}' {plan} && exec {sys.executable} -m gateway.core {plan}"
    )
    done = subprocess.run(
        ["unshare", "-Urm", "sh", "-c", mount], capture_output=True, text=True, check=False, timeout=30
    )
    assert done.returncode == 1
    assert "mounted read-only" in done.stdout
    assert "replace it" in done.stdout
    assert "the spool cannot be opened: the disk refuses to write (Read-only file system)" in done.stderr
    assert "the card may be dying; replace it" in done.stderr
    assert "Traceback" not in done.stderr
