"""A BTHome v2 sender, written from the tables of https://bthome.io/format and from nothing of ours.

A line: object id, our name of it, struct format ("T": three bytes without sign), worth of a step in our unit.
"""

import struct

TABLE = """
01 battery B 1
02 temperature h 0.01
03 humidity H 0.01
04 pressure T 0.01
05 illuminance T 0.01
06 mass H 0.01
07 mass H 0.0045359237
08 dew_point h 0.01
09 count B 1
0a energy T 0.001
0b power T 0.01
0c voltage H 0.001
0d pm2_5 H 1
0e pm10 H 1
12 co2 H 1
13 tvoc H 1
14 moisture H 0.01
2e humidity B 1
2f moisture B 1
3d count H 1
3e count I 1
3f rotation h 0.1
40 distance H 0.001
41 distance H 0.1
42 duration T 0.001
43 current H 0.001
44 speed H 0.01
45 temperature h 0.1
46 uv_index B 0.1
47 volume H 0.1
48 volume H 0.001
49 flow H 0.001
4a voltage H 0.1
4b gas T 0.001
4c gas I 0.001
4d energy I 0.001
4e volume I 0.001
4f water I 0.001
50 timestamp I 1
51 acceleration H 0.001
52 gyroscope H 0.001
55 stored_volume I 0.001
56 conductivity H 1
57 temperature b 1
58 temperature b 0.35
59 count b 1
5a count h 1
5b count i 1
5c power i 0.01
5d current h 0.001
5e direction H 0.01
5f precipitation H 0.1
60 channel B 1
61 rotations H 1
62 speed i 0.000001
63 acceleration i 0.000001
64 light_level B 1
65 settings_revision B 1
f0 device_type H 1
"""
_STATES = """on power_on opening_open battery_low battery_charging co_detected cold connected door_open
garage_door_open gas_detected hot light_detected unlocked wet motion moving occupied plugged_in present
problem running safe smoke_detected sound_detected tampered vibration window_open"""
STATES = dict(
    zip(
        [0x0F, 0x10, 0x11, *range(0x15, 0x2E)],
        _STATES.split(),
        strict=True,
    )
)
NUMBERS = {
    int(number, 16): (name, shape, float(step))
    for number, name, shape, step in (line.split() for line in TABLE.strip().splitlines())
}
RANGES = {
    "B": (0, 255),
    "b": (-128, 127),
    "H": (0, 65_535),
    "h": (-32_768, 32_767),
    "T": (0, 2**24 - 1),
    "I": (0, 2**32 - 1),
    "i": (-(2**31), 2**31 - 1),
}


def number(kind: int, raw: int) -> bytes:
    """One object with a number, `raw` in the object's own steps."""
    shape = NUMBERS[kind][1]
    return bytes((kind,)) + (struct.pack("<I", raw)[:3] if shape == "T" else struct.pack("<" + shape, raw))


def sealed(flags: int, objects: bytes, key: bytes, address: str, counter: int) -> bytes:
    """https://bthome.io/encryption: AES-CCM, the counter behind the ciphertext, then four bytes of tag."""
    from cryptography.hazmat.primitives.ciphers.aead import AESCCM

    count = struct.pack("<I", counter)
    nonce = bytes.fromhex(address.replace(":", "")) + b"\xd2\xfc" + bytes((flags | 1,)) + count
    text = AESCCM(key, tag_length=4).encrypt(nonce, objects, None)
    return bytes((flags | 1,)) + text[:-4] + count + text[-4:]
