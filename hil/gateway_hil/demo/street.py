"""The emulated street: sensors on ptys that speak their real protocols, and recordings where a pty cannot.

The GNSS receiver, the dust and light sensors and the lamp's relay board are emulators on pseudo-terminals;
the thermometer's advertisements and the microphone's sound are replayed, the sound live: what passes
while its worker is dead is missed, as it would be on a pole.
"""

import contextlib
import wave
from pathlib import Path
from types import TracebackType
from typing import Final, Self

from gateway_hil.demo.timeline import Timeline
from gateway_hil.emulators import BthomeThermometer, Gnss, Gy39, RelayLamp, Sds011, SerialEmulator
from gateway_hil.emulators.bthome import write_capture
from gateway_models.scene import RATE_HZ, scene

BOX: Final = "demo-pole"
THERMOMETER: Final = "A4:C1:38:00:00:01"
EMULATED: Final = (  # each fits into a panel on a screen of 100 columns
    "emulated on ptys in their real protocols: GNSS, SDS011 dust, GY-39 light, LCUS-1 lamp relay",
    "replayed: BTHome advertisements; a synthesised street with shots and with bangs that are none",
    "real: the processes, disk, ZeroMQ with CURVE, the model on TFLite, SIGKILL, broken connections",
)
# The street is synthetic, so the model that learned from synthesis alone hears it: the shipped `gunshot`
# learned from real guns, and rightly believes these less.
_SITE: Final = """\
box = "{box}"
state = "{state}"

[sensor.gps]
driver = "gps-nmea"
port = "serial:{folder}/gps"
stages = [{{ throttle = "2 s" }}]

[sensor.dust]
driver = "sds011"
port = "serial:{folder}/dust"

[sensor.light]
driver = "gy39"
port = "serial:{folder}/light"

[sensor.lamp]
driver = "relay-lamp"
port = "serial:{folder}/lamp"

[sensor.yard]
driver = "bthome"
port = "replay:{folder}/yard.txt?loop=1"
address = "{thermometer}"
measures = ["temperature", "humidity", "battery"]

[sensor.microphone]
driver = "microphone"
port = "replay:{folder}/street.wav?start={start_ns}"
stages = [
  {{ onset = "9 dB" }}, {{ model = "gunshot-synthetic", score_min = 0.25 }},
  {{ throttle = "2 s" }},
]
"""


class Street:
    """The folder with everything a box of the demo needs; a context manager that plugs the emulators in."""

    def __init__(self, folder: Path, story: Timeline, seed: int) -> None:
        self.folder = folder
        self.site = folder / "site.toml"
        self.state = folder / "box"
        self._story = story
        self._seed = seed
        self._emulators: dict[str, SerialEmulator] = {
            "gps": Gnss(folder / "gps", seed=seed),
            "dust": Sds011(folder / "dust", seed=seed),
            "light": Gy39(folder / "light", seed=seed),
            "lamp": RelayLamp(folder / "lamp", seed=seed),
        }
        self._plugged = contextlib.ExitStack()

    def record(self) -> None:
        """Write the street's sound and the thermometer's advertisements to files."""
        pcm = scene(
            self._story.seconds, RATE_HZ, self._seed, list(self._story.shots), list(self._story.bangs)
        )
        with wave.open(str(self.folder / "street.wav"), "wb") as sound:
            sound.setnchannels(1)
            sound.setsampwidth(2)
            sound.setframerate(RATE_HZ)
            sound.writeframes(pcm.astype("<i2").tobytes())
        write_capture(
            self.folder / "yard.txt", 20.0, [BthomeThermometer(THERMOMETER, seed=self._seed)], every_s=2.5
        )

    def write_site(self, start_ns: int) -> None:
        """Write the site file; the microphone's sound begins at `start_ns` (CLOCK_MONOTONIC)."""
        text = _SITE.format(
            box=BOX, state=self.state, folder=self.folder, thermometer=THERMOMETER, start_ns=start_ns
        )
        self.site.write_text(text, encoding="utf-8")

    def unplug(self, sensor: str) -> None:
        """Pull a serial sensor's plug."""
        self._emulators[sensor].unplug()

    def replug(self, sensor: str) -> None:
        """Put it back."""
        self._emulators[sensor].replug()

    def __enter__(self) -> Self:
        for emulator in self._emulators.values():
            self._plugged.enter_context(emulator)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._plugged.close()
