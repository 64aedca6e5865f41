"""The measures: every name that readings use, with its unit, what it can be at a pole, and what it is.

One line a measure, sorted by name; "-" where there is none:
`name  unit  range  still  drift  floor  what it is`
    range  physically possible: what lies outside is no measurement and is left out (an end may be open)
    still  how long the value may stay exactly the same; longer, and the sensor is stuck. None where a value
           stands still for good reasons (rain, a position, a switch); at an end of its range a value may
           always stay, as the light does in a polar night
    drift  how far the median of a day may lie from a reference's before the sensor is said to drift
    floor  what the air has where nothing adds to it: the lowest values of a day must come near to it

It is one text, as a worker looks up two or three of its lines, and a hundred objects in each would cost more.
The units are those of `gateway.units`; docs/measures.md is made of it.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

TABLE: Final = """
acceleration      m/s2    -4000..4000    -   -   -   acceleration
accuracy_h        m       0..            -   -   -   how far off a receiver's position may be, horizontally
accuracy_v        m       0..            -   -   -   how far off a receiver's height may be
altitude          m       -500..9000     -   -   -   height above mean sea level
apparent_power    V.A     -1e8..1e8      -   -   -   electrical power, apparent
band              dB[FS]  -200..10       -   -   -   a third of an octave, of full scale; band_1000: 1000 Hz
band_spl          dB[SPL] -60..200       -   -   -   a third of an octave; band_spl_1000: 1000 Hz
battery           %       0..100         -   -   -   charge of the device's battery
battery_charging  bool    0..1           -   -   -   its battery charges
battery_low       bool    0..1           -   -   -   its battery is almost empty
brightness        %       0..100         1d  -   -   mean of all pixels of a picture; 100 is white
button            1       0..255         -   -   -   how a button was pressed; its driver says the numbers
channel           1       0..255         -   -   -   a channel's number
clock_wrong       1       0..1           -   -   -   1 while a receiver shows a date that cannot be
cn0               dB      0..99          -   -   -   a receiver's carrier over noise in 1 Hz
co2               [ppm]   250..40000     1d  75  420 carbon dioxide in the air
co_detected       bool    0..1           -   -   -   carbon monoxide is detected
cold              bool    0..1           -   -   -   it is too cold
command           1       0..255         -   -   -   a switch's command; the driver says what each number is
conductivity      uS/cm   0..200000      -   -   -   electrical conductivity of water or soil
connected         bool    0..1           -   -   -   the device is connected
contrast          %       0..100         1d  -   -   standard deviation of a picture's pixels, of white
count             1       -              -   -   -   a plain count
covered           bool    0..1           -   -   -   a camera is covered
current           A       -1e5..1e5      -   -   -   electrical current
device_type       1       0..65535       -   -   -   the maker's number of the device's model
dew_point         Cel     -100..60       1d  2   -   temperature at which the air's water condenses
dimmer            1       -              -   -   -   steps that a dial was turned; negative to the left
direction         deg     0..360         -   -   -   a direction, clockwise from north
distance          m       0..100000      -   -   -   distance to an object
door_open         bool    0..1           -   -   -   a door is open
duration          s       0..            -   -   -   how long something took
edges_lost        1       0..            -   -   -   changes of a line that came too fast to be read
energy            kW.h    -              -   -   -   electrical energy, counted
energy_out        kW.h    -              -   -   -   electrical energy fed back, counted
fault             1       0..65535       -   -   -   what is wrong, by its maker's numbers; 0 is nothing
firmware          1       -              -   -   -   version of the device's firmware, three digits a part
fix               1       0..9           -   -   -   a receiver's sort of fix; its driver says the numbers
flow              m3/h    -1e6..1e6      -   -   -   flow of a liquid or a gas
follows           bool    0..1           -   -   -   an output's feedback shows what it was told
frame_rate        Hz      0..1000        -   -   -   pictures a second
frames            1       0..            -   -   -   pictures, counted
frequency         Hz      0..100000      -   -   -   frequency of an alternating voltage
garage_door_open  bool    0..1           -   -   -   a garage door is open
gas               m3      0..            -   -   -   gas, counted
gas_detected      bool    0..1           -   -   -   gas is detected
gust_factor       1       0..26          -   -   -   highest speed of the wind over its mean
gyroscope         deg/s   -10000..10000  -   -   -   speed of rotation
hdop              1       0..100         -   -   -   horizontal dilution of precision
heat_index        Cel     -60..85        -   -   -   temperature as it feels with the air's humidity
hot               bool    0..1           -   -   -   it is too hot
humidity          %       0..105         7d  10  -   relative humidity of the air
illuminance       lx      0..200000      3d  -   -   light that falls on a surface
in_view           1       0..255         -   -   -   satellites above the horizon
irradiance        W/m2    0..2000        3d  -   -   power of light that falls on a surface
l10               dB[SPL] -20..200       6h  3   -   level that 10 % of a minute exceeds, A-weighted, Fast
l10_fs            dB[FS]  -200..10       6h  -   -   the same, of digital full scale
l50               dB[SPL] -20..200       6h  3   -   level that 50 % of a minute exceeds, A-weighted, Fast
l50_fs            dB[FS]  -200..10       6h  -   -   the same, of digital full scale
l90               dB[SPL] -20..200       6h  3   -   level that 90 % of a minute exceeds, A-weighted, Fast
l90_fs            dB[FS]  -200..10       6h  -   -   the same, of digital full scale
laeq              dB[SPL] -20..200       6h  3   -   equivalent level of a sound, A-weighted
laeq_60s          dB[SPL] -20..200       6h  3   -   equivalent level of a minute, A-weighted
laeq_60s_fs       dB[FS]  -200..10       6h  -   -   the same, of digital full scale
laeq_fs           dB[FS]  -200..10       6h  -   -   the same, of digital full scale
lamax             dB[SPL] -20..200       6h  -   -   highest level of a sound, A-weighted, Fast
lamax_60s         dB[SPL] -20..200       6h  -   -   highest level of a minute, A-weighted, Fast
lamax_60s_fs      dB[FS]  -200..10       6h  -   -   the same, of digital full scale
lamax_fs          dB[FS]  -200..10       6h  -   -   the same, of digital full scale
lamp_current      A       0..100         -   -   -   current that a lamp draws
lamp_level        %       0..100         -   -   -   how bright a lamp is; 100 is all it has
lamp_on           bool    0..1           -   -   -   a lamp is switched on
lamp_source       1       0..5           -   -   -   who decides: 1 person 2 rule 3 hub 4 schedule 5 nobody
lamp_told         %       0..100         -   -   -   how bright a lamp was told to be
lat               deg     -90..90        -   -   -   geographic latitude, WGS 84
lceq              dB[SPL] -20..200       6h  3   -   equivalent level of a sound, C-weighted
lceq_fs           dB[FS]  -200..10       6h  -   -   the same, of digital full scale
level             dB[FS]  -200..10       1h  -   -   level of a sound, of digital full scale
level_a           dB[SPL] 0..160         6h  3   -   sound pressure level, A-weighted
level_c           dB[SPL] 0..160         6h  3   -   sound pressure level, C-weighted
level_spl         dB[SPL] -20..200       1h  3   -   sound pressure level
light_detected    bool    0..1           -   -   -   light is detected
light_level       1       0..255         -   -   -   brightness in steps of the device
lon               deg     -180..180      -   -   -   geographic longitude, WGS 84
mains             bool    0..1           -   -   -   the mains is there
mass              kg      -1e6..1e6      -   -   -   mass
moisture          %       0..100         -   -   -   water in soil or wood
motion            bool    0..1           -   -   -   something moves in view
moving            bool    0..1           -   -   -   the device is moved
occupied          bool    0..1           -   -   -   somebody is there
on                bool    0..1           -   -   -   an output is switched on
open              bool    0..1           -   -   -   a contact is open
opening_open      bool    0..1           -   -   -   an opening is open
overloaded        bool    0..1           -   -   -   it is more than the device can measure
packets_lost      1       0..            -   -   -   radio packets that were not heard
plugged_in        bool    0..1           -   -   -   a plug is in
pm1               ug/m3   0..2000        1d  10  -   fine dust under 1 um
pm10              ug/m3   0..5000        1d  20  -   fine dust under 10 um
pm2_5             ug/m3   0..2000        1d  10  -   fine dust under 2.5 um
pollen            /m3     0..            -   -   -   pollen in the air
power             W       -1e8..1e8      -   -   -   electrical power, active
power_factor      1       -1..1          -   -   -   active over apparent power
power_on          bool    0..1           -   -   -   power is there
precipitation     mm      0..2000        -   -   -   rain, snow, hail since the reading before, as water
present           bool    0..1           -   -   -   somebody or something is there
presses           1       0..            -   -   -   presses of buttons, counted
pressure          hPa     300..1100      1d  2   -   pressure of the air, not reduced to sea level
pressure_trend    1       1..9           -   -   -   how the air's pressure changes, in the words of Bluetooth
problem           bool    0..1           -   -   -   the device says that something is wrong
pulse_error       s       -1e-3..1e-3    -   -   -   how far off its second a receiver's pulse is
quality           1       0..9           -   -   -   quality of a receiver's fix
rain              mm      0..200         -   -   -   rain since the reading before
rain_total        mm      0..            -   -   -   rain, counted
rainfall          mm      0..            -   -   -   rain, as the device sums it up
reactive_power    V.A     -1e8..1e8      -   -   -   electrical power, reactive; UCUM has no var
rotation          deg     -              -   -   -   angle turned
rotations         /min    0..1e6         -   -   -   revolutions a minute
rssi              dBm     -200..50       -   -   -   level of a radio signal
running           bool    0..1           -   -   -   a machine runs
safe              bool    0..1           -   -   -   the device says that all is safe
satellites        1       0..255         -   -   -   satellites used
settings_revision 1       0..255         -   -   -   counts changes of the device's settings
sharpness         1       0..            1d  -   -   how sharp a picture is
smoke_detected    bool    0..1           -   -   -   smoke is detected
sound_detected    bool    0..1           -   -   -   sound is detected
speed             m/s     -1000..1000    -   -   -   speed
stored_volume     L       0..            -   -   -   volume in a tank
survey_altitude   m       -500..9000     -   -   -   height, mean of a survey
survey_fixes      1       0..            -   -   -   fixes in a survey
survey_lat        deg     -90..90        -   -   -   latitude, mean of a survey
survey_lon        deg     -180..180      -   -   -   longitude, mean of a survey
survey_spread     m       0..            -   -   -   spread of a survey's fixes
tampered          bool    0..1           -   -   -   somebody opened or moved the device
temperature       Cel     -60..85        1d  2   -   temperature of the air
time_accuracy     s       0..            -   -   -   a receiver's estimate of its clock's error
timestamp         s       0..2e10        -   -   -   Unix time, as the device says it
tips              1       0..            -   -   -   tips of a bucket, counted
too_near          bool    0..1           -   -   -   it is nearer than the device can measure
too_quiet         bool    0..1           -   -   -   it is quieter than the device can measure
triggered         bool    0..1           -   -   -   the device sends only when something happens
tvoc              ug/m3   0..60000       -   -   -   volatile organic compounds in the air
unlocked          bool    0..1           -   -   -   a lock is open
utc               s       0..2e10        10m -   -   Unix time, as a receiver says it
utc_resolved      bool    0..1           -   -   -   a receiver knows UTC to the second, leap seconds included
uv_index          1       0..30          3d  -   -   ultraviolet index
vibration         bool    0..1           -   -   -   it vibrates
voltage           V       -1e6..1e6      -   -   -   electrical voltage
volume            L       -              -   -   -   volume
water             L       0..            -   -   -   water, counted
water_level       m       -100..100      3d  0.1 -   height of a water's surface
wet               bool    0..1           -   -   -   water where there should be none
wind              m/s     0..120         6h  1.5 -   speed of the wind
wind_chill        Cel     -100..60       -   -   -   temperature as it feels in the wind
wind_from         deg     0..360         -   -   -   where the wind comes from, clockwise from north
wind_gust         m/s     0..150         6h  -   -   highest speed of the wind while the device looked
window_open       bool    0..1           -   -   -   a window is open
withheld          1       0..            -   -   -   objects of text or raw bytes, which do not leave the box
"""

_SECONDS: Final = {"s": 1, "m": 60, "h": 3600, "d": 86400}


@dataclass(frozen=True, slots=True)
class KnownMeasure:
    """One line of the table. `still_s`, `drift` and `floor` are None where there is none."""

    name: str
    unit: str
    low: float
    high: float
    still_s: float | None
    drift: float | None
    floor: float | None
    what: str


def known_measure(name: str) -> KnownMeasure | None:
    """The line of a name; None for a driver's own. `temperature_2` is the second temperature of a sensor."""
    line = _line(name)
    base, _, nth = name.rpartition("_")
    if line is None and base and nth.isdecimal():
        line = _line(base)
    return _parsed(line) if line is not None else None


def known_measures() -> Iterator[KnownMeasure]:
    """Every line, in order."""
    yield from map(_parsed, TABLE.strip().splitlines())


def _line(name: str) -> str | None:
    start = TABLE.find(f"\n{name} ") + 1
    return TABLE[start : TABLE.index("\n", start)] if start else None


def _parsed(line: str) -> KnownMeasure:
    name, unit, range_, still, drift, floor, what = line.split(maxsplit=6)
    low, _, high = range_.partition("..") if range_ != "-" else ("", "", "")
    return KnownMeasure(
        name,
        unit,
        float(low or "-inf"),
        float(high or "inf"),
        None if still == "-" else float(still[:-1]) * _SECONDS[still[-1]],
        None if drift == "-" else float(drift),
        None if floor == "-" else float(floor),
        what,
    )
