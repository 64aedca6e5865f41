"""Several Modbus devices on one line, a worker at its end: who is who, who is away, and what comes late."""

import contextlib
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from loops import in_loop, until
from stand_in import Core
from working import working

from gateway import talk
from gateway.config import read_site
from gateway.driver import BadFrame, SerialDriver
from gateway.reading import Kind
from gateway.records import quantum
from gateway_drivers.sdm120 import Sdm120, Sdm120Settings
from gateway_drivers.wb_mdm3 import WbMdm3, WbMdm3Settings
from gateway_hil.emulators.modbus import ModbusEmulator, sealed
from gateway_hil.emulators.sdm120 import Sdm120 as Meter
from gateway_hil.emulators.sdm120 import Sdm120Slave
from gateway_hil.emulators.wb_mdm3 import WbMdm3 as Dimmer

_SENSOR = """[sensor.{name}]
driver = "sdm120"
port = "serial:{line}"
unit = {unit}
baud = 9600
every_s = 0.5
"""


def held(driver: SerialDriver, holding, device: ModbusEmulator):
    """A conversation with nothing between driver and device; what came of it."""
    framer, said = driver.framing.framer(), next(holding)
    try:
        while True:
            (frame,) = framer.feed(device.heard(said))
            said = holding.send(frame)
    except StopIteration as end:
        return end.value


@given(st.data(), st.integers(1, 247))
def test_the_meter_is_read_over_its_whole_range(data, unit) -> None:
    device, driver = Meter(unit=unit), Sdm120(Sdm120Settings(unit))
    truth = {name: data.draw(st.floats(shown.low, shown.high), name) for name, shown in Meter.shows.items()}
    device.become(truth)
    values = held(driver, driver.poll(), device)
    assert values.keys() == truth.keys()
    assert device.heard_requests == {unit: 2}
    for measure in Sdm120.emits:
        off = quantum(values[measure.name], measure.resolution) - truth[measure.name] / measure.resolution
        assert abs(off) <= 1.0, measure.name  # rounded to a float, then to a step


@given(st.integers(1, 3), st.floats(0, 100), st.booleans())
def test_the_dimmer_does_as_told(channel, level, was_on) -> None:
    device, driver = Dimmer(unit=9), WbMdm3(WbMdm3Settings(9, channel))
    device.units[9].coils[channel - 1] = was_on
    assert held(driver, driver.encode("dim", {"level": level}), device) is None
    assert held(driver, driver.poll(), device) == {"lamp_level": round(level)}
    assert device.units[9].level_of(channel - 1) == round(level)
    others = [n for n in range(3) if n != channel - 1]
    assert [device.units[9].coils[n] for n in others] == [False, False]


@given(st.binary(min_size=1, max_size=80), st.booleans())
def test_whatever_a_device_says_is_a_bad_frame_at_worst(body, is_right) -> None:
    dimmer = WbMdm3()
    for holding in (Sdm120().poll(), dimmer.poll(), dimmer.encode("dim", {"level": 5})):
        asked = next(holding)
        frame = sealed(asked[:2] + body) if is_right else sealed(asked[:1] + body)
        with contextlib.suppress(BadFrame, StopIteration):
            for _ in range(20):
                holding.send(frame)


def test_a_brightness_that_cannot_be_is_no_reading() -> None:
    device, driver = Dimmer(), WbMdm3()
    device.units[1].coils[0], device.units[1].holding[0] = True, 101
    with pytest.raises(BadFrame, match="is unit 1 a WB-MDM3"):
        held(driver, driver.poll(), device)


@pytest.mark.slow
@pytest.mark.timeout(60)
@in_loop
async def test_each_unit_is_itself_and_one_that_is_missing_troubles_nobody(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(talk, "AWAY_S", 0.5)
    monkeypatch.setattr(Sdm120, "answer_s", 0.25)
    line = tmp_path / "line"
    names = {"first": 1, "second": 2, "missing": 3}
    sensors = "".join(_SENSOR.format(name=name, line=line, unit=unit) for name, unit in names.items())
    (tmp_path / "site.toml").write_text(f'box = "elm"\nstate = "state"\n{sensors}', encoding="utf-8")
    slaves = {1: Sdm120Slave(), 2: Sdm120Slave()}
    slaves[1].volts, slaves[2].volts = 111.0, 222.0
    with ModbusEmulator(line, units=slaves) as bus:
        plan = read_site(tmp_path / "site.toml")
        (plan.state / "run").mkdir(parents=True)
        core = Core(plan)

        def readings(name: str) -> list[float]:
            return [r["values"]["voltage"] for r in core.of(Kind.READING) if r["sensor"] == name]

        def away(name: str) -> list[str]:
            return [r["code"] for r in core.of(Kind.HEALTH) if r["sensor"] == name]

        async with working(plan):
            await until(lambda: len(readings("first")) > 3 and len(readings("second")) > 3)
            await until(lambda: "port_gone" in away("missing"))
            assert "port_gone" not in away("first") + away("second")
            bus.late(0.35)  # answers come when the question is no longer asked, in the midst of the next
            await until(lambda: "port_gone" in away("first") and "port_gone" in away("second"))
            bus.late(0)
            so_far = len(readings("first"))
            await until(lambda: len(readings("first")) > so_far + 2 and "deaf" in away("first"))
            bus.unplug()
            bus.replug()
            so_far = len(readings("second"))
            await until(lambda: len(readings("second")) > so_far + 2)
            bus.units[3] = Sdm120Slave()
            bus.heard_requests[3] = 0
            bus.units[3].volts = 33.0
            await until(lambda: readings("missing"))
        core.close()
    assert {name: set(readings(name)) for name in names} == {"first": {111}, "second": {222}, "missing": {33}}
