"""The complete gateway with real ports, and its hub in a network of its own: nothing is lost unsaid."""

import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import pytest

from gateway_hil.bench import Bench, CannotHere
from gateway_hil.demo.timeline import Timeline, timeline
from gateway_hil.emulators import Gnss, Gy39, RelayLamp, Sds011
from gateway_hil.emulators.bthome import BthomeBeacon
from gateway_hil.emulators.contact import DoorContact
from gateway_hil.emulators.microphone import Microphone
from gateway_hil.linkemulator import LinkEmulator
from gateway_hil.wholebox.cable import Cable
from gateway_hil.wholebox.pole import Pole
from gateway_hil.wholebox.story import Story
from gateway_models.scene import scene

HOUR_S: Final = 3600.0
WAKEUPS_S: Final = {
    "box": 1.5,
    "hub": 0.5,
}  # a second, with three sensors of which one talks every half minute

SCENE_S: Final = 60.0
RATE_HZ: Final = 16_000
STREET: Final = 1  # the demo's; how well the model hears in other streets is tests/models' question
LIVE_SLOWNESS: Final = 4.0  # beyond it a model does not keep up with the sound

Note = Callable[[str], None]
Plug = Callable[..., Any]


def _serial(name: str, driver: str, port: str) -> str:
    return f'[sensor.{name}]\ndriver = "{driver}"\nport = "{port}"\n\n'


def _yard(beacon: BthomeBeacon) -> str:
    return (
        _serial("yard", "bthome", beacon.port).rstrip()
        + f'\naddress = "{beacon.address}"\nmeasures = ["temperature", "humidity", "battery"]\n\n'
    )


def _microphone(mic: Microphone) -> str:
    return (
        _serial("microphone", "microphone", mic.port).rstrip()
        + f"\nrate_hz = {mic.rate_hz}\n"
        + 'stages = [{ onset = "9 dB" }, { model = "gunshot-synthetic", score_min = 0.25 }, '
        + '{ throttle = "2 s" }]\n\n'
    )


@pytest.mark.slow
@pytest.mark.needs("usb-serial", "ble", "gpio", "alsa", "network")
def test_the_demo_balances(bench: Bench, plug: Plug, note: Note, tmp_path: Path) -> None:
    """The demo's shots and faults, on USB, Bluetooth, GPIO, a sound card and a slow link."""
    if bench.slowness > LIVE_SLOWNESS:
        raise CannotHere(f"the bench {bench.name} is too slow for a model that listens live")
    told = timeline(SCENE_S)
    plugs = {
        "gps": plug(Gnss, seed=bench.seed),
        "dust": plug(Sds011, seed=bench.seed),
        "light": plug(Gy39, seed=bench.seed),
        "lamp": plug(RelayLamp, seed=bench.seed),
    }
    drivers = {"gps": "gps-nmea", "dust": "sds011", "light": "gy39", "lamp": "relay-lamp"}
    door = plug(DoorContact, seed=bench.seed)
    mic = plug(Microphone, rate_hz=RATE_HZ, seed=bench.seed)
    sensors = (
        "".join(_serial(name, drivers[name], emulator.port) for name, emulator in plugs.items())
        + _serial("door", "door-contact", door.port).rstrip()
        + '\nline = "DOOR"\n\n'
        + _yard(plug(BthomeBeacon, every_s=2.5, seed=bench.seed))
        + _microphone(mic)
    )
    link = LinkEmulator(rate_bps=1e6, delay_s=0.03, depth=65_536, here=True, seed=bench.seed)
    with link, Pole(tmp_path, link.far, link.far_address, slowness=bench.slowness) as pole:
        pole.start(sensors)
        heard = {"gps", "dust", "light", "door", "yard", "microphone"}
        pole.until(
            lambda: heard <= {r["sensor"] for r in pole.records("reading")}, 60, "all sensors heard", 1.0
        )
        start_ns = mic.play(scene(SCENE_S, RATE_HZ, STREET, list(told.shots), list(told.bangs)))
        Story(told, start_ns, pole, link, plugs).perform()
        door.open()
        pole.until(lambda: pole.waiting() == 0, 60, "the hub has what core kept")
        pole.stop()
        account = pole.account(told, start_ns, link.counters["up"].octets)
    said = {(record["sensor"], record["body"]["code"]) for record in pole.records("health")}
    assert said >= {("light", "port_gone"), ("microphone", "deaf")}, "the faults were felt"
    assert account.failures == [], account.plain()
    note(f"received {account.received}, shots {account.shots.counts}, latency in ms {account.latency_ms}")
    note(f"bytes a record {account.wire_bytes_per_record}")


@pytest.mark.time_travel
@pytest.mark.needs("usb-serial", "network", "time-travel")
def test_two_days_with_a_long_outage(bench: Bench, plug: Plug, note: Note, tmp_path: Path) -> None:
    """48 h: dust and light once a minute, a position every ten, 20 h without an uplink, two SIGKILLs."""
    hours = 48
    dust = plug(Sds011, every_s=60.0, seed=bench.seed)
    light = plug(Gy39, every_s=60.0, seed=bench.seed)
    gps = plug(Gnss, every_s=600.0, seed=bench.seed)
    sensors = (
        _serial("dust", "sds011", dust.port)
        + _serial("light", "gy39", light.port)
        + _serial("gps", "gps-nmea", gps.port)
    )
    with Cable() as cable, Pole(tmp_path, cable.far, cable.far_address, slowness=bench.slowness) as pole:
        pole.start(sensors)
        began = time.monotonic()

        def at(hour: float) -> None:
            time.sleep(max(0.0, began + hour * HOUR_S - time.monotonic()))

        at(2)
        before = pole.wakeups()
        at(5)
        wakeups_s = {name: (n - before[name]) / (3 * HOUR_S) for name, n in pole.wakeups().items()}
        box_s = sum(rate for name, rate in wakeups_s.items() if name != "hub")
        note(f"wake-ups a second: box {box_s:.2f}, hub {wakeups_s['hub']:.2f}")
        assert box_s < WAKEUPS_S["box"], wakeups_s
        assert wakeups_s["hub"] < WAKEUPS_S["hub"], wakeups_s
        at(6)
        pole.kill("worker dust")
        at(14)
        cable.unplug()
        at(34)
        waiting = pole.waiting()
        assert waiting is not None
        assert waiting > 2 * 20 * 60, "20 h of two sensors wait on the box"
        cable.unplug(False)
        pole.until(lambda: pole.waiting() == 0, 120, "the hub has what waited", look_s=1.0)
        drained_s = time.monotonic() - began - 34 * HOUR_S
        assert drained_s < 10, "the box tried as soon as its network was back"
        note(
            f"{waiting} records waited for 20 h; {drained_s:.1f} s after the cable was back the hub had them"
        )
        at(40)
        pole.kill("hub")
        at(40.1)
        pole.start_hub()
        at(hours)
        pole.until(lambda: pole.waiting() == 0, 60, "the hub has the rest", look_s=1.0)
        pole.stop()
        account = pole.account(Timeline(hours * HOUR_S, (), (), (), ()))
        readings = Counter(record["sensor"] for record in pole.records("reading"))
    assert account.failures == []
    for sensor, every_s in (("dust", 60), ("light", 60), ("gps", 600)):
        assert abs(readings[sensor] - hours * HOUR_S / every_s) <= 2, readings  # one falls into a restart
    note(f"{sum(account.received.values())} records in {hours} h, all at the hub once")
