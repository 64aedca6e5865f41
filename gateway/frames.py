"""What ports hand over to `decode`, apart from bytes, sound and pictures; and how a GPIO line is wired."""

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Advertisement:
    """One BLE advertisement as the adapter heard it. UUID keys are 128-bit, lower case."""

    address: str
    rssi: int
    service_data: Mapping[str, bytes]
    manufacturer_data: Mapping[int, bytes]


@dataclass(frozen=True, slots=True)
class Notification:
    """The value of one GATT characteristic: the device sent it, or the port read it as `every_s` asks."""

    address: str
    characteristic: str  # 128-bit UUID, lower case
    payload: bytes


@dataclass(frozen=True, slots=True)
class Edge:
    """A GPIO line changed. `line` is the line's name in the settings, `rising` its new logical level.

    `found` marks the level that a line had when its port was opened: a state, not a change. `lost` is
    how many edges of this line were lost just before it. Of an output this is the level read back,
    and `asked` the level it was last told to have; None for an input.
    """

    line: str
    rising: bool
    found: bool = False
    lost: int = 0
    asked: bool | None = None


@dataclass(frozen=True, slots=True)
class Wiring:
    """How one GPIO line is connected and used. Levels are logical: `active_low` turns them around.

    `hold_ms` keeps an input active until it was inactive for so long. An output has `safe` from the
    port's opening until a command, and again when the worker stops; `feedback` names an input that
    shows what really happened, within `settle_ms`.
    """

    line: str
    is_output: bool = False
    active_low: bool = False
    bias: str = "as-is"
    debounce_ms: int = 0
    hold_ms: int = 0
    safe: bool = False
    feedback: str = ""
    feedback_active_low: bool = False
    settle_ms: int = 50
