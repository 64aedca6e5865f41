"""The complete gateway on ext4 whose disk fails below it: what was kept is at the hub, once, or declared.

Box and hub are the real processes, with a disk each. Every test compares sets over all that was made so far.
Virtual time: waiting for a retry costs nothing.
"""

import contextlib
import errno
import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final

import pytest

from gateway.errors import HubError
from gateway.hub.journal import Journal, Row, RowKind
from gateway_hil.bench import Bench
from gateway_hil.boxprocesses import processes_of
from gateway_hil.emulators import Sds011
from gateway_hil.faults import parse_script, play
from gateway_hil.guest.disk import FaultyDisk, extents
from gateway_hil.wholebox.cable import Cable
from gateway_hil.wholebox.pole import Pole
from gateway_hil.wholebox.standin import StandIn, arrived, faults_of

Note = Callable[[str], None]

BACK_S: Final = 90.0  # a hub whose disk failed asks for 30 s of patience
SITE: Final = '[spool]\nquota_mib = [4, 4, 16, 16]\n\n[sensor.dust]\ndriver = "sds011"\nport = "{}"\n'
DUST: Final = 1
HOUR_S: Final = 3600.0
ALERT_S: Final = 0.05
ALERTS_S: Final = 0.004  # fast enough to fill segments of 1 MiB with commits of one page


class Lab:
    """A box with a real sensor and a stand-in for another, its hub, and the disks of both."""

    def __init__(self, folder: Path, pole: Pole, box_disk: FaultyDisk, hub_disk: FaultyDisk) -> None:
        self.pole = pole
        self.box_disk = box_disk
        self.hub_disk = hub_disk
        self.site = ""
        self._running: dict[str, int] = {}
        self.standin = StandIn(pole.state / "run" / "core.sock", DUST)

    @property
    def spool(self) -> Path:
        """The spool's folder."""
        return self.pole.state / "spool"

    def play(self, script: str) -> None:
        """Faults of `box` and `hub`, their disks."""
        disks = {"box": self.box_disk, "hub": self.hub_disk}
        play(parse_script(script, disks), disks)

    def produced(self) -> dict[int, int]:
        """The highest number that core gave out, by lane."""
        lanes = self.pole.status()["lanes"]
        return {number: lane["produced"] for number, lane in enumerate(lanes.values())}

    def well(self) -> dict[str, int]:
        """Let everything arrive, then compare sets; what was declared lost so far, by reason.

        Fails unless the sensor goes on, too, and no process of the box had to be started again.
        """
        self.standin.rest(BACK_S)
        before = self.produced()
        self.pole.until(lambda: self.produced()[2] > before[2], 30, "the sensor is heard again")
        self.pole.until(lambda: self.pole.waiting() == 0, BACK_S, "the hub has all that waited")
        # The sensor goes on meanwhile: of what came in since, the hub may lack something.
        for _ in range(20):
            lanes, produced = arrived(self.pole.hub_folder / "journal.sqlite"), self.produced()
            wrong = faults_of(lanes, produced, self.standin)
            if not wrong:
                break
            time.sleep(0.3)
        assert wrong == []
        assert self.processes() == self._running, "a process was started again"
        self.standin.go_on()
        declared: dict[str, int] = {}
        for lane in lanes.values():
            for reason, count in lane.gaps.items():
                declared[reason] = declared.get(reason, 0) + count
        # "forgotten" would be a hub that acked what it had not.
        assert set(declared) <= {"evicted", "corrupt"}
        return declared

    def start(self) -> None:
        """Start the box, and wait until all of it runs."""
        self.pole.start(self.site)
        self.pole.until(lambda: len(self.processes()) == 3, 30, "core, supervisor and a worker run")
        self._running = self.processes()

    def processes(self) -> dict[str, int]:
        """What runs of the box, by module."""
        return {module: pid for pid, module, _ in processes_of(self.pole.state / "plan.json")}

    def pages(self, lane: str) -> int:
        """How many pages a lane's files have."""
        return sum(path.stat().st_size for path in (self.spool / lane).iterdir()) // 4096

    def reboot(self) -> None:
        """The box's power goes and comes back; its disk is well again."""
        self.pole.cut_power()
        self.box_disk.mend()  # unmounting also empties the page cache
        self.start()

    def said(self, unit: str, *words: str) -> bool:
        """Whether a unit has said something with these words in it."""
        return any(all(word in line["text"] for word in words) for line in self.pole.said(unit))

    def hub_said(self, *words: str) -> bool:
        """Whether the hub has."""
        lines = (self.pole.folder / "hub.log").read_text(encoding="utf-8").splitlines()
        return any(all(word in line for word in words) for line in lines)


