"""GPIO through the kernel's own gpiolib: contacts, motion, rain, relays, a chip that goes and comes back."""

import asyncio
import signal
import time
from collections.abc import Callable
from typing import Any

import pytest

from gateway.driver import Edge
from gateway.errors import PortGone
from gateway.ports.gpio import GpioPort
from gateway.ports.gpiochip import find_chip
from gateway.reading import Lane
from gateway_drivers.gpio_relay import GpioRelay, GpioRelaySettings
from gateway_drivers.rain_gauge import RainGauge as RainGaugeDriver
from gateway_drivers.rain_gauge import RainGaugeSettings
from gateway_hil.bench import Bench
from gateway_hil.box import Box, Seen
from gateway_hil.emulators.contact import DoorContact
from gateway_hil.emulators.pir import Pir
from gateway_hil.emulators.rain_gauge import RainGauge
from gateway_hil.emulators.relay import RelayCoil
from gateway_hil.guest.gpiosim import SimChip

pytestmark = pytest.mark.needs("gpio")

Plug = Callable[..., Any]
Note = Callable[[str], None]
AS_IS = 'bias = "as-is"'
PACE_S = 0.025  # between edges; a guest's kernel takes an interrupt every 10 ms


def sensor(name: str, driver: str, port: str, line: str, *settings: str) -> str:
    """One sensor's table of a site file."""
    head = [f"[sensor.{name}]", f'driver = "{driver}"', f'port = "{port}"', f'line = "{line}"']
    return "\n".join([*head, *settings, ""])


def relay(coil: Any) -> str:
    """A relay's table, with its feedback."""
    return sensor("lamp", "gpio-relay", coil.port, coil.line, f'feedback = "{coil.feedback}"', AS_IS)


def values(records: list[Seen], measure: str) -> list[Any]:
    """What one measure was, in order."""
    return [record.values[measure] for record in records]


def readings_of(box: Box, name: str, measure: str, count: int) -> list[Any]:
    """The values of the first `count` readings, or of more; waits for them."""
    enough = box.until(
        lambda found: len(found) >= count, 5, f"{count} readings of {name}", sensor=name, kind="reading"
    )
    return values(enough, measure)


def contact(box: Box, count: int = 1, *, since_ns: int = 0) -> list[Seen]:
    """The first `count` readings of the relay's contact, or more; those of what it was told are left out."""

    def of_contact(found: list[Seen]) -> list[Seen]:
        return [record for record in found if record.values.get("on") is not None]

    what = f"{count} readings of the contact"
    return of_contact(
        box.until(
            lambda found: len(of_contact(found)) >= count,
            10,
            what,
            sensor="lamp",
            kind="reading",
            since_ns=since_ns,
        )
    )


def shown(record: Seen) -> tuple[Any, Any]:
    """Whether the contact is closed, and whether that is what was asked."""
    return record.values["on"], record.values["follows"]


def test_a_door_open_before_the_start_is_known_and_then_each_change(plug: Plug, box: Box, note: Note) -> None:
    door = plug(DoorContact)
    door.open()
    box.start(sensor("door", "door-contact", door.port, door.line, AS_IS, "debounce_ms = 30"))
    assert box.first_reading("door").values == {"open": True}
    door.close()
    closed_ns = time.monotonic_ns()
    record = box.until(lambda found: len(found) == 2, 2, "closed", sensor="door", kind="reading")[1]
    assert record.values == {"open": False}
    note(f"a closed door was a record after {(record.came_ns - closed_ns) / 1e6:.0f} ms, 30 of them debounce")


def test_eleven_bounces_are_one_opening(plug: Plug, box: Box, bench: Bench) -> None:
    door = plug(DoorContact, seed=bench.seed)
    box.start(sensor("door", "door-contact", door.port, door.line, AS_IS, "debounce_ms = 100"))
    box.first_reading("door")
    door.bounce(11, within_ms=60)
    assert readings_of(box, "door", "open", 2) == [False, True]
    door.close()
    assert readings_of(box, "door", "open", 3) == [False, True, False]


