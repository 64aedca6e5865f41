"""Serial sensors through the kernel: plugs pulled, other numbers, noise, drips, silence, chance."""

import itertools
import math
import os
import random
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from gateway_hil.bench import Bench
from gateway_hil.box import Box, Seen
from gateway_hil.emulators import Gnss, Gy39, RelayLamp, Sds011
from gateway_hil.faults import chaos, parse_script, play
from gateway_hil.guest.ftdi import FtdiWire

pytestmark = pytest.mark.needs("serial")

Plug = Callable[..., Any]
Note = Callable[[str], None]
EVERY_S = 0.2
UNPLUG_SEEN_S, BACK_S = 0.1, 2.0  # promised
CHAOS_S = 20.0


def sensor(name: str, driver: str, emulator: Any) -> str:
    """One sensor's table of a site file."""
    return f'[sensor.{name}]\ndriver = "{driver}"\nport = "{emulator.port}"\n'


def has(name: str, value: Any = None) -> Callable[[list[Seen]], bool]:
    """Whether some reading has this measure; with this value, if one is given."""

    def fits(record: Seen) -> bool:
        found = record.values.get(name)
        return found is not None if value is None else found == value

    return lambda found: any(map(fits, found))


def pulled_seen_s(box: Box, name: str, unplug: Callable[[], None]) -> float:
    """Pull the plug; after how many seconds the port saw it."""
    pulled_ns = time.monotonic_ns()
    unplug()
    return (box.health(name, "port_gone", 2, since_ns=pulled_ns).t_ns - pulled_ns) / 1e9


def back_s(box: Box, name: str, replug: Callable[[], None]) -> float:
    """Push it in again; after how many seconds, enumeration included, the first reading was there."""
    pushed_ns = time.monotonic_ns()
    replug()
    return (box.first_reading(name, BACK_S + 8, since_ns=pushed_ns).came_ns - pushed_ns) / 1e9


def well_after(box: Box, names: tuple[str, ...], limit_s: float = 10.0) -> None:
    """Every sensor reads again."""
    now_ns = time.monotonic_ns()
    for name in names:
        box.first_reading(name, limit_s, since_ns=now_ns)


@contextmanager
def undisturbed(box: Box, name: str, longest_s: float) -> Iterator[None]:
    """For as long as the block runs, readings of `name` come with no longer pause, and its port stays."""
    start_ns = time.monotonic_ns()
    box.first_reading(name, since_ns=start_ns)
    yield
    box.first_reading(name, since_ns=time.monotonic_ns())
    times = [r.t_ns for r in box.records(name, "reading", since_ns=start_ns)]
    pauses = [b - a for a, b in itertools.pairwise(times)]
    assert max(pauses) / 1e9 < longest_s
    assert box.records(name, "health", since_ns=start_ns) == []


def test_an_unplug_is_seen_at_once_and_a_replug_heals(plug: Plug, box: Box, bench: Bench, note: Note) -> None:
    gps = plug(Gnss, every_s=EVERY_S, seed=bench.seed)
    box.start(sensor("gps", "gps-nmea", gps))
    box.first_reading("gps")
    before = gps.path if bench.is_emulated else None
    seen_s, healed_s = [], []
    for _ in range(3):
        seen_s.append(pulled_seen_s(box, "gps", gps.unplug))
        healed_s.append(back_s(box, "gps", gps.replug))
        # Had the box kept the dead one open, its number would not have been free.
        assert not bench.is_emulated or gps.path == before
    note(f"unplug seen after {max(seen_s) * 1e3:.0f} ms, replug to first reading {max(healed_s):.2f} s")
    assert max(seen_s) <= UNPLUG_SEEN_S * bench.slowness
    assert max(healed_s) <= BACK_S * bench.slowness


@pytest.mark.needs("usb-serial")
def test_it_comes_back_under_another_number(plug: Plug, box: Box, bench: Bench, note: Note) -> None:
    gps = plug(Gnss, every_s=EVERY_S, seed=bench.seed)
    box.start(sensor("gps", "gps-nmea", gps))
    box.first_reading("gps")
    before = gps.path
    dead = os.open(before, os.O_RDWR | os.O_NOCTTY)  # somebody holds it, so its number stays taken
    try:
        seen_s = pulled_seen_s(box, "gps", gps.unplug)
        healed_s = back_s(box, "gps", gps.replug)
        note(f"{before.name} came back as {gps.path.name}: first reading after {healed_s:.2f} s")
        assert gps.path != before
        assert seen_s <= UNPLUG_SEEN_S * bench.slowness
        assert healed_s <= BACK_S * bench.slowness
    finally:
        os.close(dead)