@pytest.fixture(scope="module")
def lab(bench: Bench, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    """One for all tests of this file, since starting takes longer than most faults."""
    folder = tmp_path_factory.mktemp("disk")
    with contextlib.ExitStack() as stack:
        box_disk = stack.enter_context(FaultyDisk(folder / "box", mib=128, seed=bench.seed))
        hub_disk = stack.enter_context(FaultyDisk(folder / "hub", mib=128, seed=bench.seed))
        cable = stack.enter_context(Cable())
        dust = stack.enter_context(bench.plugged(Sds011, every_s=1.0, seed=bench.seed))
        pole = stack.enter_context(Pole(folder, cable.far, cable.far_address, slowness=bench.slowness))
        lab = Lab(folder, pole, box_disk, hub_disk)
        lab.site = SITE.format(dust.port)
        lab.start()
        stack.enter_context(lab.standin)
        yield lab


pytestmark = [pytest.mark.needs("disk", "network", "usb-serial", "time-travel"), pytest.mark.time_travel]


def test_verbs_do_what_they_say(tmp_path: Path, note: Note) -> None:
    """What each fault is to a program. Also what the spool's design rests on."""
    with FaultyDisk(tmp_path / "disk", mib=32) as disk:
        path = disk.folder / "file"
        path.write_bytes(bytes(1 << 20))
        fd = os.open(path, os.O_RDWR)
        os.fsync(fd)

        def write() -> None:
            os.pwrite(fd, b"x" * 4096, 4096)
            os.fdatasync(fd)

        disk.sync_errors()
        assert refusal(write) == errno.EIO
        os.fdatasync(fd)  # a failed sync forgets what it failed to write: never trust the second
        disk.sync_errors(False)
        disk.disk_full()
        assert refusal(lambda: (disk.folder / "more").write_bytes(b"12345")) == errno.ENOSPC
        disk.disk_full(False)
        disk.read_only()
        write()  # ext4 takes it, syncs it, and does not write it
        assert on_medium(disk, path, 4096) != b"x" * 16
        disk.read_only(False)
        os.fdatasync(fd)
        assert on_medium(disk, path, 4096) == b"x" * 16
        disk.bad_page(3, below=disk.folder)
        pages = [refusal(lambda at=at: os.pread(fd, 1, at)) for at in range(0, 1 << 20, 4096)]  # type: ignore[misc]
        assert pages.count(errno.EIO) == 3
        disk.write_errors()
        assert refusal(write) == errno.EIO
        with contextlib.suppress(OSError):
            (disk.folder / "more").write_bytes(b"x")
        os.sync()
        os.close(fd)
        disk.write_errors(False)
        disk.mend()
        disk.gone()
        assert refusal(path.read_bytes) == errno.EIO
        disk.gone(False)
        disk.mend()
        assert len(path.read_bytes()) == 1 << 20


def refusal(do: Callable[[], object]) -> int | None:
    """The kernel's error; None if there was none."""
    try:
        do()
    except OSError as error:
        return error.errno
    return None


def on_medium(disk: FaultyDisk, path: Path, at: int) -> bytes:
    """16 bytes of a file as they are beneath the file system."""
    sector, _ = next(extents(path))
    with disk.image.open("rb") as image:
        image.seek(sector * 512 + at)
        return image.read(16)


def test_one_lanes_files_lie_in_a_dead_region(lab: Lab, note: Note) -> None:
    """It moves to other blocks by itself, and the other lanes do not feel it.

    Then the power goes, so that only what is on the medium counts; the hub is away all the time.
    """
    declared = lab.well()
    lab.pole.kill("hub")
    before, started_s = lab.produced(), time.monotonic()
    lab.box_disk.sync_errors(below=lab.spool / "2")
    lab.pole.until(lambda: lab.said("core", "telemetry", "Input/output error"), 10, "core says why")
    failed = lab.produced()
    lab.pole.until(lambda: lab.produced()[2] > failed[2] + 50, 30, "telemetry is kept elsewhere")
    moved_s, after = time.monotonic() - started_s, lab.produced()
    assert after[0] - before[0] > 0.9 * moved_s / ALERT_S, "alerts did not go on"
    lab.reboot()
    lab.pole.start_hub()
    assert lab.well() == declared
    note(f"telemetry moved within {moved_s:.1f} s, {after[0] - before[0]} alerts kept meanwhile")


def test_the_disk_is_mounted_read_only_for_a_while(lab: Lab, note: Note) -> None:
    lab.well()
    lab.box_disk.read_only()
    before = lab.produced()
    time.sleep(4)
    after = lab.produced()
    # A commit under way when it happened may be on either side of it.
    assert all(after[lane] - before[lane] <= 2 for lane in after), (before, after)
    assert lab.said("core", "Read-only file system")
    lab.box_disk.read_only(False)
    note(f"declared {lab.well()}")


def test_the_disk_is_full_for_a_while(lab: Lab, note: Note) -> None:
    """And the hub is away, so that nothing can be forgotten: what matters least is given up, in the open."""
    lab.well()
    lab.pole.kill("hub")
    lab.box_disk.disk_full()
    lab.standin.every_s[0] = ALERTS_S
    before = lab.produced()
    time.sleep(8)
    alerts = lab.produced()[0] - before[0]
    lab.standin.every_s[0] = ALERT_S
    assert alerts > 1000, "alerts did not find room"
    lab.box_disk.disk_full(False)
    lab.pole.start_hub()
    note(f"{alerts} alerts kept on a full disk; declared {lab.well()}")


def test_pages_that_cannot_be_read(lab: Lab, note: Note) -> None:
    """While records wait for the hub. What is damaged is declared, the rest comes."""
    before = lab.well()
    lab.pole.kill("hub")
    time.sleep(20)
    lab.standin.rest(BACK_S)
    lab.box_disk.bad_page(40, below=lab.spool / "0")
    lab.pole.start_hub()
    lab.standin.go_on()
    after = lab.well()
    lost = after.get("corrupt", 0) - before.get("corrupt", 0)
    assert 0 < lost < 40, "each page holds one commit, of an alert"
    note(f"40 pages of 1 in {int(lab.pages('0') / 40)} bad: {lost} alerts declared corrupt")


def test_no_write_reaches_the_medium_then_a_reboot(lab: Lab, note: Note) -> None:
    """ext4 gives up its journal. After the reboot the spool is whole, and nothing kept is missing."""
    lab.well()
    lab.box_disk.write_errors()
    lab.pole.until(lambda: lab.said("core", "refuses"), 30, "core says why")
    before = lab.produced()
    time.sleep(8)
    assert lab.produced() == before
    lab.box_disk.write_errors(False)
    lab.reboot()
    note(f"declared {lab.well()}")


def test_the_disk_is_pulled_out_then_a_reboot(lab: Lab, note: Note) -> None:
    lab.well()
    lab.play("at 0 s: gone box for 8 s")
    lab.reboot()
    note(f"declared {lab.well()}")


@pytest.mark.parametrize("step_s", [5 * HOUR_S, -9 * HOUR_S, None], ids=["forward", "back", "1970"])
def test_the_wall_clock_is_set(lab: Lab, step_s: float | None, note: Note) -> None:
    """Order and sets do not feel it."""
    lab.well()
    true_s = time.time() - time.monotonic()
    time.clock_settime(time.CLOCK_REALTIME, 1000.0 if step_s is None else time.time() + step_s)
    try:
        time.sleep(15)  # core looks at the clock every 10 s
        lab.well()
    finally:
        time.clock_settime(time.CLOCK_REALTIME, true_s + time.monotonic())
    time.sleep(15)
    note(f"declared {lab.well()}")


@pytest.mark.parametrize("fault", ["disk_full", "sync_errors", "read_only"])
def test_the_hubs_disk_fails_and_heals(lab: Lab, fault: str, note: Note) -> None:
    """Nothing is acked that is not on its disk; boxes are told to come back, and do."""
    lab.well()
    getattr(lab.hub_disk, fault)()
    lab.pole.until(lambda: lab.hub_said("boxes keep their records"), 30, "the hub says why")
    time.sleep(5)
    waiting = lab.pole.waiting()
    assert waiting is not None
    assert waiting > 100, "acked while its disk refused"
    # Nor any of what was on its way when the disk failed.
    on_disk = arrived(lab.pole.hub_folder / "journal.sqlite")
    acked = [lane["acked"] for lane in lab.pole.status()["lanes"].values()]
    assert all(acked[lane] < came.next_seq for lane, came in on_disk.items()), (acked, on_disk)
    getattr(lab.hub_disk, fault)(False)
    started_s = time.monotonic()
    declared = lab.well()
    note(
        f"{fault}: {waiting} records waited; all there after {time.monotonic() - started_s:.0f} s; {declared}"
    )


def test_the_hubs_disk_dies_and_is_mended(lab: Lab, note: Note) -> None:
    """ext4 gave up its journal: the hub is started again after that of its disk is mended."""
    lab.well()
    lab.hub_disk.write_errors()
    lab.pole.until(lambda: lab.pole.waiting() > 100, 60, "nothing is acked")  # type: ignore[operator]
    lab.pole.kill("hub")
    lab.hub_disk.mend()
    lab.pole.start_hub()
    note(f"declared {lab.well()}")


def test_a_journal_on_a_disk_that_was_mounted_read_only(tmp_path: Path, note: Note) -> None:
    """SQLite overwrites its log in place, ext4 takes that into memory, and the sync says that all is well."""
    stream = ("elm-1", b"12345678", 2)

    def row(seq: int) -> Row:
        return Row(stream, seq, 1, seq, RowKind.FRAME, bytes(4000), 0)

    with FaultyDisk(tmp_path / "disk") as disk:
        journal = Journal(disk.folder / "journal.sqlite")
        for seq in range(1, 1201):  # beyond a checkpoint: the log begins anew in the same blocks
            journal.append(row(seq))
            journal.commit()
        disk.read_only()
        journal.append(row(1201))
        with pytest.raises(HubError, match="read-only"):
            journal.commit()
        with pytest.raises(HubError, match="read-only"):
            journal.head(stream)
        disk.read_only(False)
        assert journal.head(stream) == 1200
        journal.append(row(1201))
        journal.commit()
        journal.close()
