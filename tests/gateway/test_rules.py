"""Rules at work, without a worker: levels, hysteresis, holding and resting; and that none can storm."""

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from gateway.plan import PortPlan, RulePlan, SensorPlan
from gateway.reading import Event, Health, HealthCode, Measure, Reading
from gateway.rulecircle import circle, deeds_a_minute
from gateway.rules import Rules

S = 10**9


def rule(**more: Any) -> RulePlan:
    return RulePlan(**{"name": "r", "sensor": 1, "rest_s": 10.0, "target": 2, "command": "on"} | more)


def level(sign: str, at: float, **more: Any) -> RulePlan:
    return rule(**{"measure": "water", "sign": sign, "level": at, "back": at} | more)


class Street:
    """Rules and a clock; what became due is in `done`, by second."""

    def __init__(self, *rules: RulePlan) -> None:
        self.rules = Rules(rules)
        self.now_ns = 0
        self.done: list[float] = []

    def at(self, second: float, record: Any = None) -> "Street":
        """Go there, with the timer's ticks on the way, and show what comes then."""
        then_ns = round(second * S)
        while (wakes_ns := self.rules.wakes_ns()) is not None and wakes_ns <= then_ns:
            self.now_ns = max(wakes_ns, self.now_ns)
            self.done += [self.now_ns / S for _ in self.rules.tick(self.now_ns)]
        self.now_ns = then_ns
        if record is not None:
            self.done += [second for _ in self.rules.see(then_ns, 1, record)]
        return self

    def water(self, second: float, value: float | None) -> "Street":
        return self.at(second, Reading(round(second * S), "river", {"water": value}))

    def bang(self, second: float, label: str = "bang") -> "Street":
        return self.at(second, Event(round(second * S), "mic", label, bytes(8), 0, 1, 1, ""))


def test_an_event_makes_its_rule_due_once_in_its_rest() -> None:
    street = Street(rule(event="bang"))
    street.bang(1).bang(2).bang(10.9).bang(11).bang(30).bang(31, "thunder")
    assert street.done == [1, 11, 30]
    assert street.rules.counters == {"due": 3, "rested": 2}


def test_only_its_own_sensor_counts() -> None:
    rules = Rules([rule(event="bang")])
    assert rules.see(0, 2, Event(0, "mic", "bang", bytes(8), 0, 1, 1, "")) == []


def test_a_level_triggers_when_it_is_crossed_and_again_only_after_it_was_back() -> None:
    street = Street(level(">", 2.5, back=2.4))
    street.water(0, 2.5).water(1, 2.6).water(20, 2.7).water(40, 2.45).water(60, 2.6)
    assert street.done == [1]
    street.water(80, 2.4).water(100, 2.51)
    assert street.done == [1, 100]


def test_below_is_above_the_other_way_round() -> None:
    street = Street(level("<", 10, back=12))
    street.water(0, 10).water(1, 9).water(20, 11).water(40, 8).water(60, 12).water(80, 9.9)
    assert street.done == [1, 80]


def test_a_level_must_be_held_and_the_timer_knows_when_it_was() -> None:
    street = Street(level(">", 2.5, back=2.0, hold_s=30))
    street.water(0, 3).water(29, 2.4).water(31, 3).at(60.9)
    assert street.done == []  # between `back` and the level it is held no longer
    street.at(100)
    assert street.done == [61]
    street.at(1000)
    assert street.done == [61]


def test_what_is_not_known_is_not_held() -> None:
    for stranger in (
        Reading(5 * S, "river", {"water": None}),
        Reading(5 * S, "river", {"water": float("nan")}),
        Health(5 * S, "river", HealthCode.PORT_GONE),
    ):
        assert Street(level(">", 2.5, hold_s=30)).water(0, 3).at(5, stranger).at(100).done == []
    other = Health(5 * S, "river", HealthCode.BAD_FRAMES)
    assert Street(level(">", 2.5, hold_s=30)).water(0, 3).at(5, other).at(100).done == [30]
    assert Street(level(">", 2.5, hold_s=30)).water(0, 3).at(5, Reading(0, "r", {"wind": 0})).at(99).done == [
        30
    ]


def test_a_level_that_is_crossed_while_the_rule_rests_counts_when_it_has_rested() -> None:
    street = Street(level(">", 2.5, rest_s=600))
    street.water(0, 3).water(60, 2).water(120, 3).at(599)
    assert street.done == [0]
    assert street.at(700).done == [0, 600]
    assert Street(level(">", 2.5, rest_s=600)).water(0, 3).water(60, 2).water(120, 3).water(180, 2).at(
        999
    ).done == [0]


def test_each_reading_that_is_the_value_counts_unless_it_must_be_held() -> None:
    street = Street(level("=", 1, rest_s=1))
    street.water(0, 1).water(2, 1).water(2.5, 1).water(4, 0).water(6, 1)
    assert street.done == [0, 2, 6]
    held = Street(level("=", 1, rest_s=1, hold_s=5))
    held.water(0, 1).water(2, 1).water(4, 0).water(6, 1).water(8, 1).at(100)
    assert held.done == [11]
    assert Street(level("=", 0.3)).water(0, 0.1 + 0.2).done == [0]


