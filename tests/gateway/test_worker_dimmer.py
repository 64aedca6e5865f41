"""A Modbus dimmer and the meter that proves its lamp, two sensors on one line: ramp, failure, repair."""

import asyncio
from pathlib import Path
from typing import Any

import pytest
from loops import in_loop, until
from stand_in import Core
from working import working

from gateway.askworker import ask
from gateway.config import read_site
from gateway.reading import Kind
from gateway_hil.emulators.wb_mdm3 import DIMMER_UNIT, METER_UNIT, cabinet

pytestmark = [pytest.mark.slow, pytest.mark.timeout(60)]


@in_loop
async def test_a_lamp_that_burns_out_is_told_by_its_meter(tmp_path: Path) -> None:
    site = f"""box = "elm"
state = "state"
[sensor.meter]
driver = "sdm120"
port = "serial:{tmp_path}/line"
unit = {METER_UNIT}
baud = 9600
every_s = 0.5
[sensor.lamp]
driver = "wb-mdm3"
port = "serial:{tmp_path}/line"
unit = {DIMMER_UNIT}
line = "9600 8n1"
[lighting.lamp]
proof = {{ sensor = "meter", measure = "power", above = 5, settle = "1 s" }}
"""
    (tmp_path / "site.toml").write_text(site, encoding="utf-8")
    with cabinet(wire=tmp_path / "line") as line:
        dimmer: Any = line.units[DIMMER_UNIT]
        plan = read_site(tmp_path / "site.toml")
        (plan.state / "run").mkdir(parents=True)
        core = Core(plan)
        async with working(plan) as worker:
            socket = plan.state / "run" / "port-0.sock"
            await until(lambda: worker._opened_ns is not None and socket.exists())
            told = [2, "dim", {"level": 80, "ramp_s": 2}]
            assert (await asyncio.to_thread(ask, socket, told, "lamp"))[0]
            assert (await asyncio.to_thread(ask, socket, [2, "dim", {"level": 20, "ramp_s": 2}], "lamp"))[0]
            await until(lambda: dimmer.lamp_level == 20)
            await asyncio.to_thread(ask, socket, [2, "dim", {"level": 80}], "lamp")
            assert dimmer.lamp_level == 80, "the answer came after the dimmer's own word"
            dimmer.burnt_out = True
            await core.until(lambda _: bool(core.of(Kind.EVENT)))
        core.close()
    (event,) = core.of(Kind.EVENT)
    assert (event["sensor"], event["label"]) == ("lamp", "lamp_out")