@pytest.mark.needs("usb-serial")
def test_twins_are_told_apart_by_serial_number(plug: Plug, box: Box) -> None:
    here, there = (plug(Gnss, every_s=EVERY_S, lat=lat, wander_m=0) for lat in (10.0, 20.0))
    box.start(sensor("here", "gps-nmea", here) + sensor("there", "gps-nmea", there))
    box.until(has("lat"), 10, "here", sensor="here")
    box.until(has("lat"), 10, "there", sensor="there")
    here.unplug()
    there.unplug()
    there.replug()  # first now, so the numbers may have changed places
    here.replug()
    well_after(box, ("here", "there"))
    for name, lat in (("here", 10.0), ("there", 20.0)):
        assert {
            round(r.values["lat"]) for r in box.records(name, "reading") if r.values.get("lat") is not None
        } == {lat}


@pytest.mark.needs("usb-ftdi")
def test_an_ftdi_adapter_is_set_to_the_line_and_comes_back(
    plug: Plug, box: Box, bench: Bench, note: Note
) -> None:
    wire = FtdiWire()
    gps = plug(Gnss, wire=wire, every_s=EVERY_S, seed=bench.seed)
    box.start(sensor("gps", "gps-nmea", gps) + "baud = 38400\n")
    box.until(has("lat"), 10, "a position", sensor="gps", kind="reading")
    if bench.is_emulated:
        assert wire.line_baud == 38_400
    seen_s = pulled_seen_s(box, "gps", gps.unplug)
    healed_s = back_s(box, "gps", gps.replug)
    note(f"FTDI: unplug seen after {seen_s * 1e3:.0f} ms, replug to first reading {healed_s:.2f} s")
    assert seen_s <= UNPLUG_SEEN_S * bench.slowness
    assert healed_s <= BACK_S * bench.slowness


class SlowFtdiWire(FtdiWire):
    """An adapter that takes its time to answer, so that a pulled plug leaves requests unanswered."""

    def take(self, fd: int, what: int, setup: tuple[int, int, int, int, int]) -> None:
        """Late, as by a busy adapter."""
        time.sleep(0.02)
        super().take(fd, what, setup)


@pytest.mark.needs("usb-ftdi")
def test_a_plug_with_a_loose_contact_comes_to_rest(plug: Plug, box: Box, bench: Bench) -> None:
    """Pulled in the midst of being opened and set up, again and again; what counts is how it ends."""
    gps = plug(Gnss, wire=SlowFtdiWire(), every_s=EVERY_S, seed=bench.seed)
    box.start(sensor("gps", "gps-nmea", gps) + "baud = 38400\n")
    box.first_reading("gps")
    chance = random.Random(bench.seed)
    for _ in range(12):
        gps.unplug()
        gps.replug()
        time.sleep(chance.uniform(0, 0.1))  # no event tells how far the box has come with it
    well_after(box, ("gps",), BACK_S + 8)


@pytest.mark.needs("usb-ftdi")
def test_commands_go_through_an_ftdi_adapter(plug: Plug, box: Box) -> None:
    lamp = plug(RelayLamp, wire=FtdiWire())
    box.start(sensor("lamp", "relay-lamp", lamp))
    box.until(has("lamp_on", False), 10, "the lamp's state", sensor="lamp", kind="reading")
    box.command("lamp", "on")
    box.until(has("lamp_on", True), 10, "it is on", sensor="lamp", kind="reading")


def test_garbage_disturbs_nothing_else(plug: Plug, box: Box, bench: Bench) -> None:
    gps = plug(Gnss, every_s=EVERY_S, seed=bench.seed)
    dust = plug(Sds011, every_s=EVERY_S, seed=bench.seed)
    box.start(sensor("gps", "gps-nmea", gps) + sensor("dust", "sds011", dust))
    box.first_reading("gps")
    with undisturbed(box, "dust", 5 * EVERY_S * bench.slowness):
        for _ in range(4):
            gps.garbage(500)
            well_after(box, ("gps",))
    assert box.records("gps", "health") == [] or not bench.is_emulated


