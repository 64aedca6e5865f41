"""What a camera can do, and which of it suits a driver best. Sizes in pixels, rates in pictures a second."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final

from gateway.errors import ConfigError
from gateway.media import Picture
from gateway.ports import v4l2_abi as abi

FOURCC: Final = {
    "jpeg": (abi.fourcc("MJPG"), abi.fourcc("JPEG")),
    "yuyv": (abi.fourcc("YUYV"),),
}
_FPS_SLACK: Final = 0.01  # 29.97 is as good as 30
_NAMED_MAX: Final = 12  # modes in an error's text


@dataclass(frozen=True, slots=True)
class Mode:
    """One thing a camera can do. `fps` is 0 where it does not say."""

    encoding: str
    fourcc: int
    width: int
    height: int
    fps: float

    def __str__(self) -> str:
        return f"{self.encoding} {self.width}x{self.height}" + (f" at {self.fps:g}/s" if self.fps else "")


def modes(fd: int, wanted: Picture) -> list[Mode]:
    """What the camera offers in the wanted encodings; of a range, what comes nearest. Raises OSError."""
    offered = {d.pixelformat for d in abi.listed(fd, abi.ENUM_FMT, abi.FormatDescription(type=abi.CAPTURE))}
    found: list[Mode] = []
    for encoding in wanted.encodings:
        for number in FOURCC[encoding]:
            if number not in offered:
                continue
            for width, height in _sizes(fd, number, wanted):
                rates = _rates(fd, number, width, height, wanted.fps) or [0.0]
                found += [Mode(encoding, number, width, height, fps) for fps in rates]
    return found


def choose(wanted: Picture, offered: Iterable[Mode]) -> Mode:
    """The mode nearest to what is wanted: first size, then rate, then the order of the encodings.

    A picture larger than asked for is nearer than one that is smaller by as much, and so is a faster
    one. Raises ConfigError naming what the camera can do, if that is nothing, or not exactly it.
    """
    offered = list(offered)
    if not offered:
        raise ConfigError(f"the camera gives neither {' nor '.join(wanted.encodings)}; use another camera")
    order = wanted.encodings.index

    def distance(mode: Mode) -> tuple[float, float, int]:
        off = [mode.width - wanted.width, mode.height - wanted.height]
        size = sum(each if each >= 0 else -1.5 * each for each in off)
        return (size, _slower_or_faster(mode.fps, wanted.fps), order(mode.encoding))

    best = min(offered, key=distance)
    if wanted.exact and not is_exact(best, wanted):
        raise ConfigError(
            f"the camera has no {wanted.width}x{wanted.height} at {wanted.fps:g}/s; "
            f"it can do {listing(offered)}"
        )
    return best


def is_exact(mode: Mode, wanted: Picture) -> bool:
    """Whether a mode is what was wanted, to 1 % of the rate; a rate that is not told is taken as right."""
    return (mode.width, mode.height) == (wanted.width, wanted.height) and (
        not mode.fps or abs(mode.fps - wanted.fps) <= _FPS_SLACK * wanted.fps
    )


def listing(offered: Sequence[Mode]) -> str:
    """The modes in words, the first dozen."""
    named = ", ".join(map(str, offered[:_NAMED_MAX]))
    more = len(offered) - _NAMED_MAX
    return f"{named} and {more} more" if more > 0 else named


def _slower_or_faster(fps: float, wanted: float) -> float:
    if not fps or abs(fps - wanted) <= _FPS_SLACK * wanted:
        return 0.0
    return fps / wanted - 1 if fps > wanted else 2 * (wanted / fps - 1)


def _sizes(fd: int, number: int, wanted: Picture) -> list[tuple[int, int]]:
    """Every size; of a range the nearest one; of a camera that lists none, what it makes of our wish."""
    found: list[tuple[int, int]] = []
    for entry in abi.listed(fd, abi.ENUM_FRAMESIZES, abi.FrameSize(pixel_format=number)):
        if entry.type == abi.DISCRETE:
            found.append((entry.size[0], entry.size[1]))
        else:
            found.append((_snap(wanted.width, *entry.size[:3]), _snap(wanted.height, *entry.size[3:])))
            break  # a range is the only entry
    if not found:
        tried = abi.Format(type=abi.CAPTURE)
        tried.pix.width, tried.pix.height, tried.pix.pixelformat = wanted.width, wanted.height, number
        abi.call(fd, abi.TRY_FMT, tried)
        found.append((tried.pix.width, tried.pix.height))
    return found


def _snap(wanted: int, least: int, most: int, step: int) -> int:
    if wanted <= least:
        return least
    return min(most, least + round((wanted - least) / max(1, step)) * max(1, step))


def _rates(fd: int, number: int, width: int, height: int, wanted: float) -> list[float]:
    entry = abi.FrameInterval(pixel_format=number, width=width, height=height)
    found: list[float] = []
    for each in abi.listed(fd, abi.ENUM_FRAMEINTERVALS, entry):
        if each.type == abi.DISCRETE:
            found += [fps_of(each.interval[0])]
        else:
            fastest, slowest = fps_of(each.interval[0]), fps_of(each.interval[1])
            found.append(min(max(wanted, slowest), fastest) if fastest else 0.0)
            break  # a range is the only entry
    return found


def fps_of(interval: abi.Fraction) -> float:
    """Pictures a second from the kernel's interval; 0 if it says none."""
    return float(interval.denominator / interval.numerator) if interval.numerator else 0.0
