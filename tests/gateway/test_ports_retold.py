"""Captures of conversations: whose question is whose, in replays and in `gateway decode`."""

from collections import Counter
from pathlib import Path
from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from loops import in_loop
from stand_in import Core, one_port, sensor_plan
from talk_drivers import Greeted, NumberedSettings, Patient, Polite, Talker
from working import capture, working

from gateway.driver import Answer, NoAnswer, Refused, SerialDriver
from gateway.ports.replay import source_of
from gateway.ports.retold import Retelling
from gateway.ports.url import ReplayOptions
from gateway.reading import Kind


def retold(folder: Path, drivers: list[SerialDriver], *lines: str) -> tuple[list[Any], Counter[str]]:
    """What comes of each conversation: a value, or the kind of error."""
    capture(folder, *lines)
    counters: Counter[str] = Counter()
    source = source_of(folder / "bus.capture", "serial", drivers, ReplayOptions(), counters)
    found = []
    for _, _, frame in source.frames(0, 0):
        if not isinstance(frame, Answer):
            found.append(frame)
        elif frame.error is not None:
            found.append(type(frame.error))
        else:
            found.append(None if frame.values is None else frame.values["mark"])
    return found, counters


def test_answers_go_to_who_asked_and_those_of_others_are_passed_over(tmp_path: Path) -> None:
    drivers = [Polite(NumberedSettings(1)), Polite(NumberedSettings(2))]
    found, counters = retold(
        tmp_path,
        drivers,
        r'0 > "1?1\n"',
        r'0.1 < "1=11\n"',
        r'0.2 > "9?1\n"',  # somebody else's
        r'0.3 < "9=99\n"',
        r'0.4 > "2?1\n"',
        r'0.5 < "2=22\n"',
        r'0.6 < "2=23\n"',  # nobody asked
        r'0.7 > "1?2\n"',
        r'0.8 < "1!\n"',
    )
    assert found == [11, 22, Refused]
    assert counters["unasked_frames"] == 2


def test_a_question_that_another_follows_got_no_answer(tmp_path: Path) -> None:
    found, _ = retold(tmp_path, [Polite()], r'0 > "1?1\n"', r'1 > "1?2\n"', r'1.1 < "1=5\n"', r'2 > "1?3\n"')
    assert found == [NoAnswer, 5]


def test_a_driver_that_asks_again_is_believed(tmp_path: Path) -> None:
    found, _ = retold(tmp_path, [Patient()], r'0 > "first\n"', r'1 > "second\n"', r'1.1 < "7\n"')
    assert found == [7]


def test_a_greeting_is_told_too(tmp_path: Path) -> None:
    lines = (r'0 > "mode\n"', r'0.1 < "ok\n"', r'1 > "1?1\n"', r'1.1 < "1=5\n"')
    assert retold(tmp_path, [Greeted()], *lines)[0] == [None, 5]


def test_what_a_device_pushes_is_decoded_with_or_without_its_greeting(tmp_path: Path) -> None:
    assert retold(tmp_path, [Talker()], r'0 < "5\n"')[0] == [b"5"]
    greeted = (r'0 > "start\n"', r'0.1 < "ack\n"', r'1 < "6\n"')
    assert retold(tmp_path, [Talker()], *greeted)[0] == [None, b"ack", b"6"]


@given(
    st.lists(st.tuples(st.booleans(), st.sampled_from([b"1?1\n", b"1=1", b"2?1\n", b"1!", b"\xff", b"1=x"])))
)
def test_no_order_of_entries_breaks_the_telling(entries: list[tuple[bool, bytes]]) -> None:
    retelling = Retelling([Polite(NumberedSettings(1)), Polite(NumberedSettings(2))], Counter())
    for was_sent, octets in entries:
        for answer in retelling.sent(octets) if was_sent else retelling.heard(octets):
            assert isinstance(answer, Answer)


@in_loop
async def test_a_shared_line_is_replayed_to_its_sensors(tmp_path: Path) -> None:
    (tmp_path / "run").mkdir()
    url = capture(tmp_path, r'0 > "1?1\n"', r'0.1 < "1=11\n"', r'0.4 > "2?1\n"', r'0.5 < "2=22\n"')
    sensors = (sensor_plan(1, "one", Polite, unit=1), sensor_plan(2, "two", Polite, unit=2))
    plan = one_port(tmp_path, url, "serial", *sensors)
    core = Core(plan)
    async with working(plan):
        await core.until(lambda records: len(records) == 2)
    core.close()
    assert [(r["sensor"], r["values"]) for r in core.of(Kind.READING)] == [
        ("one", {"mark": 11}),
        ("two", {"mark": 22}),
    ]
