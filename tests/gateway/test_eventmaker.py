"""From verdicts to events: one incident is one event, said again when more is known."""

from dataclasses import replace

import numpy as np
import pytest
from bundles import small_bundle

from gateway.eventmaker import EventMaker
from gateway.pulse import Pulse
from gateway.reading import Event, Lane
from gateway.verdict import Judge, Verdict

PULSE = Pulse(1, 0, 22.0, -50.0, 0.3, 60.0, None, None, (), (-30.0,) * 8, (0.9, 0.05, 0.05, 0.0, 0.0))
FIRST, FINAL = False, True


@pytest.fixture(scope="module")
def judge(tmp_path_factory: pytest.TempPathFactory) -> Judge:
    bundle = small_bundle(tmp_path_factory.mktemp("bundle") / "small", int8=False)
    return Judge.of(bundle, {look.name: lambda x: np.zeros((1, 5)) for look in bundle.manifest.looks})


def verdict(
    bang: int, at_s: float, final: bool, label: str, score: float, level: float = -10.0, rounds: int = 1
) -> Verdict:
    p_gun = score if label in {"gunshot", "unsure", ""} else 0.1
    p = (p_gun, *((1 - p_gun) / 4,) * 4)
    return Verdict(
        bang=bang,
        first=round(at_s * 48_000),
        t_ns=round(at_s * 1e9),
        t_error_ns=1_000_100,
        look="second" if final else "first",
        final=final,
        label=label,
        score=score,
        threshold=0.5,
        level=level,
        pulse=replace(PULSE, rounds=rounds, probabilities=p),
    )


def told(judge: Judge | None, *verdicts: Verdict) -> list[Event]:
    maker = EventMaker("mic", judge)
    return [event for each in verdicts for event in maker.take(each)]


def shape(events: list[Event]) -> list[tuple[str, int, bool, Lane]]:
    return [(e.label, e.revision, e.fresh, e.lane) for e in events]


def test_a_sure_shot_is_said_once_if_the_second_look_agrees(judge: Judge) -> None:
    (event,) = told(judge, verdict(1, 1.0, FIRST, "gunshot", 0.95), verdict(1, 1.0, FINAL, "gunshot", 0.97))
    assert (event.label, event.revision, event.fresh, event.lane) == ("gunshot", 0, True, Lane.ALERT)
    assert (event.sensor, event.t_ns, event.level, event.score) == ("mic", 10**9, -10.0, 0.95)
    assert event.model == judge.manifest.model
    assert event.pulse is not None


def test_more_rounds_and_another_certainty_are_said_at_the_end_among_the_states(judge: Judge) -> None:
    rounds = told(
        judge,
        verdict(1, 1.0, FIRST, "gunshot", 0.95),
        verdict(2, 1.4, FIRST, "gunshot", 0.90),
        verdict(1, 1.0, FINAL, "gunshot", 0.95, rounds=2),
        verdict(2, 1.4, FINAL, "gunshot", 0.93),
    )
    assert shape(rounds) == [("gunshot", 0, True, Lane.ALERT), ("gunshot", 1, False, Lane.STATE)]
    assert rounds[1].pulse is not None
    assert (rounds[1].pulse.rounds, rounds[1].event_id) == (2, rounds[0].event_id)
    surer = told(judge, verdict(1, 1.0, FIRST, "gunshot", 0.82), verdict(1, 1.0, FINAL, "gunshot", 0.99))
    assert shape(surer)[1:] == [("gunshot", 1, False, Lane.STATE)]


def test_a_second_look_that_knows_better_revises_at_once(judge: Judge) -> None:
    events = told(judge, verdict(1, 1.0, FIRST, "gunshot", 0.85), verdict(1, 1.0, FINAL, "firework", 0.9))
    assert shape(events) == [("gunshot", 0, True, Lane.ALERT), ("firework", 1, True, Lane.ALERT)]


