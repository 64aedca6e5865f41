"""A lamp's lighting in words, for `gateway check`: when it burns today, how bright, and what proves it."""

from datetime import UTC, datetime, tzinfo
from zoneinfo import ZoneInfo

from gateway.lightplan import LightingPlan, Moment, lighting_of
from gateway.plan import Plan, SensorPlan
from gateway.schedule import Schedule


def lighting_lines(plan: Plan, wall_s: float) -> list[str]:
    """A sentence for each lamp with a [lighting] table, as of that time (seconds since 1970, UTC)."""
    names = {sensor.number: sensor.name for sensor in plan.sensors}
    return [sentence(sensor, names, wall_s) for sensor in plan.sensors if sensor.lighting]


def sentence(sensor: SensorPlan, names: dict[int, str], wall_s: float) -> str:
    """One lamp's lighting; `names` has the sensors by number."""
    lighting = lighting_of(sensor.lighting)
    parts = [_burning(lighting, wall_s)] if lighting.on is not None else ["burns only when it is told to"]
    if lighting.on is not None:
        parts.append(f"{lighting.safe} % while nobody knows the time")
        parts.append(f"a wish without for_s holds for {_span(lighting.override_s)}")
    if (proof := lighting.proof) is not None:
        of = f" of {names[proof.sensor]}" if proof.sensor else ""
        within = f"{proof.above:g} within {_span(proof.settle_s)}"
        parts.append(f"told on, {proof.measure}{of} comes to {within}, or it is out")
    return f"lamp {sensor.name}: {'; '.join(parts)}"


def _burning(lighting: LightingPlan, wall_s: float) -> str:
    zone: tzinfo | None = ZoneInfo(lighting.zone) if lighting.zone else None
    coming = [night for night in Schedule(lighting).burning(wall_s) if night[1] > wall_s]
    dims = "".join(f", {d.level} % from {_time(d.start_s)} to {_time(d.end_s)}" for d in lighting.dims)
    zoned = f" ({lighting.zone})" if lighting.zone else ""
    if not coming:
        return (
            f"burns from {_moment(lighting.on)} to {_moment(lighting.off)}, but not at this time of the year"
        )
    on, off = (datetime.fromtimestamp(edge, UTC).astimezone(zone).strftime("%H:%M") for edge in coming[0])
    from_to = f"from {_moment(lighting.on)} ({on}) to {_moment(lighting.off)} ({off})"
    ramp = f", changing within {_span(lighting.ramp_s)}" if lighting.ramp_s else ""
    return f"burns at {lighting.level} % {from_to}{dims}{zoned}{ramp}"


def _moment(moment: Moment | None) -> str:
    assert moment is not None
    if not moment.sun:
        return _time(moment.seconds)
    if not moment.seconds:
        return moment.sun
    return f"{_span(abs(moment.seconds))} {'before' if moment.seconds < 0 else 'after'} {moment.sun}"


def _time(seconds: int) -> str:
    return f"{seconds // 3600:02d}:{seconds // 60 % 60:02d}"


def _span(seconds: float) -> str:
    for unit, size in (("h", 3600), ("min", 60)):
        if seconds >= size and seconds % size == 0:
            return f"{seconds / size:g} {unit}"
    return f"{seconds:g} s"