def test_a_passer_by_is_one_motion_however_often_the_sensor_triggers(plug: Plug, box: Box) -> None:
    pir = plug(Pir, tail_s=0.05)
    box.start(sensor("pir", "pir", pir.port, pir.line, AS_IS, "hold_ms = 600"))
    box.first_reading("pir")
    pir.garbage(4)
    came = box.until(lambda found: len(found) == 3, 5, "motion is over", sensor="pir", kind="reading")
    assert values(came, "motion") == [False, True, False]
    assert came[2].t_ns - came[1].t_ns >= 600e6


def test_a_burst_of_two_hundred_edges_is_complete(plug: Plug, box: Box, note: Note) -> None:
    rain = plug(RainGauge)
    box.start(sensor("rain", "rain-gauge", rain.port, rain.line, AS_IS, "debounce_ms = 0"))
    box.first_reading("rain")
    rain.burst(100, PACE_S)
    last = box.until(
        lambda found: 2 * found[-1].values["tips"] + found[-1].values["edges_lost"] >= rain.edges,
        10,
        "all edges seen or counted as lost",
        sensor="rain",
        kind="reading",
    )[-1]
    note(
        f"200 edges in {200 * PACE_S:g} s: {last.values['tips']} tips, {last.values['edges_lost']} edges lost"
    )
    assert last.values == {"rain": 0.2, "rain_total": 20.0, "tips": 100, "edges_lost": 0}


def test_edges_that_the_kernel_could_not_hold_are_a_counted_gap(bench: Bench, plug: Plug, note: Note) -> None:
    rain = plug(RainGauge)
    driver = RainGaugeDriver(RainGaugeSettings(rain.line, debounce_ms=0, bias="as-is"))

    async def count_after_a_stall() -> list[Edge]:
        port = GpioPort(rain.chip.label, [driver], events_max=64)
        await port.open()
        # Nobody fetches an edge meanwhile: this loop stands still. The slower the guest, the slower the
        # edges, so that each is an interrupt of its own.
        rain.burst(100, PACE_S * min(bench.slowness, 4))
        edges: list[Edge] = []
        try:
            async with asyncio.timeout(5):
                async for _, edge in port.frames():
                    edges.append(edge)
                    if len(edges) == 65:
                        return edges
        finally:
            port.close()
        return edges

    found, *edges = asyncio.run(count_after_a_stall())
    lost = sum(edge.lost for edge in edges)
    note(f"200 edges while nobody read: {len(edges)} came, {lost} counted as lost")
    assert found.found
    assert (len(edges), lost) == (64, 136)
    assert [edge.rising for edge in edges] == [True, False] * 32


@pytest.mark.time_travel
def test_a_stopped_worker_says_how_many_edges_it_lost(plug: Plug, box: Box, note: Note) -> None:
    rain = plug(RainGauge)
    box.start(sensor("rain", "rain-gauge", rain.port, rain.line, AS_IS, "debounce_ms = 0"))
    box.first_reading("rain")
    box.kill(signum=signal.SIGSTOP)
    # 1,200 edges in 12 s; the kernel holds 1,024, and who stood still for 15 s may be taken for stuck.
    rain.burst(600, 0.01)
    box.kill(signum=signal.SIGCONT)
    rain.tip()
    said = box.health("rain", "lost_frames")
    last = box.until(
        lambda found: 2 * found[-1].values["tips"] + found[-1].values["edges_lost"] >= rain.edges - 1,
        10,
        "all edges seen or counted as lost",
        sensor="rain",
        kind="reading",
    )[-1]
    note(f"{rain.edges} edges, worker stopped: {last.values['tips']} tips, {last.values['edges_lost']} lost")
    assert said.lane is Lane.STATE
    assert said.body["count"] == last.values["edges_lost"] == 1200 - 1024
    assert (2 * last.values["tips"], rain.edges) == (1024 + 2, 1202)