def test_what_cannot_be_claimed_any_more_is_withdrawn_aloud_but_sets_nothing_off(judge: Judge) -> None:
    events = told(judge, verdict(1, 1.0, FIRST, "gunshot", 0.85), verdict(1, 1.0, FINAL, "", 0.1))
    assert shape(events) == [("gunshot", 0, True, Lane.ALERT), ("other", 1, False, Lane.ALERT)]
    perhaps = told(judge, verdict(1, 1.0, FIRST, "unsure", 0.65), verdict(1, 1.0, FINAL, "", 0.1))
    assert shape(perhaps) == [("unsure", 0, True, Lane.STATE), ("other", 1, False, Lane.STATE)]


def test_a_faint_perhaps_waits_for_the_last_look(judge: Judge) -> None:
    first = verdict(1, 1.0, FIRST, "unsure", 0.5)
    assert told(judge, first) == []
    assert told(judge, first, verdict(1, 1.0, FINAL, "", 0.1)) == []
    (perhaps,) = told(judge, first, verdict(1, 1.0, FINAL, "unsure", 0.5))
    assert shape([perhaps]) == [("unsure", 0, True, Lane.STATE)]
    (shot,) = told(judge, first, verdict(1, 1.0, FINAL, "gunshot", 0.9))
    assert shape([shot]) == [("gunshot", 0, True, Lane.ALERT)]


def test_a_perhaps_that_becomes_sure_is_an_alert_then(judge: Judge) -> None:
    events = told(judge, verdict(1, 1.0, FIRST, "unsure", 0.65), verdict(1, 1.0, FINAL, "gunshot", 0.9))
    assert shape(events) == [("unsure", 0, True, Lane.STATE), ("gunshot", 1, True, Lane.ALERT)]
    by_the_next = told(judge, verdict(1, 1.0, FIRST, "unsure", 0.65), verdict(2, 1.5, FIRST, "gunshot", 0.9))
    assert shape(by_the_next) == shape(events)
    assert by_the_next[1].t_ns == 10**9


def test_a_label_that_comes_back_sets_nothing_off_again(judge: Judge) -> None:
    """Sure, then perhaps, then sure again by the next round: one event, and one deed of a rule."""
    events = told(
        judge,
        verdict(1, 1.0, FIRST, "gunshot", 0.85),
        verdict(2, 2.4, FIRST, "unsure", 0.5),
        verdict(1, 1.0, FINAL, "", 0.1),
        verdict(3, 3.4, FIRST, "gunshot", 0.9),
    )
    assert shape(events) == [
        ("gunshot", 0, True, Lane.ALERT),
        ("unsure", 1, True, Lane.ALERT),
        ("gunshot", 2, False, Lane.ALERT),
    ]
    assert len({event.event_id for event in events}) == 1


def test_a_shot_that_only_the_second_look_knows_is_said_then(judge: Judge) -> None:
    events = told(judge, verdict(1, 1.0, FIRST, "", 0.2), verdict(1, 1.0, FINAL, "gunshot", 0.9))
    assert shape(events) == [("gunshot", 0, True, Lane.ALERT)]


def test_what_is_nothing_is_not_said(judge: Judge) -> None:
    assert told(judge, verdict(1, 1.0, FIRST, "", 0.2), verdict(1, 1.0, FINAL, "", 0.1)) == []


def test_a_shot_at_once_after_a_door_is_its_own_event(judge: Judge) -> None:
    events = told(judge, verdict(1, 1.0, FIRST, "", 0.1), verdict(2, 1.3, FIRST, "gunshot", 0.9))
    assert shape(events) == [("gunshot", 0, True, Lane.ALERT)]
    assert events[0].t_ns == 1_300_000_000


def test_echoes_belong_to_their_shot_whatever_they_sound_like(judge: Judge) -> None:
    events = told(
        judge,
        verdict(1, 1.0, FIRST, "gunshot", 0.95, level=-8.0),
        verdict(2, 1.2, FIRST, "glass", 0.9, level=-12.0),
        verdict(3, 2.4, FIRST, "glass", 0.9, level=-30.0),
    )
    assert shape(events) == [("gunshot", 0, True, Lane.ALERT)]


