"""What ends the sleep of an idle hub: an alarm, and a write to its allow-list by whomever."""

import select
from pathlib import Path

import zmq

from gateway.hub.alarm import Alarm
from gateway.hub.registry import Registry
from gateway.hub.registrywatch import RegistryWatch


def readable(alarm: Alarm) -> bool:
    return bool(select.select([alarm], [], [], 0)[0])


def test_an_alarm_can_be_polled_and_waited_for() -> None:
    alarm = Alarm()
    assert not readable(alarm)
    alarm.set()
    alarm.set()
    assert alarm.wait(0)
    assert readable(alarm)
    alarm.clear()
    assert not alarm.is_set()
    assert not readable(alarm)
    alarm.close()


def test_a_token_made_elsewhere_is_told(tmp_path: Path) -> None:
    hub, elsewhere = Registry(tmp_path / "hub.sqlite"), Registry(tmp_path / "hub.sqlite")
    watch, poller = RegistryWatch(tmp_path / "hub.sqlite"), zmq.Poller()
    watch.register(poller)
    watch._written_at -= 100
    assert watch.wait_ms == 60_000
    assert not poller.poll(0)
    elsewhere.make_token(b"pepper", None, 60)
    assert poller.poll(0)
    watch.heard()
    assert watch.wait_ms == 100, "what was written may not be readable yet"
    assert 59 < hub.awaits_boxes_s() <= 60
    for each in (hub, elsewhere, watch):
        each.close()
