"""Recordings of sound and pictures for `gateway.ports.replay`. Imports numpy, and soundfile for sound."""

import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

from gateway.driver import Driver
from gateway.errors import BadFrame, ConfigError
from gateway.media import AudioDriver, Block, Image, Pcm

_SECOND: Final = 10**9
_READ_AHEAD: Final = 16  # blocks
_PICTURES: Final = {".jpg": "jpeg", ".jpeg": "jpeg", ".bmp": "bmp"}
_NO_SIZE_MARKERS: Final = frozenset({0xC4, 0xC8, 0xCC})  # in the range of start-of-frame, but none


class SoundSource:
    """A WAV or FLAC file (whatever libsndfile reads) as blocks of int16 PCM at the file's own rate."""

    def __init__(self, path: Path, driver: Driver) -> None:
        if not isinstance(driver, AudioDriver):
            raise ConfigError(f"{path} is sound; its driver must be an AudioDriver")
        path.stat()  # absent is OSError here; libsndfile has an error of its own
        self._path = path
        self._soundfile = _sound_library()
        with self._open() as file:
            self._rate_hz = file.samplerate
            self._samples = file.frames
            channels = file.channels
        self._channels = driver.channels_for()
        if channels < self._channels:
            raise ConfigError(f"{path} has {channels} channels, its sensor wants {self._channels}")
        self._block = max(1, self._rate_hz * driver.block_ms // 1000)

    def frames(self, from_ns: int, lap: int) -> Iterator[tuple[int, int, Block]]:
        """Blocks from the first one that begins at `from_ns` or later; only the driver's first channels."""
        first = -(-(from_ns * self._rate_hz // _SECOND) // self._block) * self._block
        error_ns = _SECOND // self._rate_hz
        if first >= self._samples:
            return
        with self._open() as file:
            file.seek(first)
            for pcm in self._blocks(file, first):
                at_ns = first * _SECOND // self._rate_hz
                index = lap * self._samples + first
                block = Block(at_ns, error_ns, self._rate_hz, index, pcm)
                first += len(pcm)
                yield at_ns, first * _SECOND // self._rate_hz, block

    def length_ns(self) -> int:
        """The file's duration; at least a millisecond."""
        return max(10**6, int(self._samples * _SECOND // self._rate_hz))

    def _open(self) -> Any:
        try:
            return self._soundfile.SoundFile(self._path)
        except self._soundfile.LibsndfileError as error:
            raise ConfigError(f"{self._path} is no sound file ({error.error_string})") from error

    def _blocks(self, file: Any, first: int) -> Iterator[Pcm]:
        # Read many at a time: libsndfile's answer costs a quiet microphone more than all that listens to it.
        while len(read := self._read(file, first)):
            for start in range(0, len(read), self._block):
                yield read[start : start + self._block, : self._channels]
            first += len(read)

    def _read(self, file: Any, first: int) -> Pcm:
        try:
            pcm: Pcm = file.read(_READ_AHEAD * self._block, dtype="int16", always_2d=True)
            return pcm
        except self._soundfile.LibsndfileError as error:
            at_s = first / self._rate_hz
            raise ConfigError(f"{self._path} is damaged at {at_s:.1f} s ({error.error_string})") from error


class ImageSource:
    """The .jpg and .bmp files of a folder, in order of their names, at an even rate."""

    def __init__(self, folder: Path, fps: float) -> None:
        self._files = sorted(path for path in folder.iterdir() if path.suffix.lower() in _PICTURES)
        if not self._files:
            raise ConfigError(f"there is no .jpg or .bmp in {folder}")
        self._pause_ns = int(_SECOND / fps)

    def frames(self, from_ns: int, lap: int) -> Iterator[tuple[int, int, Image]]:
        """Image number n at n / fps seconds. A picture without a size is handed over as 0 x 0."""
        del lap
        for number, path in enumerate(self._files):
            at_ns = number * self._pause_ns
            if at_ns >= from_ns:
                pixels = path.read_bytes()
                encoding = _PICTURES[path.suffix.lower()]
                try:
                    width, height = picture_size(pixels, encoding)
                except BadFrame:
                    width, height = 0, 0
                yield at_ns, at_ns, Image(at_ns, encoding, width, height, pixels)

    def length_ns(self) -> int:
        """One pause for every image."""
        return len(self._files) * self._pause_ns


def _sound_library() -> Any:
    """The soundfile module, an extra of the distribution. Raises ConfigError if it cannot be used."""
    try:
        import soundfile
    except (ImportError, OSError) as error:  # OSError: it is there, but its libsndfile is not
        raise ConfigError("replaying sound needs soundfile: pip install 'pole-gateway[audio]'") from error
    return soundfile


def picture_size(octets: bytes, encoding: str) -> tuple[int, int]:
    """Width and height of a JPEG (ITU-T T.81, B.2.2) or BMP picture. Raises BadFrame if it has none."""
    try:
        if encoding == "bmp" and octets[:2] == b"BM":
            width, height = struct.unpack_from("<ii", octets, 18)
            return width, abs(height)
        if encoding == "jpeg" and octets[:2] == b"\xff\xd8":
            return _jpeg_size(octets)
    except (struct.error, IndexError):
        pass
    raise BadFrame(f"the picture is no whole {encoding}")


def _jpeg_size(octets: bytes) -> tuple[int, int]:
    """Walk the marker segments to the start-of-frame."""
    at = 2
    while octets[at] == 0xFF:
        marker = octets[at + 1]
        if marker == 0xFF:  # fill byte
            at += 1
            continue
        if 0xC0 <= marker <= 0xCF and marker not in _NO_SIZE_MARKERS:
            height, width = struct.unpack_from(">HH", octets, at + 5)
            return width, height
        at += 2 + struct.unpack_from(">H", octets, at + 2)[0]
    raise BadFrame("the picture has no start of frame")