def test_a_relay_follows_and_is_read_back(plug: Plug, box: Box, note: Note) -> None:
    coil = plug(RelayCoil)
    box.start(relay(coil))
    assert shown(contact(box)[0]) == (False, True)
    asked_ns = time.monotonic_ns()
    box.command("lamp", "on")
    on = contact(box, since_ns=asked_ns)[0]
    assert shown(on) == (True, True)
    assert coil.is_driven
    assert coil.is_on
    (result,) = box.records("lamp", "result")
    assert result.body["ok"]
    note(f"the contact was read back {(on.t_ns - asked_ns) / 1e6:.0f} ms after the command was started")
    box.command("lamp", "off")
    assert values(contact(box, 3), "on") == [False, True, False]


def test_a_stuck_relay_is_said_to_be_stuck(plug: Plug, box: Box) -> None:
    coil = plug(RelayCoil)
    box.start(relay(coil))
    box.first_reading("lamp")
    coil.stall()
    with pytest.raises(AssertionError, match="feedback AUX says off"):
        box.command("lamp", "on")
    assert shown(contact(box)[-1]) == (False, False)
    assert not box.records("lamp", "result")[0].body["ok"]
    coil.stall(False)
    late = box.until(
        lambda found: any(record.values.get("on") for record in found), 5, "on", sensor="lamp", kind="reading"
    )
    assert shown(next(record for record in late if record.values.get("on"))) == (True, True), (
        "late, but it followed"
    )


def test_a_contact_moved_by_hand_is_noticed(plug: Plug, box: Box) -> None:
    coil = plug(RelayCoil)
    box.start(relay(coil))
    box.first_reading("lamp")
    coil.stall()
    coil.by_hand(True)
    box.until(lambda found: len(found) == 2, 2, "on by hand", sensor="lamp", kind="reading")
    assert shown(box.records("lamp", "reading")[-1]) == (True, False)


@pytest.mark.parametrize("safe", [False, True])
def test_an_output_is_safe_from_the_start_and_when_it_is_let_go(plug: Plug, safe: bool) -> None:
    coil = plug(RelayCoil)
    coil.drive("LAMP", not safe)  # the resistor outside says otherwise: only the port makes it safe
    driver = GpioRelay(GpioRelaySettings(coil.line, safe=safe, feedback=coil.feedback))
    levels: list[bool] = []

    async def switch_and_stop() -> None:
        port = GpioPort(coil.chip.label, [driver])
        await port.open()
        levels.append(coil.is_driven)
        await port.send(driver, not safe)
        levels.append(coil.is_driven)
        assert port._driving is not None
        let_go = port._driving.release

        def release() -> None:
            levels.append(coil.is_driven)
            let_go()

        port._driving.release = release  # type: ignore[method-assign]
        port.close()
        assert port.counters["unsafe_closes"] == 0

    asyncio.run(switch_and_stop())
    assert levels == [safe, not safe, safe]
    assert coil.is_driven != safe, "gpio-sim gives a line back to what pulls it"


def test_after_a_sigkill_the_kernel_lets_go_and_the_next_worker_makes_it_safe(
    plug: Plug, box: Box, note: Note
) -> None:
    coil = plug(RelayCoil)
    coil.drive("LAMP", True)  # the resistor outside pulls to on
    box.start(relay(coil))
    box.first_reading("lamp")
    assert not coil.is_driven, "safe from the start, against the resistor"
    killed_ns = time.monotonic_ns()
    box.kill()
    deadline = time.monotonic() + 5
    while not coil.is_driven and time.monotonic() < deadline:
        time.sleep(0.001)
    let_go_ns = time.monotonic_ns()
    assert coil.is_driven, "gpio-sim gives a line back to what pulls it"
    box.first_reading("lamp", since_ns=let_go_ns)
    safe = box.records("lamp", "reading")[-1]
    assert not coil.is_driven
    note(
        f"after SIGKILL the line was let go within {(let_go_ns - killed_ns) / 1e6:.0f} ms, "
        f"and safe again after {(safe.came_ns - killed_ns) / 1e6:.0f} ms"
    )


