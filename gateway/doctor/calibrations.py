"""Are the sensors' calibrations in date?"""

from collections.abc import Iterator

from gateway.clock import Clock
from gateway.doctor.finding import Finding
from gateway.duedates import overdue, today_of
from gateway.plan import Plan


def calibrations(plan: Plan, clock: Clock) -> Iterator[Finding]:
    """Which are past their date, as far as the clock is known; nothing of a box without any."""
    today = today_of(clock)
    every = [(sensor, each) for sensor in plan.sensors for each in sensor.calibrations]
    if not every:
        return
    if today is None:
        yield Finding("sensors", "note", "whether calibrations are due is not known: nor is the time")
        return
    late = [(sensor, each) for sensor, each in every if each in overdue(sensor.calibrations, today)]
    for sensor, each in late:
        text = f"{sensor.name}: the calibration {each.id} of {each.measure} was due {each.due}"
        mend = f"calibrate it anew, and add a [[sensor.{sensor.name}.calibration]] to the site file"
        yield Finding("sensors", "note", text, mend)
    if not late:
        yield Finding("sensors", "ok", f"no calibration is past its date ({len(every)} in use)")
