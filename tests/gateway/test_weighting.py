"""The weightings and bands that levels are measured with, against the tables of the standards.

What is tested is not the formula but what `SoundLevels` really does to a sine of each frequency: its network
as a filter, its bands as sums over a spectrum.
"""

import math

import numpy as np
import pytest

from gateway.soundlevel import SoundLevels
from gateway.weighting import a_weighting, c_weighting, third_octaves

INF = math.inf
# IEC 61672-1:2013, table 3: nominal frequency, A, C, and the acceptance limits of class 2, above and below.
TABLE_3 = """
10    -70.4 -14.3 5   -   | 12.5 -63.4 -11.2 5   -   | 16    -56.7 -8.5  5   -   | 20    -50.5 -6.2  3   3
25    -44.7 -4.4  3   3   | 31.5 -39.4 -3.0  3   3   | 40    -34.6 -2.0  2   2   | 50    -30.2 -1.3  2   2
63    -26.2 -0.8  2   2   | 80   -22.5 -0.5  2   2   | 100   -19.1 -0.3  1.5 1.5 | 125   -16.1 -0.2  1.5 1.5
160   -13.4 -0.1  1.5 1.5 | 200  -10.9 0     1.5 1.5 | 250   -8.6  0     1.5 1.5 | 315   -6.6  0     1.5 1.5
400   -4.8  0     1.5 1.5 | 500  -3.2  0     1.5 1.5 | 630   -1.9  0     1.5 1.5 | 800   -0.8  0     1.5 1.5
1000  0     0     1   1   | 1250 0.6   0     1.5 1.5 | 1600  1.0   -0.1  2   2   | 2000  1.2   -0.2  2   2
2500  1.3   -0.3  2.5 2.5 | 3150 1.2   -0.5  2.5 2.5 | 4000  1.0   -0.8  3   3   | 5000  0.5   -1.3  3.5 3.5
6300  -0.1  -2.0  4.5 4.5 | 8000 -1.1  -3.0  5   5   | 10000 -2.5  -4.4  5   -   | 12500 -4.3  -6.2  5   -
16000 -6.6  -8.5  5   -   | 20000 -9.3 -11.2 5   -
"""
ROWS = [row.split() for line in TABLE_3.strip().splitlines() for row in line.split("|")]

# IEC 61260-1:2014, table 1, class 2: powers of G at which limits of relative attenuation of an octave stand.
G = 10**0.3
PASS_MAX = [(0, 0.6), (1 / 8, 0.7), (1 / 4, 0.9), (3 / 8, 1.7), (1 / 2, 5.8)]
PASS_MIN = -0.6
STOP_MIN = [(1 / 2, 0.8), (1, 15.6), (2, 39.5), (3, 54.0), (4, 60.0), (12, 60.0)]


def exact(nominal: float) -> float:
    """The frequency that table 3 means: a tenth of a decade."""
    return 1000 * 10 ** (round(10 * math.log10(nominal / 1000)) / 10)


@pytest.mark.parametrize(("column", "weighting"), [(1, a_weighting), (2, c_weighting)], ids=["A", "C"])
def test_the_formulas_give_the_design_goals(column: int, weighting: object) -> None:
    for row in ROWS:
        gain = abs(weighting(np.array([exact(float(row[0]))]))[0])
        assert 20 * math.log10(gain) == pytest.approx(float(row[column]), abs=0.055), row


@pytest.mark.parametrize("rate_hz", [48_000, 44_100, 16_000, 8_000])
@pytest.mark.parametrize(("column", "number"), [(1, 0), (2, 1)], ids=["A", "C"])
def test_the_networks_lie_within_class_2(rate_hz: int, column: int, number: int) -> None:
    levels = SoundLevels(rate_hz)
    response = levels._networks[number]
    impulse = np.fft.irfft(response, 2 * (len(response) - 1))
    seen = 0
    for row in ROWS:
        if (hertz := exact(float(row[0]))) < rate_hz / 2:
            gain = abs(np.exp(-2j * np.pi * hertz / rate_hz * np.arange(len(impulse))) @ impulse)
            error = 20 * math.log10(gain) - float(row[column])
            above, below = float(row[3]), INF if row[4] == "-" else float(row[4])
            assert -below <= error <= above, (row, error)
            assert abs(error) < 0.2, (row, error)  # and far within, up to half the sample rate
            seen += 1
    assert seen == {48_000: 34, 44_100: 34, 16_000: 30, 8_000: 27}[rate_hz]


def test_an_offset_is_not_heard() -> None:
    for response in SoundLevels(48_000)._networks:
        assert abs(response[0]) < 1e-5


def omega(power: float) -> float:
    """Where a limit of an octave stands for a third of one, over the middle (formula 9)."""
    return 1 + (G ** (1 / 6) - 1) / (G**0.5 - 1) * (G**power - 1)


def limits(ratio: float) -> tuple[float, float]:
    """Least and greatest relative attenuation at a frequency over the middle (formulas 10 and 11)."""
    high = math.log10(max(ratio, 1 / ratio))
    edge = math.log10(omega(0.5))
    steps = PASS_MAX if high < edge else STOP_MIN
    limit = float(np.interp(high, [math.log10(omega(p)) for p, _ in steps], [db for _, db in steps]))
    return (PASS_MIN, limit) if high < edge else (limit, INF)


@pytest.mark.parametrize("rate_hz", [48_000, 16_000])
def test_the_bands_lie_within_class_2(rate_hz: int) -> None:
    sums = SoundLevels(rate_hz, bands=True)._bands
    assert sums is not None
    seconds = np.arange(sums._length) / rate_hz
    bands = third_octaves(rate_hz)
    assert [band.nominal for band in bands][:3] == [25, 31, 40]
    assert bands[-1].nominal == (16_000 if rate_hz == 48_000 else 6_300)
    for number, band in list(enumerate(bands))[::4]:
        powers = np.concatenate(([0, 0.12, 0.24, 0.36, 0.44], [0.56, 0.75, 1, 1.5, 2, 3, 4]))
        ratios = [omega(p) for p in powers] + [1 / omega(p) for p in powers]
        heard = {}
        for ratio in ratios:
            if band.middle_hz * ratio < rate_hz / 2 and band.middle_hz * ratio > 2:
                sine = 20_000 * np.sin(2 * np.pi * band.middle_hz * ratio * seconds)
                sums.start()
                sums.push(sine[None, :])
                heard[ratio] = sums.take()[number]
        assert heard[1.0] == pytest.approx(20 * math.log10(20_000 / 32_768), abs=0.2), band
        for ratio, level in heard.items():
            least, most = limits(ratio)
            assert least <= heard[1.0] - level <= most, (band, ratio)