def test_a_pane_that_breaks_after_the_shot_is_another_event(judge: Judge) -> None:
    events = told(
        judge, verdict(1, 1.0, FIRST, "gunshot", 0.95), verdict(2, 1.6, FIRST, "glass", 0.9, level=-12.0)
    )
    assert [e.label for e in events] == ["gunshot", "glass"]
    assert events[0].event_id != events[1].event_id


def test_what_is_heard_weakly_after_a_shot_does_not_rename_it(judge: Judge) -> None:
    events = told(
        judge,
        verdict(1, 7.2, FIRST, "gunshot", 0.91),
        verdict(2, 8.1, FIRST, "glass", 0.9, level=-21.0),
        verdict(1, 7.2, FINAL, "unsure", 0.8),
        verdict(2, 8.1, FINAL, "glass", 0.9, level=-21.0),
    )
    assert [event.label for event in events] == ["gunshot", "unsure"]


def test_a_weak_shot_after_a_pane_is_not_hidden_by_it(judge: Judge) -> None:
    events = told(
        judge,
        verdict(1, 7.2, FIRST, "glass", 0.9),
        verdict(2, 8.1, FIRST, "gunshot", 0.9, level=-21.0),
    )
    assert [event.label for event in events] == ["glass", "gunshot"]


def test_the_next_volley_is_another_event(judge: Judge) -> None:
    events = told(
        judge,
        verdict(1, 1.0, FIRST, "gunshot", 0.95),
        verdict(1, 1.0, FINAL, "gunshot", 0.95),
        verdict(2, 4.0, FIRST, "gunshot", 0.95),
    )
    assert [(e.label, e.revision, e.t_ns) for e in events] == [
        ("gunshot", 0, 10**9),
        ("gunshot", 0, 4 * 10**9),
    ]


def test_without_a_model_bangs_are_told_quietly() -> None:
    events = told(
        None,
        *(
            replace(verdict(1, 1.0, final, "unclassified", 0.0, rounds=1 + final), look="")
            for final in (False, True)
        ),
    )
    assert shape(events) == [("unclassified", 0, True, Lane.STATE), ("unclassified", 1, False, Lane.STATE)]
    assert events[0].model == "00" * 8


def test_a_long_bombardment_is_bounded(judge: Judge) -> None:
    maker = EventMaker("mic", judge)
    for n in range(2_000):
        list(maker.take(verdict(n, n * 0.3, FIRST, "gunshot", 0.9)))
        list(maker.take(verdict(n, n * 0.3, FINAL, "gunshot", 0.9)))
        assert len(maker._open) <= 65
        assert all(len(each.bangs) <= 20 for each in maker._open)


def test_a_faint_perhaps_that_waits_is_one_event_with_the_shot_after_it(judge: Judge) -> None:
    events = told(
        judge,
        verdict(1, 1.0, FIRST, "unsure", 0.5),
        verdict(2, 2.0, FIRST, "gunshot", 0.9),
        verdict(1, 1.0, FINAL, "gunshot", 0.9),
        verdict(2, 2.0, FINAL, "gunshot", 0.9),
    )
    assert len({event.event_id for event in events}) == 1
    assert [event.fresh for event in events].count(True) == 1


def test_what_waits_to_be_said_is_known(judge: Judge) -> None:
    maker = EventMaker("mic", judge)
    assert maker.waiting_since_ns() is None
    first = verdict(1, 1.0, FIRST, "unsure", 0.5)
    assert list(maker.take(first)) == []
    assert maker.waiting_since_ns() == first.t_ns
    assert len(list(maker.take(verdict(1, 1.0, FINAL, "unsure", 0.5)))) == 1
    assert maker.waiting_since_ns() is None