def test_garbage_is_counted_and_no_value_is_made_of_it(plug: Plug, box: Box, bench: Bench) -> None:
    dust = plug(Sds011, every_s=EVERY_S, seed=bench.seed)
    dust.pm2_5, dust.pm10, dust.wander = 12.5, 20.5, 0.0
    box.start(sensor("dust", "sds011", dust))
    for count in (1, 9, 64, 400):
        box.first_reading("dust", since_ns=time.monotonic_ns())
        dust.garbage(count)
    well_after(box, ("dust",))
    if bench.is_emulated:
        values = [tuple(r.values.values()) for r in box.records("dust", "reading")]
        assert set(values) == {(12.5, 20.5)}
    box.stop()
    (last_words,) = [line for line in box.said() if line["text"] == "worker stopped"]
    assert last_words["counters"]["skipped_bytes"] >= 400
    assert last_words["counters"]["opened"] == 1


def test_a_drip_makes_readings_late_but_whole(plug: Plug, box: Box) -> None:
    dust = plug(Sds011, every_s=1.0)
    box.start(sensor("dust", "sds011", dust))
    box.first_reading("dust")
    dust.drip(0.02)
    start_ns = time.monotonic_ns()
    late = box.until(lambda found: len(found) >= 2, 10, "two readings", sensor="dust", since_ns=start_ns)
    assert {r.kind for r in late} == {"reading"}
    dust.drip(0)
    well_after(box, ("dust",))


def test_silence_is_no_unplug(plug: Plug, box: Box) -> None:
    gps = plug(Gnss, every_s=EVERY_S)
    dust = plug(Sds011, every_s=EVERY_S)
    box.start(sensor("gps", "gps-nmea", gps) + sensor("dust", "sds011", dust))
    box.first_reading("gps")
    gps.stall()
    time.sleep(2 * EVERY_S)  # what was under way has come
    quiet_ns = time.monotonic_ns()
    box.until(lambda found: len(found) >= 8, 10, "dust goes on", sensor="dust", since_ns=quiet_ns)
    assert box.records("gps", since_ns=quiet_ns) == []
    gps.stall(False)
    well_after(box, ("gps",))
    assert box.records("gps", "health") == []


def test_lost_bytes_never_make_a_wrong_value(plug: Plug, box: Box, bench: Bench, note: Note) -> None:
    dust = plug(Sds011, every_s=0.02, seed=bench.seed)
    dust.pm2_5, dust.pm10, dust.wander = 12.5, 20.5, 0.0
    box.start(sensor("dust", "sds011", dust))
    box.first_reading("dust")
    dust.dropout(0.05)
    start_ns = time.monotonic_ns()
    box.until(
        lambda found: len(found) >= 50, 20, "50 readings", sensor="dust", kind="reading", since_ns=start_ns
    )
    dust.dropout(0)
    well_after(box, ("dust",))
    came = box.records("dust", "reading", since_ns=start_ns)
    note(f"{len(came)} readings through a line that loses 5 % of its bytes")
    # An 8-bit sum lets one broken packet in 256 through: allowed, but not usual.
    wrong = [r for r in came if tuple(r.values.values()) != (12.5, 20.5)]
    assert len(wrong) <= math.ceil(len(came) / 50) or not bench.is_emulated


def test_another_line_speed_is_noise_and_passes(plug: Plug, box: Box) -> None:
    gps = plug(Gnss, every_s=EVERY_S)
    dust = plug(Sds011, every_s=EVERY_S)
    box.start(sensor("gps", "gps-nmea", gps) + sensor("dust", "sds011", dust))
    box.until(has("lat"), 10, "a position", sensor="gps")
    gps.wrong_baud(4800)
    time.sleep(2 * EVERY_S)  # what was under way has come
    wrong_ns = time.monotonic_ns()
    box.until(lambda found: len(found) >= 10, 10, "dust goes on", sensor="dust", since_ns=wrong_ns)
    assert box.records("gps", "reading", since_ns=wrong_ns) == []
    gps.wrong_baud(None)
    well_after(box, ("gps",))
    assert "port_gone" not in [r.body["code"] for r in box.records("gps", "health")]


