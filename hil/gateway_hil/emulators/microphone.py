"""Microphones that hear what a test has them hear: on the kernel's loopback card, or on USB.

    mic = plug(Microphone, rate_hz=16_000, skew_ppm=50)
    ...  # a box that records from mic.port
    t_ns = mic.play(scene(5.0, 16_000, shots=[1.0]))  # that shot was heard at t_ns + 1 s

They are silent until something is played. Their faults are brought about in the kernel, on the stream that
the box has open.
"""

import random
import select
import threading
import time
import wave
from contextlib import ExitStack, suppress
from pathlib import Path
from types import TracebackType
from typing import Final, Self

import numpy as np

from gateway.errors import PortGone
from gateway.media import Pcm
from gateway.ports.soundcards import NODES, cards, find_card
from gateway.watch import Watch
from gateway_hil.faults import FaultVerbs
from gateway_hil.guest import loopback, pcmfaults
from gateway_hil.guest.gadget import Gadget
from gateway_hil.guest.playing import Playing
from gateway_hil.guest.uac import gadget_card, microphone_gadget

VENDOR: Final = 0x1209  # pid.codes, a vendor id for free projects; these products are its test ones
PRODUCT: Final = 0x0003
_TURN_S: Final = 0.2
_THERE_WITHIN_S: Final = 20.0


class _Listening(FaultVerbs):
    """What all emulated microphones can do; subclasses say where they are captured and played into."""

    port: str

    def __init__(self, rate_hz: int, channels: int, seed: int) -> None:
        self.rate_hz = rate_hz
        self.channels = channels
        self.chance = random.Random(seed)
        self._played = ExitStack()
        self._playing: Playing | None = None
        self._dropout_over = threading.Event()
        self._dropout: threading.Thread | None = None

    def play(self, samples: Pcm) -> int:
        """Have it hear these int16 samples, [frames] or [frames, channels]; when the first one was heard.

        In ns of CLOCK_MONOTONIC, to the grain of the card. What was playing is cut off.
        """
        self.hush()
        shaped = samples if samples.ndim == 2 else np.repeat(samples[:, None], self.channels, axis=1)
        self._playing = self._played.enter_context(Playing(self._played_on(), shaped, self.rate_hz))
        return self._playing.t_ns

    def play_file(self, path: Path) -> int:
        """Have it hear a WAV file of 16 bits at its rate, as `play` would. Raises ValueError for another."""
        with wave.open(str(path)) as sound:
            fits = (sound.getsampwidth(), sound.getframerate()) == (2, self.rate_hz)
            if not fits or sound.getnchannels() not in {1, self.channels}:
                raise ValueError(
                    f"{path} is not 16 bits at {self.rate_hz} Hz, with 1 or {self.channels} channels"
                )
            pcm = np.frombuffer(sound.readframes(sound.getnframes()), "<i2")
            return self.play(pcm.reshape(-1, sound.getnchannels())[:, : self.channels].squeeze())

    def finish(self) -> None:
        """Wait until all of it was heard. Raises AssertionError if the bench was too slow to play it."""
        if self._playing is not None:
            self._playing.finish()
            assert self._playing.starved == 0, "the bench could not play fast enough; the scene has holes"

    def hush(self) -> None:
        """Silence."""
        self._played.close()
        self._playing = None

    def stall(self, stalled: bool = True) -> None:
        """Give no samples, though it is there, until `stall(False)` or until it is opened anew."""
        try:
            pcmfaults.pause(self._node(), stalled)
        except OSError:
            if stalled:
                raise  # otherwise: whoever had it open has given up, and the stall with it

    def dropout(self, share: float) -> None:
        """Lose what the kernel holds: at once, and in this share of all fifths of a second; 0 ends it."""
        self._dropout_over.set()
        if self._dropout is not None:
            self._dropout.join()
            self._dropout = None
        if share > 0:
            pcmfaults.overrun(self._node())
            self._dropout_over.clear()
            self._dropout = threading.Thread(target=self._drop, args=(share,), daemon=True)
            self._dropout.start()

    def _drop(self, share: float) -> None:
        while not self._dropout_over.wait(_TURN_S):
            if self.chance.random() < share:
                try:
                    pcmfaults.overrun(self._node())
                except (OSError, PortGone):
                    continue  # nobody records now

    def _node(self) -> Path:
        card, capture = find_card(self.port.removeprefix("alsa:"), cards())
        return card.node(capture)

    def _played_on(self) -> str:
        raise NotImplementedError

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.dropout(0.0)
        self.hush()


class Microphone(_Listening):
    """On the loopback card. `skew_ppm` is how much faster than nominal its crystal is, in steps of 10."""

    def __init__(
        self, *, rate_hz: int = 48_000, channels: int = 1, skew_ppm: float = 0.0, seed: int = 0
    ) -> None:
        super().__init__(rate_hz, channels, seed)
        self.port = f"alsa:{loopback.PLACE}"
        self.skew_ppm = skew_ppm

    def _played_on(self) -> str:
        return loopback.PLAYED_ON

    def __enter__(self) -> Self:
        self.skew_ppm = loopback.set_skew(self.skew_ppm)
        return self


class UsbMicrophone(_Listening):
    """On USB, with a serial number, on a `controller` or the first free one; `unplug` and `replug` it."""

    def __init__(
        self,
        *,
        rate_hz: int = 48_000,
        channels: int = 1,
        serial: str = "MIC-1",
        controller: str | None = None,
        seed: int = 0,
    ) -> None:
        super().__init__(rate_hz, channels, seed)
        self.port = f"alsa:usb-{VENDOR:04x}:{PRODUCT:04x}-{serial}"
        self._gadget: Gadget = microphone_gadget(VENDOR, PRODUCT, serial, rate_hz, channels, controller)

    def unplug(self) -> None:
        """Pull it out."""
        self.hush()
        self._gadget.unplug()

    def replug(self) -> None:
        """Plug it in again, and wait until the kernel has made a sound card of it."""
        self._gadget.plug()
        self._until_there()

    def _until_there(self) -> None:
        """Raises TimeoutError."""
        end_s = time.monotonic() + _THERE_WITHIN_S
        with Watch() as watch:
            while True:
                for folder in (NODES.parent, NODES):
                    with suppress(OSError):
                        watch.add(folder)
                with suppress(PortGone, OSError):
                    self._node().stat()
                    return
                if not select.select([watch], [], [], max(0.0, end_s - time.monotonic()))[0]:
                    raise TimeoutError(f"the guest's kernel made no sound card of {self.port}")
                watch.changes()

    def _played_on(self) -> str:
        assert self._gadget.controller is not None
        return gadget_card(self._gadget.controller)

    def __enter__(self) -> Self:
        self._gadget.__enter__()
        try:
            self._until_there()
        except TimeoutError:
            self._gadget.remove()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            super().__exit__(kind, error, trace)
        finally:
            self._gadget.remove()
