"""What ends the sleep of an idle hub: an alarm, and a write to its allow-list by whomever."""

import select
import signal
import socket
import sys
import threading
from pathlib import Path

import zmq

from gateway.enrolment import split_endpoint
from gateway.hub.alarm import Alarm
from gateway.hub.enrol import EnrolThread
from gateway.hub.folder import HubFolder
from gateway.hub.registry import Registry
from gateway.hub.registrywatch import RegistryWatch
from gateway.process import tell_signals

ROUNDS = 500


def readable(alarm: Alarm) -> bool:
    return bool(select.select([alarm], [], [], 0)[0])


def test_an_alarm_can_be_polled_and_waited_for() -> None:
    alarm = Alarm()
    assert not readable(alarm)
    alarm.set()
    alarm.set()
    assert alarm.is_set()
    assert readable(alarm)
    alarm.clear()
    assert not alarm.is_set()
    assert not readable(alarm)
    alarm.close()


def test_an_alarm_that_is_set_and_cleared_at_once_is_either_and_no_poller_spins() -> None:
    alarm, began = Alarm(), threading.Barrier(2, timeout=10)
    interval = sys.getswitchinterval()

    def set_often() -> None:
        for _ in range(ROUNDS):
            began.wait()
            alarm.set()
            began.wait()

    setter = threading.Thread(target=set_often)
    sys.setswitchinterval(1e-6)
    try:
        setter.start()
        for _ in range(ROUNDS):
            began.wait()
            alarm.clear()
            began.wait()
            assert alarm.is_set() == readable(alarm)
    finally:
        sys.setswitchinterval(interval)
        setter.join()
    alarm.close()


def test_a_signal_ends_a_wait_that_it_does_not_interrupt() -> None:
    """As one does that comes just before the wait: here another thread gets it."""
    alarm, before = Alarm(), signal.getsignal(signal.SIGUSR1)
    tell_signals(alarm.teller, signal.SIGUSR1)
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGUSR1})

    def be_told() -> None:
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGUSR1})
        signal.raise_signal(signal.SIGUSR1)

    try:
        teller = threading.Timer(0.02, be_told)
        teller.start()
        assert select.select([alarm], [], [], 1)[0]
        teller.join()
    finally:
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGUSR1})
        signal.set_wakeup_fd(-1)
        signal.signal(signal.SIGUSR1, before)
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


def test_a_door_in_trouble_is_tried_each_second_neither_seldom_nor_without_end(folder: HubFolder) -> None:
    context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
    registry = Registry(folder.registry)
    watch = RegistryWatch(folder.registry)
    watch._written_at -= 100
    enrol = EnrolThread(folder, folder.keys(), lambda: context.socket(zmq.ROUTER))
    assert enrol._wait_ms(watch, 0.0) == 60_000
    registry.make_token(b"pepper", None, 60)
    with socket.socket() as taken:
        host, port = split_endpoint(folder.enrol_bind)
        taken.bind((host, port))
        taken.listen()
        assert enrol._open_or_close(registry) > 0
        assert enrol._intake is None
        assert enrol._wait_ms(watch, 60.0) == 1000
    assert enrol._open_or_close(registry) > 0
    assert enrol._intake is not None
    assert enrol._wait_ms(watch, 30.0) == 30_001
    registry._db.execute("DROP TABLE tokens")
    assert enrol._wait_ms(watch, enrol._open_or_close(registry)) == 1000
    enrol._intake.close()
    for each in (enrol._stopping, registry, watch):
        each.close()
    context.destroy(linger=0)
