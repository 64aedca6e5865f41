"""Bundles: frames of one lane joined and compressed with zstd (RFC 8878), and taken apart again.

Pure. The box bundles where that is smaller; the hub takes apart what any box sends, and believes no
length in it: the sizes in the header are added up first, and not a byte more is decompressed.
zstd is imported by the first bundle: a box without a backlog never needs it.
"""

import functools
from collections.abc import Sequence
from types import ModuleType
from typing import Final

from gateway.errors import WireError
from gateway.wire import BUNDLE_RAW_MAX, Bundle, Frame

FRAME_OVERHEAD: Final = 48  # bytes that a message's header and encryption add, about; the credit counts them
WORTH_BYTES: Final = 256  # less is not tried: headers would eat what is won
_PART_OVERHEAD: Final = 5  # bytes of a part in the bundle's header
_LEVEL: Final = 3  # levels above it win 2 % for twice the time on records
_WINDOW_LOG: Final = 17  # what a decompressor may be made to hold: 128 KiB, twice a whole bundle


def bundled(frames: Sequence[Frame]) -> Bundle | None:
    """Frames that follow each other as one bundle; None if that is not less on the wire than they are."""
    raw = b"".join(frame.payload for frame in frames)
    if len(raw) < WORTH_BYTES:
        return None
    packed = _zstd().compress(raw, _LEVEL)
    plain = len(raw) + FRAME_OVERHEAD * len(frames)
    if len(packed) + FRAME_OVERHEAD + _PART_OVERHEAD * len(frames) >= plain:
        return None
    parts = tuple((frame.count, len(frame.payload)) for frame in frames)
    return Bundle(frames[0].session, frames[0].lane, frames[0].first_seq, parts, packed)


def unbundled(bundle: Bundle) -> list[Frame]:
    """The frames of a bundle. Raises WireError("bad_bundle") unless it holds exactly what it claims."""
    raw = _decompressed(bundle.packed, sum(size for _, size in bundle.parts))
    frames: list[Frame] = []
    at, seq = 0, bundle.first_seq
    for count, length in bundle.parts:
        frames.append(Frame(bundle.session, bundle.lane, seq, count, raw[at : at + length]))
        at += length
        seq += count
    return frames


def _decompressed(packed: bytes, size: int) -> bytes:
    if size > BUNDLE_RAW_MAX:
        raise WireError("bad_bundle", f"it claims {size} bytes")
    zstd = _zstd()
    try:
        limits = {zstd.DecompressionParameter.window_log_max: _WINDOW_LOG}
        decompressor = zstd.ZstdDecompressor(options=limits)
        raw: bytes = decompressor.decompress(packed, size + 1)
    except zstd.ZstdError as error:
        raise WireError("bad_bundle", f"it cannot be decompressed: {error}") from error
    if len(raw) != size or not decompressor.eof:
        raise WireError("bad_bundle", f"it does not hold the {size} bytes that it claims")
    if decompressor.unused_data:
        raise WireError("bad_bundle", "something follows its end")
    return raw


@functools.cache
def _zstd() -> ModuleType:
    from backports import zstd

    return zstd
