"""Conversations on one line, in made-up time: who speaks when, and whose answer is whose."""

from collections.abc import Callable
from dataclasses import dataclass, field

import pytest
from hypothesis import given
from hypothesis import strategies as st
from talk_drivers import Endless, Greeted, NumberedSettings, Patient, Polite, Talker

from gateway.driver import BadFrame, NoAnswer, PortGone, Refused, SerialDriver
from gateway.talk import AWAY_S, COMMANDS_MAX, GREET_AGAIN_S, QUESTIONS_MAX, Talks


@dataclass
class Line:
    """A line with devices that answer after a while: `answer(question)` gives delays and frames."""

    drivers: list[SerialDriver]
    answer: Callable[[bytes], list[tuple[float, bytes]]]
    now: float = 100.0
    said: list[tuple[float, bytes]] = field(default_factory=list)
    heard: list[tuple[float, SerialDriver, object]] = field(default_factory=list)
    coming: list[tuple[float, bytes]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.talks = Talks(self.drivers, char_s=0.001)
        self.talks.start(self.now)

    def run(self, seconds: float) -> None:
        end = self.now + seconds
        while True:
            if octets := self.talks.step(self.now):
                self.said.append((self.now, octets))
                self.coming += [(self.now + delay, frame) for delay, frame in self.answer(octets)]
                self.coming.sort()
            for each in self.talks.answers:
                what = each.error if each.error is not None else (each.values or {}).get("mark")
                self.heard.append((self.now, each.driver, "gone" if each.is_gone else what))
            self.talks.answers.clear()
            due = self.talks.due()
            times = [due] if due is not None else []
            times += [self.coming[0][0]] if self.coming else []
            if not times or min(times) > end:
                self.now = end
                return
            self.now = max(self.now, min(times))
            if self.coming and self.coming[0][0] <= self.now:
                frame = self.coming.pop(0)[1]
                self.talks.stirs(self.now)
                self.talks.heard(self.now, frame)

    def marks(self, driver: SerialDriver | None = None) -> list[object]:
        return [what for _, who, what in self.heard if driver in (None, who)]


def polite(number: int = 1, kind: type[Polite] = Polite) -> Polite:
    return kind(NumberedSettings(number))


def prompt(delay: float = 0.01) -> Callable[[bytes], list[tuple[float, bytes]]]:
    """Devices that give back the number they were asked."""
    return lambda question: [(delay, question.strip().replace(b"?", b"="))] if b"?" in question else []


class Slow(Polite):
    """Asked as seldom as one that is away."""

    every_s = AWAY_S


def test_who_is_asked_seldom_is_asked_in_its_time_when_it_is_away() -> None:
    line = Line([polite(1, Slow)], lambda _: [])
    line.run(6 * AWAY_S)
    assert [round(at - 100, 6) for at, _ in line.said] == [n * AWAY_S for n in range(7)]


def test_a_sensor_is_asked_at_its_rate() -> None:
    line = Line([polite()], prompt())
    line.run(3.5)
    assert [octets for _, octets in line.said] == [b"1?1\n", b"1?2\n", b"1?3\n", b"1?4\n"]
    assert [round(at - 100, 6) for at, _ in line.said] == [0, 1, 2, 3]
    assert line.marks() == [1, 2, 3, 4]


def test_after_a_stall_what_was_missed_is_not_asked_in_a_burst() -> None:
    line = Line([polite()], prompt())
    line.run(0.5)
    line.now += 10
    line.run(1.9)
    assert [round(at - 100, 6) for at, _ in line.said] == [0, 10.5, 11, 12]


def test_sensors_of_a_line_take_turns_and_keep_quiet_between() -> None:
    drivers = [polite(n) for n in (1, 2, 3)]
    for driver in drivers:
        driver.quiet_s = 0.03  # type: ignore[misc]
    line = Line(drivers, prompt())
    line.run(1.9)
    assert [octets for _, octets in line.said] == [b"%d?%d\n" % (n, k) for k in (1, 2) for n in (1, 2, 3)]
    assert line.said[1][0] - line.said[0][0] == pytest.approx(0.01 + 0.03)


def test_a_line_that_is_too_slow_for_all_serves_all_alike() -> None:
    drivers = [polite(n) for n in range(1, 7)]
    line = Line(drivers, prompt(0.19))
    for driver in drivers:
        driver.every_s = 0.1  # type: ignore[misc]
    line.run(20)
    counts = [len(line.marks(driver)) for driver in drivers]
    assert max(counts) - min(counts) <= 1
    assert min(counts) >= 16


def test_commands_go_before_polls_and_wait_for_their_word() -> None:
    first, second = polite(1), polite(2)
    line = Line([first, second], prompt())
    line.talks.step(line.now)  # the first poll is under way
    came: list[Exception | None] = []
    line.talks.command(second, second.encode("set", {"to": 42}), came.append)
    line.talks.command(second, b"shout\n", came.append)
    line.talks.heard(line.now, b"1=1")
    line.run(0.5)
    assert [octets for _, octets in line.said] == [b"2?42\n", b"shout\n", b"2?1\n"]
    assert came == [None, None]


def test_a_command_that_fails_says_so_to_whoever_gave_it() -> None:
    driver = polite()
    line = Line([driver], lambda question: [(0.01, b"1!" if question == b"1?9\n" else b"1=5")])
    came: list[Exception | None] = []
    line.talks.command(driver, driver.encode("set", {"to": 9}), came.append)
    line.talks.command(driver, driver.encode("set", {"to": 7}), came.append)
    line.run(1.0)
    assert [type(error) for error in came] == [Refused, BadFrame]


def test_commands_that_wait_are_bounded_and_learn_that_the_line_is_gone() -> None:
    driver = polite()
    line = Line([driver], prompt())
    came: list[Exception | None] = []
    for _ in range(COMMANDS_MAX):
        line.talks.command(driver, b"x", came.append)
    with pytest.raises(BadFrame, match="fewer"):
        line.talks.command(driver, b"x", came.append)
    line.talks.stop("gone")
    assert [type(error) for error in came] == [PortGone] * COMMANDS_MAX


def test_who_does_not_answer_is_away_after_three_and_asked_seldom_until_it_answers() -> None:
    dead, live = polite(1), polite(2)
    is_dead = True
    line = Line([dead, live], lambda q: prompt()(q) if q.startswith(b"2") or not is_dead else [])
    line.run(30)
    assert [type(what) for what in line.marks(dead)[:2]] == [NoAnswer, NoAnswer]
    assert line.marks(dead)[2] == "gone"
    assert line.marks(dead).count("gone") == 1
    assert len(line.marks(dead)) <= 3 + 30 / AWAY_S
    assert len(line.marks(live)) >= 27
    is_dead = False
    line.run(AWAY_S + 3)
    assert line.marks(dead)[-2:] == [dead.asked - 1, dead.asked]


def test_an_answer_that_comes_late_is_not_taken_for_that_to_the_next_question() -> None:
    driver = polite()
    delays = iter([0.3, 0.01, 0.01, 0.01])
    line = Line([driver], lambda question: prompt(next(delays))(question))
    line.run(2.5)
    assert [what if isinstance(what, int) else type(what) for what in line.marks()] == [NoAnswer, 2, 3]
    assert line.talks.counters["late_frames"] == 1


@given(st.lists(st.tuples(st.floats(0.001, 0.39), st.booleans()), min_size=1, max_size=12), st.integers(1, 4))
def test_every_reading_is_the_answer_to_its_own_question(ways: list[tuple[float, bool]], count: int) -> None:
    """Devices that are slow, silent, or both: what is read is what was asked last, never what before."""
    drivers = [polite(n + 1) for n in range(count)]
    way = iter(ways)

    def answer(question: bytes) -> list[tuple[float, bytes]]:
        delay, is_silent = next(way, (0.01, False))
        return [] if is_silent else prompt(delay)(question)

    line = Line(drivers, answer)
    line.run(12 * AWAY_S)
    for at, who, what in line.heard:
        if isinstance(what, int):
            asked = max(
                said for said in line.said if said[0] <= at and said[1].startswith(b"%d?" % who.settings.unit)
            )
            assert asked[1] == b"%d?%d\n" % (who.settings.unit, what)
    assert all(isinstance(line.marks(driver)[-1], int) for driver in drivers)


@given(st.lists(st.tuples(st.floats(0.0, 0.5), st.binary(max_size=8)), max_size=30))
def test_whatever_comes_nothing_but_bad_frames_come_of_it(noise: list[tuple[float, bytes]]) -> None:
    line = Line([polite(1), polite(2)], prompt(0.1))
    for pause, frame in noise:
        line.run(pause)
        line.talks.stirs(line.now)
        line.talks.heard(line.now, frame)
    line.coming.clear()
    line.run(30)
    assert all(isinstance(what, int | BadFrame) or what == "gone" for what in line.marks())
    assert isinstance(line.marks()[-1], int)


def test_a_wrong_frame_leaves_time_for_the_right_one() -> None:
    line = Line([polite()], lambda q: [(0.01, b"1=x"), *prompt(0.1)(q)])
    line.run(1.5)
    assert {type(what) for what in line.marks()} == {BadFrame}
    assert line.talks.counters["late_frames"] == 2


def test_a_refusal_needs_no_time_for_another_answer() -> None:
    first, second = polite(1), polite(2)
    line = Line([first, second], lambda q: [(0.01, b"1!")] if q.startswith(b"1") else prompt()(q))
    line.run(0.05)
    assert [type(what) for what in line.marks()] == [Refused, int]


def test_an_answer_that_has_begun_may_take_its_time() -> None:
    driver = polite()
    talks = Talks([driver], char_s=0.001)
    talks.start(0.0)
    assert talks.step(0.0) == b"1?1\n"
    talks.stirs(0.19)
    assert talks.step(0.3) == b""
    talks.heard(0.4, b"1=1")
    assert talks.answers[0].values == {"mark": 1}


def test_a_driver_may_ask_again() -> None:
    line = Line([polite(kind=Patient)], lambda q: [(0.01, b"7")] if q == b"second\n" else [])
    line.run(0.9)
    assert [octets for _, octets in line.said] == [b"first\n", b"second\n"]
    assert line.marks() == [7]


def test_a_greeting_comes_first_again_until_it_succeeds_and_after_an_absence() -> None:
    words = iter([b"what", b"ok"])
    is_dead = False

    def answer(question: bytes) -> list[tuple[float, bytes]]:
        if question == b"mode\n":
            return [] if is_dead else [(0.01, next(words, b"ok"))]
        return [] if is_dead else prompt()(question)

    line = Line([polite(kind=Greeted)], answer)
    line.run(GREET_AGAIN_S + 0.5)
    assert [octets for _, octets in line.said] == [b"mode\n", b"mode\n", b"1?1\n"]
    is_dead = True
    line.run(5)
    is_dead = False
    line.said.clear()
    line.run(AWAY_S)
    assert line.said[0][1] == b"mode\n"
    assert line.said[1][1].startswith(b"1?")


def test_one_that_pushes_is_never_away_and_asked_for_nothing_once_it_was_greeted() -> None:
    line = Line([Talker()], lambda q: [])
    line.run(60)
    assert "gone" not in line.marks()
    line.answer = lambda q: [(0.01, b"ack")]
    line.run(10)
    line.said.clear()
    line.run(100)
    assert (line.said, line.talks.due()) == ([], None)


def test_bugs_go_to_their_sensor() -> None:
    endless, well = polite(1, Endless), polite(2)
    line = Line([endless, well], lambda q: [(0.0001, b"x")] if q == b"more\n" else prompt()(q))
    line.run(1.0)
    assert isinstance(line.marks(endless)[0], RuntimeError)
    assert sum(octets == b"more\n" for _, octets in line.said) <= 2 * QUESTIONS_MAX
    assert line.marks(well)