readings = st.tuples(
    st.floats(0.01, 30), st.one_of(st.none(), st.floats(0, 5), st.just("bang")), st.integers(1, 3)
)


@given(
    st.sampled_from("<>="),
    st.floats(0, 5),
    st.floats(0, 1),
    st.floats(0, 40),
    st.floats(1, 40),
    st.lists(readings, max_size=60),
)
def test_whatever_comes_a_rule_never_does_more_than_its_rest_allows(
    sign: str, at: float, gap: float, hold_s: float, rest_s: float, come: list[tuple[float, Any, int]]
) -> None:
    back = at - gap if sign == ">" else at + gap
    more = {"hold_s": hold_s, "rest_s": rest_s}
    for one in (level(sign, at, back=back, **more), rule(event="bang", rest_s=rest_s)):
        street, second = Street(one), 0.0
        for pause_s, what, _ in come:
            second += pause_s
            street.bang(second) if what == "bang" else street.water(second, what)
        street.at(second + 1000)
        assert all(b - a >= rest_s - 1e-6 for a, b in zip(street.done, street.done[1:], strict=False))


# --- circles: rule sets that check accepts end by themselves, in whatever street

SENSORS = 4
Cause = tuple[int, str]  # a sensor, and the event of it that a rule raised; "" for whatever else it says


def ports() -> tuple[PortPlan, ...]:
    return tuple(PortPlan(n, f"serial:{n}", "serial", (sensor(n),)) for n in range(SENSORS))


def sensor(number: int) -> SensorPlan:
    measures = (Measure("water_here", "1"),)
    return SensorPlan(number, f"s{number}", "d", "m:D", {}, measures, ("bang", "a", "b"), ("on",), ())


@st.composite
def rule_sets(draw: Any) -> list[RulePlan]:
    found = []
    for n in range(draw(st.integers(1, 6))):
        trigger: dict[str, Any] = {"sensor": draw(st.integers(0, SENSORS - 1))}
        if draw(st.booleans()):
            trigger |= {"event": draw(st.sampled_from(["bang", "a", "b"]))}
        else:
            trigger |= {"measure": "water", "sign": "=", "level": 1.0}
        deed: dict[str, Any] = {"target": draw(st.integers(0, SENSORS - 1)), "command": "on"}
        if draw(st.booleans()):
            deed = {"target": 0, "command": "", "label": draw(st.sampled_from("ab"))}
        found.append(rule(**trigger, **deed, name=f"r{n}", rest_s=draw(st.sampled_from([1.0, 3.0, 10.0]))))
    return found


def effect(of: RulePlan) -> Cause:
    return (of.sensor, of.label) if of.label else (of.target, "")


def followers(rules: list[RulePlan], cause: Cause) -> list[RulePlan]:
    """The rules that a cause sets off, if its sensor says whatever triggers most."""
    raised = {(each.sensor, each.label) for each in rules if each.label}
    at, label = cause
    return [
        each
        for each in rules
        if each.sensor == at and (each.event == label if label else (at, each.event) not in raised)
    ]


def reached(rules: list[RulePlan], cause: Cause) -> set[str]:
    """Names of all rules that a cause sets off, at last."""
    found: set[str] = set()
    causes = [cause]
    while causes:
        new = [each for each in followers(rules, causes.pop()) if each.name not in found]
        found |= {each.name for each in new}
        causes += [effect(each) for each in new]
    return found


@given(rule_sets())
def test_exactly_the_rules_that_could_set_themselves_off_are_refused(rules: list[RulePlan]) -> None:
    round_ = {each.name for each in rules if each.name in reached(rules, effect(each))}
    names = circle(rules, ports())
    assert bool(names) == bool(round_)
    assert set(names) <= round_
    by_name = {each.name: each for each in rules}
    for one, following in zip(names, [*names[1:], *names[:1]], strict=True):
        assert by_name[following] in followers(rules, effect(by_name[one]))


@given(rule_sets(), st.lists(st.integers(0, SENSORS - 1), min_size=1, max_size=40), st.data())
def test_accepted_rules_keep_their_bound_in_a_street_that_answers_back(
    rules: list[RulePlan], pokes: list[int], data: Any
) -> None:
    """Every deed makes its target say, at once, whatever triggers most: still no minute has more deeds."""
    if circle(rules, ports()):
        return
    engines = {n: Rules([each for each in rules if each.sensor == n]) for n in range(SENSORS)}
    deeds: list[float] = []
    second = 0.0
    for poke in pokes:
        second += data.draw(st.floats(0, 5))
        causes: list[tuple[int, Any]] = [(poke, None)]
        for _ in range(200):
            if not causes:
                break
            at, label = causes.pop(0)
            now_ns = round(second * S)
            records = (
                [Event(now_ns, "s", label, bytes(8), 0, 1, 1, "")]
                if label
                else [
                    Reading(now_ns, "s", {"water": 1.0}),
                    Event(now_ns, "s", "bang", bytes(8), 0, 1, 1, ""),
                ]
            )
            for record in records:
                for due in engines[at].see(now_ns, at, record):
                    deeds.append(second)
                    causes.append((at, due.label) if due.label else (due.target, None))
        assert not causes
    for begin in deeds:
        assert sum(begin <= at < begin + 60 for at in deeds) <= deeds_a_minute(rules)
