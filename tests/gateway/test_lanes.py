"""Who gives up what on a disk that is too small: quotas, floors, the reserve, and every loss declared."""

import tempfile
import threading
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import msgpack
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule
from small_disk import SmallDisk

from gateway.clock import ClockSource
from gateway.errors import SpoolError
from gateway.lanes import Lanes, kinds_of, marks_of
from gateway.plan import SpoolPlan
from gateway.reading import Kind, Lane
from gateway.records import BatchHeader, Item, Source, pack_batch, unpack_batch
from gateway.segment import Lost, Payload, StoredFrame

MIB = 1 << 20
SIZES = (MIB // 4, MIB // 4, MIB // 2, MIB // 2)
PLAN = SpoolPlan(quota_mib=(2, 2, 4, 3), floor_mib=(1, 1, 2, 1), reserve_mib=1)
QUOTAS, FLOORS = (8, 8, 8, 6), (4, 4, 4, 2)  # the same in files
RECORDS, PAYLOADS = 12, 5  # in a payload; in a commit of 15 pages: four or eight to a segment
_BOOT, _TABLE, _NTP = b"bootboot", b"tabletab", ClockSource.NTP


def open_lanes(folder: Path, disk: SmallDisk, plan: SpoolPlan = PLAN) -> Lanes:
    return Lanes(folder, plan, disk, SIZES)


def payload(first: int) -> Payload:
    """Records numbered from `first` on; one in twelve is no reading."""
    items: list[Item] = [
        (10**15, msgpack.packb([Kind.READING if n % 12 else Kind.HEALTH, 1, n, *[2**60] * 110]))
        for n in range(first, first + RECORDS)
    ]
    sources = (Source(7, first, RECORDS),)
    return Payload(RECORDS, pack_batch(BatchHeader(_BOOT, _TABLE, 10**15, 1, _NTP, 1, sources), items))


def commit(lanes: Lanes, lane: Lane) -> None:
    first = lanes.logs[lane].next_seq
    lanes.logs[lane].append([payload(first + part * RECORDS) for part in range(PAYLOADS)])


def fill(lanes: Lanes, lane: Lane, files: int) -> None:
    """Append until a lane has so many files."""
    for _ in range(files * 9):
        if lanes.logs[lane].files >= files:
            return
        commit(lanes, lane)
    raise AssertionError(lanes.logs[lane].files)


def files(lanes: Lanes) -> list[int]:
    return [log.files for log in lanes.logs]


@pytest.fixture
def disk() -> SmallDisk:
    return SmallDisk(64 * MIB)


@pytest.fixture
def lanes(tmp_path: Path, disk: SmallDisk) -> Iterator[Lanes]:
    lanes = open_lanes(tmp_path / "spool", disk)
    yield lanes
    lanes.close()


def test_a_lane_at_its_quota_gives_up_its_own_oldest(lanes: Lanes, disk: SmallDisk) -> None:
    fill(lanes, Lane.BULK, 6)
    others = files(lanes)[:3]
    for _ in range(20):
        commit(lanes, Lane.BULK)
    assert files(lanes) == [*others, 6]
    assert lanes.logs[Lane.BULK].counters["records_evicted"] > 0


def test_on_a_full_disk_the_least_important_lane_above_its_floor_gives_first(
    lanes: Lanes, disk: SmallDisk
) -> None:
    fill(lanes, Lane.BULK, 3)
    fill(lanes, Lane.TELEMETRY, 6)
    disk.others = disk.capacity - disk.used
    fill(lanes, Lane.ALERT, 5)
    # A file of bulk's gave room for two of alerts; then bulk is at its floor, and telemetry's turn came.
    assert files(lanes) == [5, 1, 5, FLOORS[Lane.BULK]]


def test_a_more_important_lane_gives_only_to_one_below_its_floor(lanes: Lanes, disk: SmallDisk) -> None:
    fill(lanes, Lane.STATE, 6)
    fill(lanes, Lane.BULK, 2)
    disk.others = disk.capacity - disk.used
    fill(lanes, Lane.TELEMETRY, 2)  # 512 KiB: two of state's
    assert files(lanes)[Lane.STATE] == FLOORS[Lane.STATE]
    for _ in range(20):
        commit(lanes, Lane.TELEMETRY)  # goes on with what it has
    assert files(lanes)[1:] == [FLOORS[Lane.STATE], 2, 2]


def test_a_lane_above_its_floor_takes_nothing_from_a_more_important_one(
    lanes: Lanes, disk: SmallDisk
) -> None:
    fill(lanes, Lane.BULK, FLOORS[Lane.BULK])
    fill(lanes, Lane.TELEMETRY, 8)
    disk.others = disk.capacity - disk.used
    for _ in range(30):
        commit(lanes, Lane.BULK)
    assert files(lanes)[2:] == [8, FLOORS[Lane.BULK]]


def test_alerts_give_to_none(lanes: Lanes, disk: SmallDisk) -> None:
    fill(lanes, Lane.ALERT, 8)
    for lane in (Lane.STATE, Lane.TELEMETRY, Lane.BULK):
        fill(lanes, lane, 2)
    disk.others = disk.capacity - disk.used
    for _ in range(30):
        for lane in (Lane.STATE, Lane.TELEMETRY, Lane.BULK):
            commit(lanes, lane)
    assert files(lanes) == [8, 2, 2, 2]
    assert lanes.logs[Lane.ALERT].counters["records_evicted"] == 0


def test_blank_files_go_before_records(lanes: Lanes, disk: SmallDisk) -> None:
    fill(lanes, Lane.TELEMETRY, 6)
    lanes.logs[Lane.TELEMETRY].ack(lanes.logs[Lane.TELEMETRY].next_seq - 1)
    assert files(lanes)[Lane.TELEMETRY] == 6  # the active one; what the outage made stays for the next one
    for _ in range(5):
        assert lanes.logs[Lane.TELEMETRY].give_room(1) > 0
    assert lanes.logs[Lane.TELEMETRY].give_room(1) == 0
    assert files(lanes)[Lane.TELEMETRY] == 1
    assert lanes.logs[Lane.TELEMETRY].counters["records_evicted"] == 0


def test_the_reserve_stays_free_but_for_alerts_and_floors(lanes: Lanes, disk: SmallDisk) -> None:
    disk.others = disk.capacity - disk.used - MIB // 2  # half of the reserve is gone already
    fill(lanes, Lane.ALERT, 2)
    fill(lanes, Lane.STATE, 2)
    assert disk.free_bytes(Path()) == 0
    disk.others = disk.capacity - disk.used - 2 * MIB
    fill(lanes, Lane.TELEMETRY, FLOORS[Lane.TELEMETRY] - 1)
    disk.others = disk.capacity - disk.used - 2 * MIB
    for _ in range(80):
        commit(lanes, Lane.TELEMETRY)
    assert disk.free_bytes(Path()) == MIB
    assert lanes.logs[Lane.TELEMETRY].counters["records_evicted"] > 0


def test_a_reserve_that_others_used_up_costs_a_lane_no_more_than_it_takes(
    lanes: Lanes, disk: SmallDisk
) -> None:
    fill(lanes, Lane.BULK, 6)
    fill(lanes, Lane.STATE, FLOORS[Lane.STATE])
    disk.others = disk.capacity - disk.used  # far below the reserve
    fill(lanes, Lane.STATE, FLOORS[Lane.STATE] + 1)
    assert files(lanes)[Lane.BULK] == 5


def test_alerts_go_on_where_all_others_are_down_to_two_files(tmp_path: Path) -> None:
    disk = SmallDisk(4 * MIB)
    lanes = open_lanes(tmp_path / "spool", disk)
    fill(lanes, Lane.BULK, 2)
    fill(lanes, Lane.TELEMETRY, 2)
    disk.others = disk.capacity - disk.used
    for _ in range(10):
        commit(lanes, Lane.ALERT)
    assert files(lanes)[2:] == [2, 1]
    assert lanes.logs[Lane.ALERT].counters["records_evicted"] == 0
    lanes.close()


def test_a_lane_with_nothing_to_give_up_says_so_and_goes_on_when_there_is_room(tmp_path: Path) -> None:
    disk = SmallDisk(64 * MIB)
    lanes = open_lanes(tmp_path / "spool", disk)
    disk.others = disk.capacity - disk.used
    with pytest.raises(SpoolError, match=r"No space left.*free some space"):
        for _ in range(10):
            commit(lanes, Lane.TELEMETRY)
    disk.others = 0
    commit(lanes, Lane.TELEMETRY)
    lanes.close()


def test_a_second_file_is_made_early_and_nothing_given_up_for_it(lanes: Lanes, disk: SmallDisk) -> None:
    log = lanes.logs[Lane.TELEMETRY]
    for _ in range(4):
        commit(lanes, Lane.TELEMETRY)
        log.prepare()
    assert log.files == 1  # not half full yet
    commit(lanes, Lane.TELEMETRY)
    disk.others = disk.capacity - disk.used
    log.prepare()
    assert log.files == 1
    disk.others = 0
    log.prepare()
    log.prepare()
    assert log.files == 2
    disk.others = disk.capacity - disk.used
    for _ in range(30):
        commit(lanes, Lane.TELEMETRY)
    assert files(lanes) == [1, 1, 2, 1]


def test_a_lower_quota_takes_effect_with_the_next_segment(tmp_path: Path, disk: SmallDisk) -> None:
    lanes = open_lanes(tmp_path / "spool", disk)
    fill(lanes, Lane.TELEMETRY, 8)
    lanes.close()
    lanes = open_lanes(tmp_path / "spool", disk, SpoolPlan(quota_mib=(2, 2, 1, 3)))
    for _ in range(10):
        commit(lanes, Lane.TELEMETRY)
    assert files(lanes)[Lane.TELEMETRY] == 2
    lanes.close()


def test_a_failed_opening_lets_go_of_the_folder(tmp_path: Path) -> None:
    disk = SmallDisk(64 * MIB)
    make_folder = disk.make_folder

    def broken(path: Path) -> None:
        if path.name == "2":
            raise OSError(5, "Input/output error")
        make_folder(path)

    disk.make_folder = broken  # type: ignore[method-assign]
    with pytest.raises(OSError, match="Input/output"):
        open_lanes(tmp_path / "spool", disk)
    disk.make_folder = make_folder  # type: ignore[method-assign]
    open_lanes(tmp_path / "spool", disk).close()


def test_another_disk_in_place_of_this_one_is_noticed(lanes: Lanes, tmp_path: Path) -> None:
    assert not lanes.moved()
    (tmp_path / "spool").rename(tmp_path / "card")
    with pytest.raises(FileNotFoundError):
        lanes.moved()
    (tmp_path / "spool").mkdir()
    (tmp_path / "spool" / "lock").touch()
    assert lanes.moved()


@pytest.mark.slow
def test_four_threads_a_hub_and_others_on_one_small_disk(tmp_path: Path) -> None:
    """Lanes take from each other while all of them append and the hub acks: each record once, or declared."""
    disk = SmallDisk(12 * MIB)
    lanes = open_lanes(tmp_path / "spool", disk)
    received: list[Counter[int]] = [Counter() for _ in Lane]
    ended = threading.Event()

    def append(lane: Lane) -> None:
        for _ in range(150):
            commit(lanes, lane)

    def deliver() -> None:
        while not ended.is_set():
            disk.others = (disk.others + MIB // 4) % (6 * MIB)
            for log, got in zip(lanes.logs, received, strict=True):
                for found in log.peek(log.acked, 4096):
                    got.update(range(found.first_seq, found.last_seq + 1))
                    log.ack(found.last_seq)
            ended.wait(0.01)

    with ThreadPoolExecutor() as pool:
        hub = pool.submit(deliver)
        for appending in [pool.submit(append, lane) for lane in Lane]:
            appending.result(60)
        ended.set()
        hub.result(60)
    for log, got in zip(lanes.logs, received, strict=True):
        while log.held:
            for found in log.peek(log.acked, 1 << 20):
                got.update(range(found.first_seq, found.last_seq + 1))
                log.ack(found.last_seq)
        assert got == Counter(range(1, 150 * PAYLOADS * RECORDS + 1))
    assert disk.used <= disk.capacity
    assert sum(log.counters["records_evicted"] for log in lanes.logs) > 0
    lanes.close()


@given(st.binary(max_size=60))
@example(msgpack.packb({}))
@example(msgpack.packb([0] * 8))
@example(msgpack.packb([[]] * 8))
def test_content_that_is_no_batch_has_no_marks_and_no_kinds(content: bytes) -> None:
    assert marks_of(content) == {}
    assert kinds_of(content) == {}


def test_a_batchs_marks_and_kinds() -> None:
    content = payload(1).content
    assert marks_of(content) == {7: RECORDS}
    assert kinds_of(content) == {Kind.READING: RECORDS - 1, Kind.HEALTH: 1}


LANES = st.sampled_from(list(Lane))


class Policy(RuleBasedStateMachine):
    """Four lanes on a disk that is too small for them and that others fill and empty.

    The model knows all that was appended; a hub that takes what `peek` offers and acks it must end
    with each record once, or declared lost, by number and by Kind.
    """

    @initialize(capacity=st.integers(10, 40))
    def begin(self, capacity: int) -> None:
        self._temporary = tempfile.TemporaryDirectory()
        self.folder = Path(self._temporary.name) / "spool"
        self.disk = SmallDisk(capacity * MIB // 4)
        self.lanes = open_lanes(self.folder, self.disk)
        self.produced = [0] * 4
        self.received: tuple[set[int], ...] = tuple(set() for _ in Lane)
        self.lost: tuple[set[int], ...] = tuple(set() for _ in Lane)
        self.counts = tuple(Counter[int]() for _ in Lane)

    @rule(lane=LANES, times=st.integers(1, 12))
    def append(self, lane: Lane, times: int) -> None:
        for _ in range(times):
            before, free = files(self.lanes), self.disk.free_bytes(self.folder)
            try:
                commit(self.lanes, lane)
                self.produced[lane] += RECORDS * PAYLOADS
            except SpoolError:
                assert before[lane] < 2, "a lane with two files can always go on"
                assert lane != Lane.ALERT or not any(count > 1 for count in before[1:])
            self._check_givers(lane, before)
            after = files(self.lanes)
            grew = after[lane] > before[lane] >= FLOORS[lane] and lane != Lane.ALERT
            if grew and before[:lane] + before[lane + 1 :] == after[:lane] + after[lane + 1 :]:
                assert free - SIZES[lane] >= MIB, "the reserve was touched"

    def _check_givers(self, lane: Lane, before: list[int]) -> None:
        after = files(self.lanes)
        for other in Lane:
            if other == lane or after[other] == before[other]:
                continue
            assert other != Lane.ALERT, "alerts give to none"
            needs = before[lane] < 2
            least = (1 if lane == Lane.ALERT else 2) if needs else FLOORS[other]
            assert after[other] >= least, "a floor was broken"
            assert other > lane or before[lane] < FLOORS[lane], "a more important lane gave"
            more_to_give = [count - floor for count, floor in zip(after, FLOORS, strict=True)]
            assert needs or not any(excess > 0 for excess in more_to_give[max(other, lane) + 1 :])

    @rule(mib=st.integers(0, 40))
    def others_write(self, mib: int) -> None:
        self.disk.others = min(mib * MIB // 4, self.disk.capacity - self.disk.used)

    @rule(lane=LANES, times=st.integers(1, 20))
    def deliver(self, lane: Lane, times: int) -> None:
        log = self.lanes.logs[lane]
        for _ in range(times):
            for found in log.peek(log.acked, 1):
                self._take(lane, found)
                log.ack(found.last_seq)

    def _take(self, lane: Lane, found: StoredFrame | Lost) -> None:
        numbers = range(found.first_seq, found.last_seq + 1)
        if isinstance(found, Lost):
            self.lost[lane].update(numbers)
            self.counts[lane].update(found.counts)
            assert found.reason == "evicted"
        else:
            content = [fields[2] for _, fields in unpack_batch(found.content).records]
            assert content == list(numbers)
            self.received[lane].update(numbers)

    @rule()
    def reopen(self) -> None:
        self.lanes.close()
        self.lanes = open_lanes(self.folder, self.disk)

    @invariant()
    def quotas_hold(self) -> None:
        if hasattr(self, "lanes"):
            assert all(count <= quota for count, quota in zip(files(self.lanes), QUOTAS, strict=True))
            assert self.disk.used <= self.disk.capacity

    def teardown(self) -> None:
        if not hasattr(self, "lanes"):
            return
        for lane, log in zip(Lane, self.lanes.logs, strict=True):
            while log.held:
                self.deliver(lane, 1)
            received, lost = self.received[lane], self.lost[lane]
            assert not received & lost
            assert received | lost == set(range(1, self.produced[lane] + 1))
            assert self.counts[lane] == Counter(Kind.READING if n % 12 else Kind.HEALTH for n in lost)
        self.lanes.close()
        self._temporary.cleanup()


Policy.TestCase.settings = settings(max_examples=40, stateful_step_count=40, deadline=None)
test_policy = pytest.mark.slow(Policy.TestCase)
