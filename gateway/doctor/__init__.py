"""What this machine can and cannot read, and the one line that mends each thing that is wrong.

Every check looks and changes nothing; none takes into use what a working box needs, so it can run beside one.
`root` stands for the root of the file system, so that tests can show it another machine.
"""

import sys
from collections.abc import Iterator
from pathlib import Path

from gateway.clock import SystemClock
from gateway.compile import compiled
from gateway.doctor.calibrations import calibrations
from gateway.doctor.finding import Finding
from gateway.doctor.machine import clock, drivers, extras, python_version
from gateway.doctor.microphones import microphones
from gateway.doctor.models import models
from gateway.doctor.ports import examine_ports
from gateway.doctor.running import running
from gateway.doctor.state import enrolment, state_folder
from gateway.doctor.workers import workers
from gateway.errors import ConfigError


def examine(site: Path | None) -> Iterator[Finding]:
    """Everything, in the order in which to mend it. `site` is the site file, if there is one."""
    yield python_version(sys.version_info[:2], sys.maxsize)
    yield from extras()
    yield from drivers()
    plan = None
    if site is None:
        yield Finding("site file", "note", "there is none here", "gateway init")
    else:
        try:
            plan = compiled(site)
            yield Finding("site file", "ok", f"{site} is right: {len(plan.sensors)} sensors")
        except ConfigError as error:
            yield Finding("site file", "wrong", str(error), f"edit {site}, then: gateway check {site}")
    yield from examine_ports(plan)
    yield clock(SystemClock().state())
    if plan is not None:
        yield from state_folder(plan)
        yield from workers(plan)
        yield from microphones(plan)
        yield from models(plan)
        yield from running(plan)
        yield from calibrations(plan, SystemClock())
        yield enrolment(plan.state)
