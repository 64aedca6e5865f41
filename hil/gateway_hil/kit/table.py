"""The table: every rule of every tier, in the order in which they are asked. hil/README.md has the same."""

from collections.abc import Mapping
from typing import Final

from gateway_hil.kit import bronze, fuzz, gold, lasting, silver
from gateway_hil.kit import silver_replay as played
from gateway_hil.kit.rules import KINDS, Ask, OnBox, Rule, Tier

_MEDIA: Final = "sound and pictures have benches of their own: hil/ladder/test_alsa.py, test_v4l2.py"
_NO_CASES: Final = "captures hold no sound and no pictures"
_WHOLE: Final = "a frame comes whole or not at all"
_NO_PLUG: Final = "a recording has no plug; `climbs` asks it of the kernel's driver"
_NO_EXACT: Final = "its emulator plays sound or pictures, no values"


def _all(ask: Ask) -> Mapping[str, Ask]:
    return dict.fromkeys(KINDS, ask)


def _of(serial: Ask, ble: Ask, gpio: Ask, media: Ask = _MEDIA) -> Mapping[str, Ask]:
    return {"serial": serial, "ble": ble, "gpio": gpio, "alsa": media, "v4l2": media}


def _box(run: object, **options: object) -> OnBox:
    return OnBox(silver.device, run, **options)  # type: ignore[arg-type]


_NOISY = OnBox(played.recording(played.noisy), played.lives)
_PAUSED = OnBox(played.recording(played.paused), played.lives)
_JUMPING = OnBox(played.recording(played.steady), played.clock, factory="clock")
_QUICK = OnBox(played.recording(played.quick), played.keeps_up)
_FLOOD = OnBox(played.recording(played.flooded), played.flood)
_STOP = OnBox(played.recording(played.steady), played.stop, alone=True)
_THROTTLE: Final = '[{ throttle = "0.1 s" }]'

RULES: Final = (
    Rule(
        Tier.BRONZE,
        "declares",
        "docstrings say what it is and where its format is from; each setting has a default or a word",
        _all(bronze.declares),
    ),
    Rule(
        Tier.BRONZE,
        "captures",
        "it has a case, all pass, and one holds something that must not become a reading",
        _of(bronze.captures, bronze.captures, bronze.captures, _NO_CASES),
    ),
    Rule(Tier.BRONZE, "bytes", "arbitrary and spoilt bytes raise nothing but BadFrame", _all(fuzz.anything)),
    Rule(
        Tier.BRONZE,
        "declared",
        "whatever comes out is declared in `emits`, and can travel",
        _all(fuzz.declared),
    ),
    Rule(
        Tier.SILVER,
        "as-new",
        "after reset() it reads as a new driver does: a replug costs no frame",
        _of(lasting.as_new, lasting.as_new, lasting.as_new),
    ),
    Rule(
        Tier.SILVER,
        "lasting",
        "the memory it allocates does not grow with the frames it has read",
        _of(lasting.grows, lasting.grows, lasting.grows),
    ),
    Rule(
        Tier.SILVER,
        "noise",
        "noise between its frames never stops it",
        _of(_box(silver.noise), _NOISY, _NOISY),
    ),
    Rule(
        Tier.SILVER,
        "truncation",
        "frames cut in half cost no more than the frames they touch",
        _of(_box(silver.truncation), OnBox(played.recording(played.cut), played.lives), _WHOLE),
    ),
    Rule(
        Tier.SILVER,
        "drip",
        "a frame that comes in single bytes is one reading",
        _of(OnBox(silver.dripping, silver.drip), _WHOLE, _WHOLE),
    ),
    Rule(
        Tier.SILVER,
        "stall",
        "silence ends nothing, and the first word after it counts",
        _of(_box(silver.stall), _PAUSED, _PAUSED),
    ),
    Rule(
        Tier.SILVER,
        "unplug",
        "after a replug the first reading comes within 2 s, and at least nine of ten packets are read",
        _of(_box(silver.unplug), _NO_PLUG, _NO_PLUG),
    ),
    Rule(
        Tier.SILVER,
        "clock",
        "a wall clock that jumps by an hour changes no reading and no time",
        _of(_box(silver.clock, factory="clock"), _JUMPING, _JUMPING),
    ),
    Rule(
        Tier.SILVER,
        "fast",
        "at ten times its pace nine of ten packets are read",
        _of(_box(silver.fast, alone=True), _QUICK, _QUICK),
    ),
    Rule(
        Tier.SILVER,
        "flood",
        "a flood without an end hurts only while it lasts",
        _of(_box(silver.flood, alone=True, stages=_THROTTLE), _FLOOD, _FLOOD),
    ),
    Rule(
        Tier.SILVER,
        "memory",
        "its worker does not grow under that flood",
        _of(
            _box(silver.memory, alone=True, stages=_THROTTLE),
            "a recording is no endless flood; `lasting` asks it of the driver",
            "a recording is no endless flood; `lasting` asks it of the driver",
        ),
    ),
    Rule(
        Tier.SILVER,
        "stop",
        "its worker ends within 2 s of SIGTERM, in a flood as in the midst of a conversation",
        _of(_box(silver.stop, alone=True, stages=_THROTTLE), _STOP, _STOP),
    ),
    Rule(
        Tier.GOLD,
        "exact",
        "what its emulator shows it reads, to the resolution, over the device's whole range",
        _of(gold.exact, gold.exact, gold.exact, _NO_EXACT),
    ),
)
CLIMBS: Final = Rule(
    Tier.GOLD,
    "climbs",
    "on a bench its emulator's truth is the first reading; unplug, garbage and silence are borne",
    {},
)
