"""BTHome against a sender of its own, and a button whose presses count once."""

from collections import Counter

import pytest
from bthome_sender import NUMBERS, RANGES, STATES, number, sealed
from hypothesis import given
from hypothesis import strategies as st

from gateway.driver import Advertisement, BadFrame
from gateway.records import quantum
from gateway_drivers.ble_button import BleButton, BleButtonSettings
from gateway_drivers.bthome import Bthome, BthomeSettings
from gateway_drivers.bthome_objects import MEASURES
from gateway_hil.emulators.ble_button import BleButton as Pressed

ADDRESS = "A4:C1:38:00:00:01"
KEY = "231d39c1d7cc1ab1aee224cd096db932"

an_object = st.one_of(
    st.sampled_from(sorted(NUMBERS)).flatmap(
        lambda kind: st.tuples(st.just(kind), st.integers(*RANGES[NUMBERS[kind][1]]))
    ),
    st.tuples(st.sampled_from(sorted(STATES)), st.integers(0, 1)),
    st.tuples(st.sampled_from([0x53, 0x54]), st.binary(max_size=9)),
)


def heard(payload: bytes, address: str = ADDRESS) -> Advertisement:
    return Advertisement(address, -60, {Bthome.service: payload}, {})


def sent(objects: list) -> tuple[bytes, dict]:
    """The bytes of objects in the order of their ids, and what they say."""
    octets, says, seen = b"", {}, Counter()
    for kind, value in sorted(objects, key=lambda one: one[0]):
        if kind in NUMBERS:
            name, _, step = NUMBERS[kind]
            octets, said = octets + number(kind, value), value * step
        elif kind in STATES:
            name, octets, said = STATES[kind], octets + bytes((kind, value)), value
        else:
            name, octets = "withheld", octets + bytes((kind, len(value))) + value
            said = seen[name] + 1
        seen[name] += 1
        says[name if seen[name] == 1 or name == "withheld" else f"{name}_{seen[name]}"] = said
    return octets, says


@given(
    st.lists(an_object, min_size=1, max_size=7),
    st.booleans(),
    st.sampled_from([0x40, 0x44]),
    st.integers(0, 2**32 - 1),
)
def test_every_object_comes_back(objects, is_sealed, flags, counter) -> None:
    octets, says = sent(objects)
    driver = Bthome(BthomeSettings(ADDRESS, bindkey=KEY if is_sealed else ""))
    payload = (
        sealed(flags, octets, bytes.fromhex(KEY), ADDRESS, counter) if is_sealed else bytes((flags,)) + octets
    )
    got = dict(driver.decode(heard(payload)))
    assert got.pop("rssi") == -60
    assert got.pop("triggered", False) == (flags == 0x44)
    firsts = {name: value for name, value in says.items() if name in MEASURES}
    assert got.keys() == firsts.keys()
    for name, value in firsts.items():
        step = MEASURES[name].resolution
        assert abs(quantum(got[name], step) - value / step) <= 0.5 + 1e-6, name
    assert driver.decode(heard(payload)) is None or not is_sealed


@pytest.mark.parametrize("end", [0, 1], ids=["lowest", "highest"])
def test_every_number_at_both_ends(end: int) -> None:
    for kind, (name, shape, step) in NUMBERS.items():
        raw = RANGES[shape][end]
        got = Bthome(BthomeSettings(ADDRESS)).decode(heard(b"\x40" + number(kind, raw)))
        steps = MEASURES[name].resolution
        assert abs(quantum(got[name], steps) - raw * step / steps) <= 0.5 + 1e-6, hex(kind)


@given(st.integers(2, 8), st.data())
def test_several_of_one_sort_are_told_apart(count, data) -> None:
    raws = data.draw(st.lists(st.integers(-4000, 6000), min_size=count, max_size=count))
    wanted = tuple("temperature" if n == 1 else f"temperature_{n}" for n in range(1, count + 1))
    driver = Bthome(BthomeSettings(ADDRESS, wanted))
    octets = b"".join(number(0x02, raw) for raw in raws)
    assert driver.decode(heard(b"\x40" + octets)) == {
        name: raw / 100 for name, raw in zip(wanted, raws, strict=True)
    }


@given(
    st.lists(st.tuples(st.integers(1, 40), st.integers(0, 4)), min_size=1, max_size=30), st.integers(0, 255)
)
def test_a_press_counts_once_and_what_was_missed_is_known(steps, first) -> None:
    """Each step: so many packets on, heard so often (0: not at all). An id is a byte: 256 on is a repeat."""
    driver, presses, missed, number_of = BleButton(BleButtonSettings(ADDRESS)), 0, 0, first
    last: int | None = None
    for ahead, times in steps:
        number_of = (number_of + ahead) % 256
        driver.reset()  # a replug between any two
        readings = [driver.decode(heard(bytes((0x44, 0x00, number_of, 0x3A, 1)))) for _ in range(times)]
        got = [reading for reading in readings if reading is not None]
        gap = 1 if last is None else (number_of - last) % 256
        assert len(got) == (times > 0 and gap != 0)
        if got:
            presses, missed, last = presses + 1, missed + (gap - 1 if gap <= 128 else 0), number_of
            assert (got[0]["presses"], got[0]["packets_lost"]) == (presses, missed)


@given(st.sampled_from([1, 2, 3, 4, 5, 6, 0x80]), st.integers(0, 100))
def test_the_emulated_button_is_understood(kind, battery) -> None:
    button = Pressed()
    button.become({"button": kind, "battery": battery})
    driver = BleButton(BleButtonSettings(**button.settings()))
    (frame,) = button.frames()
    got = driver.decode(frame)
    assert {name: got[name] for name in button.truth()} == button.truth()
    assert got["presses"] == button.presses == 1


def test_a_sealed_press_needs_no_packet_id() -> None:
    driver = BleButton(BleButtonSettings(ADDRESS, bindkey=KEY))
    pressed = [sealed(0x44, b"\x3a\x01", bytes.fromhex(KEY), ADDRESS, n) for n in (7, 8)]
    readings = [driver.decode(heard(payload)) for payload in (pressed[0], pressed[0], pressed[1])]
    assert [reading and reading["presses"] for reading in readings] == [1, None, 2]
    with pytest.raises(BadFrame, match="replay"):
        driver.decode(heard(pressed[0]))