def test_commands_reach_a_lamp_that_was_away(plug: Plug, box: Box) -> None:
    lamp = plug(RelayLamp)
    box.start(sensor("lamp", "relay-lamp", lamp))
    box.until(has("lamp_on", False), 10, "the lamp's state", sensor="lamp", kind="reading")
    box.command("lamp", "on")
    box.until(has("lamp_on", True), 10, "it is on", sensor="lamp", kind="reading")
    lamp.unplug()
    box.health("lamp", "port_gone")
    lamp.replug()
    well_after(box, ("lamp",))
    off_ns = time.monotonic_ns()
    box.command("lamp", "off")
    box.until(has("lamp_on", False), 10, "it is off", sensor="lamp", kind="reading", since_ns=off_ns)


def test_a_receiver_that_lost_count_of_its_weeks(plug: Plug, box: Box, note: Note) -> None:
    gps = plug(Gnss, every_s=EVERY_S)
    box.start(sensor("gps", "gps-nmea", gps))
    box.until(has("utc"), 10, "a time", sensor="gps", kind="reading")
    gps.clock_step(-1024 * 7 * 86_400)
    found = box.until(has("clock_wrong"), 10, "the wrong date is noticed", sensor="gps", kind="reading")
    wrong = [r.values for r in found if r.values.get("clock_wrong")]
    assert all(values.get("utc") is None and values["lat"] is not None for values in wrong)
    gps.clock_step(1024 * 7 * 86_400)
    box.until(has("utc"), 10, "a time", sensor="gps", kind="reading", since_ns=time.monotonic_ns())
    note(f"{len(wrong)} epochs with a date 1024 weeks back: position kept, time refused")


def test_a_script_of_faults_heals(plug: Plug, box: Box, bench: Bench) -> None:
    gps = plug(Gnss, every_s=EVERY_S, seed=bench.seed)
    light = plug(Gy39, every_s=EVERY_S, seed=bench.seed)
    emulators = {"gps": gps, "light": light}
    box.start(sensor("gps", "gps-nmea", gps) + sensor("light", "gy39", light))
    well_after(box, ("gps", "light"))
    script = """
        at 0 s: unplug gps for 1 s
        at 0.2 s: garbage light 64 bytes
        at 0.5 s: stall light for 1 s
        at 1.2 s: drip gps 2 ms for 1 s       # while it is only just back
    """
    play(parse_script(script, emulators), emulators)
    well_after(box, ("gps", "light"))
    assert [r.body["code"] for r in box.records("gps", "health")] == ["port_gone", "deaf"]
    assert "port_gone" not in [r.body["code"] for r in box.records("light", "health")]


@pytest.mark.slow
def test_chaos_ends_well(plug: Plug, box: Box, bench: Bench, chaos_seed: int, note: Note) -> None:
    emulators = {
        "gps": plug(Gnss, every_s=EVERY_S, seed=bench.seed),
        "dust": plug(Sds011, every_s=EVERY_S, seed=bench.seed),
        "light": plug(Gy39, every_s=EVERY_S, seed=bench.seed),
        "lamp": plug(RelayLamp),
    }
    drivers = {"gps": "gps-nmea", "dust": "sds011", "light": "gy39", "lamp": "relay-lamp"}
    box.start("".join(sensor(name, drivers[name], emulators[name]) for name in emulators))
    well_after(box, tuple(emulators))
    if not bench.is_emulated:
        pytest.skip("a rig is not treated at random: its plugs wear out")
    steps = chaos(chaos_seed, emulators, CHAOS_S)
    print(f"chaos {chaos_seed}:", *steps, sep="\n")
    workers = box.pids()
    play(steps, emulators)
    well_after(box, tuple(emulators))
    assert box.pids() == workers, "a worker died"
    gone = sum(r.body["code"] == "port_gone" for r in box.records(kind="health"))
    note(f"chaos {chaos_seed}: {len(steps)} faults in {CHAOS_S:.0f} s, {gone} unplugs seen, all well again")
