"""What is wrong with drivers here: what killed a worker, who talks too fast, and who is not understood."""

import time
from collections.abc import Iterator
from typing import Any, Final

from gateway.doctor.finding import Finding
from gateway.flood import RATE
from gateway.lastwords import read_last
from gateway.misheard import misheard_path, read_misheard
from gateway.plan import Plan, PortPlan
from gateway.reading import HealthCode
from gateway.telling import KEPT_EVERY_NS, read_told, told_path

_FORGET_S: Final = 7 * 86_400  # a death as long ago as that is no news
_ONSET: Final = "gateway.acoustic:Onset"  # such a sensor leaves out bangs, not readings


def workers(plan: Plan, now_s: float | None = None) -> Iterator[Finding]:
    """One line for each port whose worker died; the ports' own plan says which sensors hang there now."""
    now_s = time.time() if now_s is None else now_s
    for port in plan.ports:
        last = read_last(plan.state / "run", port.number)
        if last is not None and now_s - last["when"] < _FORGET_S:
            yield _death(port, last, now_s)
        told = read_told(told_path(plan.state / "run", port.number))
        if told and now_s - told["when"] < 2 * KEPT_EVERY_NS / 1e9:
            yield from _floods(port, told)
        if text := read_misheard(misheard_path(plan.state / "run", port.number)):
            names = ", ".join(sensor.name for sensor in port.sensors)
            mend = "set the device's line to that, or the sensor's setting to the device's; or swap two wires"
            yield Finding(f"port {port.number}", "wrong", f"sensor {names}: {text}", mend)


def _death(port: PortPlan, last: dict[str, Any], now_s: float) -> Finding:
    if model := last.get("model"):
        who = f"model {model}"
    else:
        who = f"driver {last['driver']}" if last["is_sure"] else f"most likely driver {last['driver']}"
    names = ", ".join(last["sensors"])
    where = f" at {last['where']}" if last["where"] else ""
    text = f"sensor {names}: {who} {last['what']}{where}, at {_clock(last['when'])}"
    if last["well"]:
        return Finding(f"port {port.number}", "note", f"{text}; it has run since", "")
    if last["deaths"] > 1:
        text += f"; {last['deaths']} times since {_clock(last['since'])}"
    parked_until = last["parked_until"]
    if parked_until is not None and parked_until > now_s:
        text += f"; left stopped until {_clock(parked_until)}"
    plural = "s" * (len(last["sensors"]) != 1)
    mend = (
        f"tell whoever makes the model, with run/port-{port.number}.crash of the state folder"
        if model
        else (
            f"tell whoever makes the driver, with run/port-{port.number}.bad and .crash of the state folder; "
            f"until then take sensor{plural} {names} out of the site file"
        )
    )
    return Finding(f"port {port.number}", "wrong", text, mend)


def _floods(port: PortPlan, told: dict[str, Any]) -> Iterator[Finding]:
    drivers = {sensor.name: sensor.driver for sensor in port.sensors}
    listening = {s.name for s in port.sensors if any(stage.factory == _ONSET for stage in s.stages)}
    for sensor, count in told["counts"].get(HealthCode.SUPPRESSED.name, {}).items():
        if sensor in listening:
            text = (
                f"sensor {sensor}: so many bangs that only the loudest were heard out; {count} were left out "
                f"since {_clock(told['since'])}"
            )
            mend = f"hail, or a building site? If it stays so, raise the onset of {sensor} by 3 dB"
            yield Finding(f"port {port.number}", "note", text, mend)
            continue
        text = (
            f"sensor {sensor}: driver {drivers.get(sensor, '?')!r} gave more than {RATE} readings a second; "
            f"{count} were left out since {_clock(told['since'])}"
        )
        mend = f"see what {sensor} is connected to; a device that babbles is broken, or has another protocol"
        yield Finding(f"port {port.number}", "wrong", text, mend)


def _clock(when_s: float) -> str:
    return time.strftime("%Y-%m-%d %H:%M", time.localtime(when_s))
