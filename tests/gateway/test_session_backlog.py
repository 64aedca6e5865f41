"""A backlog on one connection: bundles, windows, versions, throttles; and a hub that dies over and over."""

import random
import tempfile
from pathlib import Path
from typing import Any

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule
from session_kit import TABLES, VirtualClock, clock, logs

from gateway.backlog import READ_AHEAD
from gateway.bucket import Bucket
from gateway.bundling import unbundled
from gateway.disk import PAGE, Disk
from gateway.errors import WireError
from gateway.lane import LaneLog
from gateway.patience import Patience
from gateway.recover import LaneFormat
from gateway.segment import Payload, StoredFrame
from gateway.session import Session
from gateway.wire import Ack, Bundle, Command, Frame, Gap, Message, Ping, Welcome

__all__ = ["clock", "logs"]  # fixtures


def v2(logs: list[LaneLog], clock: VirtualClock, role: str = "B", **more: Any) -> Session:
    session = Session(role, logs, b"12345678", TABLES, clock, **more)
    session.heard(Welcome(7, {}, 100_000, 30.0, protocol=2))
    return session


def fill(log: LaneLog, frames: int, size: int = 400) -> None:
    for n in range(frames):
        log.append([Payload(2, b"%06d" % n * (size // 6))])


def test_a_backlog_goes_as_bundles_and_alerts_never(logs: list[LaneLog], clock: VirtualClock) -> None:
    fill(logs[2], 20)
    fill(logs[0], 3)
    sent = list(v2(logs, clock).to_send())
    assert sent
    assert all(isinstance(message, Bundle) for message in sent)
    seq = 1
    for bundle in sent:
        assert isinstance(bundle, Bundle)
        for frame in unbundled(bundle):
            assert frame.first_seq == seq
            assert frame.payload == b"%06d" % (seq // 2) * 66
            seq += frame.count
    assert seq == 41
    assert {type(m) for m in v2(logs, clock, "U").to_send()} == {Frame}


def test_a_bundle_ends_before_a_gap_and_goes_on_behind_it(logs: list[LaneLog], clock: VirtualClock) -> None:
    fill(logs[2], 80)
    logs[2].evict_oldest()
    sent = list(v2(logs, clock).to_send())
    assert isinstance(sent[0], Gap)
    assert isinstance(sent[1], Bundle)
    assert sent[1].first_seq == sent[0].last_seq + 1


def test_damage_between_two_frames_parts_the_bundle(
    logs: list[LaneLog], clock: VirtualClock, tmp_path: Path
) -> None:
    fill(logs[2], 4)
    (segment,) = (tmp_path / "2").glob("*.seg")
    content = segment.read_bytes()
    at = content.index(b"000002000002")
    with segment.open("r+b") as file:
        file.seek(at)
        file.write(b"damage")
    sent = list(v2(logs, clock).to_send())
    assert [type(message) for message in sent] == [Bundle, Gap, Bundle]
    assert isinstance(sent[1], Gap)
    assert (sent[1].first_seq, sent[1].last_seq, sent[1].reason) == (5, 6, "corrupt")


def test_a_bundle_that_the_socket_refused_is_offered_again(logs: list[LaneLog], clock: VirtualClock) -> None:
    fill(logs[2], 5)
    session = v2(logs, clock)
    stream = session.to_send()
    first = next(stream)
    stream.close()
    fill(logs[2], 5)
    again = list(session.to_send())
    assert again[0] == first
    assert isinstance(again[1], Bundle)
    assert isinstance(first, Bundle)
    assert again[1].first_seq == first.first_seq + first.count


def test_an_alert_goes_before_a_bundle_that_was_made_already(
    logs: list[LaneLog], clock: VirtualClock
) -> None:
    fill(logs[1], 30)
    session = v2(logs, clock, "U")
    stream = session.to_send()
    next(stream)
    stream.close()
    logs[0].append([Payload(1, b"shot")])
    first = next(iter(session.to_send()))
    assert isinstance(first, Frame)
    assert first.payload == b"shot"


def test_an_alert_waits_for_no_window_only_for_the_credit(logs: list[LaneLog], clock: VirtualClock) -> None:
    fill(logs[1], 60)
    session = v2(logs, clock, "U")
    before = len(list(session.to_send()))
    assert before < 60, "the window is full"
    logs[0].append([Payload(1, b"shot")])
    assert [m.payload for m in session.to_send() if isinstance(m, Frame)] == [b"shot"]
    assert session.window.under_way <= 100_000


@pytest.mark.parametrize("ours", [(1, 1), (1, 2), (1, 3)])
def test_a_hub_of_version_1_gets_no_bundles(
    logs: list[LaneLog], clock: VirtualClock, ours: tuple[int, int]
) -> None:
    fill(logs[2], 5)
    session = Session("B", logs, b"12345678", TABLES, clock, protocols=ours)
    assert session.hello().protocols == ours
    session.heard(Welcome(7, {}, 100_000, 10.0))
    assert session.protocol == 1
    assert {type(m) for m in session.to_send()} == {Frame}
    with pytest.raises(WireError) as caught:
        session.heard(Command(7, bytes(64), b"x"))
    assert caught.value.reason == "version"


@pytest.mark.parametrize("chosen", [1, 2, 5])
def test_a_hub_that_chooses_a_version_nobody_offered_is_named(
    logs: list[LaneLog], clock: VirtualClock, chosen: int
) -> None:
    session = Session("B", logs, b"12345678", TABLES, clock, protocols=(3, 4))
    with pytest.raises(WireError) as caught:
        session.heard(Welcome(7, {}, 100_000, 10.0, protocol=chosen))
    assert caught.value.reason == "version"
    assert not session.welcomed


def test_an_alert_without_an_ack_ends_the_connection_sooner_and_sooner_less(
    logs: list[LaneLog], clock: VirtualClock
) -> None:
    logs[0].append([Payload(1, b"shot")])
    patience = Patience()
    waited = []
    for _ in range(5):
        session = v2(logs, clock, "U", patience=patience)
        assert list(session.to_send())
        waited.append((session.due_ns() - clock.now_ns) / 1e9)
        clock.now_ns = session.due_ns()
        session.check_alive()
        clock.now_ns += 1
        with pytest.raises(WireError) as caught:
            session.check_alive()
        assert caught.value.reason == "alert_unacked"
    assert waited == [4.0, 8.0, 16.0, 30.0, 30.0]
    session = v2(logs, clock, "U", patience=patience)
    list(session.to_send())
    session.heard(Ack(7, 0, 1, 100_000))
    assert patience.within_s == 4.0
    clock.now_ns += 9 * 10**9
    session.check_alive()


def test_a_word_from_the_hub_is_a_sign_of_life_for_an_alert_too(
    logs: list[LaneLog], clock: VirtualClock
) -> None:
    logs[0].append([Payload(1, b"shot")])
    session = v2(logs, clock, "U")
    list(session.to_send())
    clock.now_ns += 3 * 10**9
    session.heard(Ping(7))
    clock.now_ns += 3 * 10**9
    session.check_alive()


def test_a_throttled_connection_sends_no_faster_and_says_when_it_goes_on(
    logs: list[LaneLog], clock: VirtualClock
) -> None:
    for _ in range(60):
        logs[2].append([Payload(1, random.Random(1).randbytes(952))])  # nothing to pack: 1000 on the wire
    bucket = Bucket()
    bucket.rate = 2000.0
    session = v2(logs, clock, bucket=bucket)
    begin, sent = clock.now_ns, 0
    while clock.now_ns < begin + 10 * 10**9:
        frames = [message for message in session.to_send() if isinstance(message, Frame)]
        sent += len(frames)
        if frames:
            session.heard(Ack(7, 2, frames[-1].first_seq, 100_000))
        assert session.due_ns() > clock.now_ns, "no busy loop"
        clock.now_ns = session.due_ns()
    assert 19 <= sent <= 22
    bucket.rate = None
    assert len(list(session.to_send())) > 1


def test_what_was_read_ahead_is_bounded(logs: list[LaneLog], clock: VirtualClock) -> None:
    for _ in range(6):
        logs[2].append([Payload(1, random.Random(2).randbytes(15_000)) for _ in range(5)])
    session = v2(logs, clock)
    for _ in session.to_send():
        ahead = [item for item in session._backlog._ahead if isinstance(item, StoredFrame)]
        assert sum(len(frame.content) for frame in ahead) <= READ_AHEAD


class UplinkMachine(RuleBasedStateMachine):
    """Box and an honest hub over a transport that loses whatever is under way whenever it likes."""

    def __init__(self) -> None:
        super().__init__()
        self._folder = tempfile.TemporaryDirectory()
        self.clock = VirtualClock()
        folder = Path(self._folder.name)
        self.logs = [
            LaneLog(
                Disk(),
                folder / str(n),
                LaneFormat(n, b"12345678", 17 * PAGE, 1000, lambda _: {}, lambda _: {}),
            )
            for n in range(4)
        ]
        self.produced: dict[int, list[int]] = {2: [], 3: []}
        self.applied: dict[int, list[int]] = {2: [], 3: []}  # at the hub, in order
        self.to_hub: list[Message] = []
        self.to_box: list[Message] = []
        self.session: Session | None = None
        self.number = 0

    @rule(lane=st.sampled_from([2, 3]), count=st.integers(1, 5))
    def append(self, lane: int, count: int) -> None:
        first = self.logs[lane].append([Payload(count, b"x" * 50)])
        self.produced[lane] += range(first, first + count)

    @rule()
    def connect(self) -> None:
        self.to_hub, self.to_box = [], []
        self.number += 1
        self.session = Session("B", self.logs, b"12345678", {}, self.clock)
        acked = {lane: len(applied) for lane, applied in self.applied.items()}
        self.session.heard(Welcome(self.number, acked, 400, 10.0))

    @precondition(lambda self: self.session)
    @rule(most=st.integers(1, 4))
    def box_sends(self, most: int) -> None:
        assert self.session is not None
        for taken, message in enumerate(self.session.to_send()):
            if taken == most:
                break  # offered but not handed to the transport
            self.to_hub.append(message)

    @precondition(lambda self: self.to_hub)
    @rule(ack=st.booleans())
    def hub_hears(self, ack: bool) -> None:
        frame = self.to_hub.pop(0)
        if not isinstance(frame, Frame):
            return
        applied = self.applied[frame.lane]
        assert frame.first_seq <= len(applied) + 1, "a jump without a declared gap"
        applied += range(len(applied) + 1, frame.first_seq + frame.count)
        if ack:
            self.to_box.append(Ack(frame.session, frame.lane, len(applied), 400))

    @precondition(lambda self: self.to_box)
    @rule()
    def box_hears(self) -> None:
        assert self.session is not None
        self.session.heard(self.to_box.pop(0))

    @invariant()
    def hub_has_a_prefix_and_the_box_holds_the_rest(self) -> None:
        for lane, produced in self.produced.items():
            assert self.applied[lane] == produced[: len(self.applied[lane])]
            assert self.logs[lane].acked <= len(self.applied[lane])

    def teardown(self) -> None:
        self.connect()
        for _ in range(10_000):
            before = len(self.to_hub)
            self.box_sends(4)
            if len(self.to_hub) == before:
                break
            while self.to_hub:
                self.hub_hears(True)
            while self.to_box:
                self.box_hears()
        assert self.applied == self.produced
        for log in self.logs:
            log.close()
        self._folder.cleanup()


TestUplinkMachine = UplinkMachine.TestCase
TestUplinkMachine.settings = settings(max_examples=30, stateful_step_count=30, deadline=None)
