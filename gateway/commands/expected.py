"""The expected.json of a driver's case: what `gateway decode --expected` prints, and a test compares with.

    "settings"  what the sensor's settings must be         (left out if none)
    "readings"  [[seconds, {measure: value}], ...]         values as they travel: multiples of the resolution
    "bad"       frames refused, and packets whose check failed   (left out if none)
    "skipped"   bytes that were part of no frame                 (left out if none)

A person reads it before it is kept: a test can only hold a driver to what somebody found right.
"""

import json
from pathlib import Path
from typing import Any

from gateway.commands.decode import Decoding
from gateway.driver import Value
from gateway.errors import ConfigError
from gateway.reading import Measure
from gateway.records import quantum


def expected_text(decoding: Decoding, path: Path) -> str:
    """The text for one capture. Raises ConfigError if it is of several sensors and none is named."""
    readings = list(decoding.readings(path))
    origins = {tuple(origin.items()) for _, origin, _ in readings}
    if len(origins) > 1:
        key = next(iter(origins))[0][0]
        places = sorted(place for origin in origins for _, place in origin)
        raise ConfigError(f"this capture is of {', '.join(places)}; choose one with --set {key}=...")
    settings = dict(*origins) | decoding.written
    measures = decoding.measures()
    parts = [f'  "settings": {json.dumps(settings)}'] if settings else []
    rows = ",\n".join(
        "    "
        + json.dumps([round(at_ns / 1e9, 6), {n: _travelled(v, measures[n]) for n, v in values.items()}])
        for at_ns, _, values in readings
    )
    parts.append(f'  "readings": [\n{rows}\n  ]' if rows else '  "readings": []')
    counts = decoding.counts
    bad, skipped = counts["bad"] + counts["bad_packets"], counts["skipped"] - counts["held"]
    parts += [f'  "{name}": {count}' for name, count in (("bad", bad), ("skipped", skipped)) if count]
    return "{\n" + ",\n".join(parts) + "\n}"


def _travelled(value: Value, measure: Measure) -> Any:
    """The value that a reader of the record finds: the nearest multiple of the measure's resolution."""
    if value is None or isinstance(value, bool):
        return value
    steps = quantum(value, measure.resolution)
    if steps is None:
        return None
    if isinstance(value, int) and steps * measure.resolution == value:
        return value
    # 12 digits: what a multiplication by 0.1 leaves behind the last true digit is not shown.
    return float(f"{steps * measure.resolution:.12g}")