def test_a_chip_that_goes_is_port_gone_and_heals(plug: Plug, box: Box, bench: Bench, note: Note) -> None:
    door = plug(DoorContact)
    box.start(sensor("door", "door-contact", door.port, door.line, AS_IS, "debounce_ms = 10"))
    box.first_reading("door")
    for _ in range(2):
        gone_ns = time.monotonic_ns()
        door.unplug()
        gone = box.health("door", "port_gone", since_ns=gone_ns)
        assert gone.came_ns - gone_ns <= 0.5e9 * bench.slowness
        door.open() if not door.is_open else door.close()
        back_ns = time.monotonic_ns()
        door.replug()
        # gpio-sim is low until the emulator, just after, drives the line again.
        back = box.until(
            lambda found: found and found[-1].values == {"open": door.is_open},
            5,
            "what it missed is known again",
            sensor="door",
            kind="reading",
            since_ns=back_ns,
        )[-1]
        assert back.came_ns - back_ns <= 2e9 * bench.slowness
        note(
            f"chip removal seen after {(gone.came_ns - gone_ns) / 1e6:.0f} ms, "
            f"first reading {(back.came_ns - back_ns) / 1e6:.0f} ms after it was back"
        )


def test_a_relay_without_feedback_notices_that_its_chip_is_gone(plug: Plug, box: Box) -> None:
    coil = plug(RelayCoil)
    box.start(sensor("lamp", "gpio-relay", coil.port, coil.line))
    assert shown(contact(box)[0]) == (False, True)
    coil.unplug()
    box.health("lamp", "port_gone")
    back_ns = time.monotonic_ns()
    coil.replug()
    box.first_reading("lamp", since_ns=back_ns)
    box.command("lamp", "on")
    assert coil.is_driven


def test_two_chips_with_one_label_are_refused_by_name(plug: Plug) -> None:
    plug(SimChip, label="twin", lines=["A"])
    assert find_chip("twin").lines == ("A",)
    plug(SimChip, label="twin", lines=["A"])
    with pytest.raises(PortGone, match=r"2 chips are labelled 'twin' \(/dev/gpiochip\d, /dev/gpiochip\d\)"):
        find_chip("twin")


def test_sensors_share_a_chip_and_a_line_in_use_names_its_user(plug: Plug, box: Box) -> None:
    chip = plug(SimChip, label="street", lines=["DOOR", "PIR", "RAIN"])
    door, rain = plug(DoorContact, chip=chip), plug(RainGauge, chip=chip)
    box.start(
        sensor("door", "door-contact", chip.port, "DOOR", AS_IS)
        + sensor("rain", "rain-gauge", chip.port, "2", AS_IS)
    )
    box.first_reading("door")
    box.first_reading("rain")
    door.open()
    rain.tip()
    assert readings_of(box, "door", "open", 2) == [False, True]
    assert readings_of(box, "rain", "tips", 2) == [0, 1]

    async def take_it_again() -> None:
        second = GpioPort("street", [RainGaugeDriver(RainGaugeSettings("RAIN"))])
        try:
            await second.open()
        finally:
            second.close()

    with pytest.raises(PortGone, match=r"RAIN \(gateway\) of street is in use"):
        asyncio.run(take_it_again())


def test_a_bias_is_asked_of_the_chip(plug: Plug, box: Box) -> None:
    chip = plug(SimChip, label="bare", lines=["X"])
    box.start(sensor("door", "door-contact", chip.port, "X"))
    assert box.first_reading("door").values == {"open": True}, "nothing is connected; the pull-up decides"
