"""The page of measures: `python -m gateway.measurepage > docs/measures.md`."""

from typing import Final

from gateway.measures import TABLE

_HEAD: Final = """\
# Measures

What readings are called, in which unit, and what the framework expects of them. Made of `gateway/measures.py`
by `python -m gateway.measurepage > docs/measures.md`; change it there, one line a measure.

- **Range**: what lies outside cannot be, is left out of its reading and counted (health `implausible`).
- **Still**: a value that has not moved for longer is told as `stuck`; never at an end of its range.
- **Drift**: with `reference = "OTHER-SENSOR"`, the median of a day may lie no further from that sensor's,
  three days in a row; with a **floor**, the lowest tenth of a day no further from that, seven days in a row.
- A second measure of a kind is called like the first, with a number: `temperature_2`. A name that is not
  here is its driver's own, has no range, and may have any unit of `gateway/units.py`.

A site file may say otherwise of a sensor, and calibrate it:

```toml
[sensor.air]
still = { temperature = "12 h", humidity = "off" }
drift = { temperature = 1.5 }
reference = "weather"

[[sensor.air.calibration]]
measure = "pm2_5"
gain = 1.08          # truth = gain * what the sensor says + offset
offset = -0.4
date = 2026-03-01
id = "lab-17"        # travels with the readings, in the measure table
due = 2027-03-01     # past it, the sensor says so once a day (health calibration_due)
```

Of several calibrations of a measure the newest by date counts; the others are its history. A value that a
calibration pushes a little over the edge of its range is the edge.

| measure | unit | range | still | drift | floor | what it is |
|---|---|---|---|---|---|---|
"""


def page() -> str:
    """docs/measures.md, whole."""
    rows = []
    for line in TABLE.strip().splitlines():
        name, unit, *others = ("" if cell == "-" else cell for cell in line.split(maxsplit=6))
        rows.append("| " + " | ".join((f"`{name}`", f"`{unit}`", *others)) + " |\n")
    return _HEAD + "".join(rows)


if __name__ == "__main__":
    print(page(), end="")
