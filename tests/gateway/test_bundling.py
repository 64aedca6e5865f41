"""Bundles: what goes in comes out, smaller; what claims to be one and is not is named."""

import random

import pytest
from backports import zstd
from hypothesis import example, given
from hypothesis import strategies as st

from gateway.bundling import FRAME_OVERHEAD, WORTH_BYTES, bundled, unbundled
from gateway.errors import WireError
from gateway.wire import BUNDLE_RAW_MAX, PARTS_MAX, Bundle, Frame, pack_message, unpack_message

payloads = st.binary(min_size=1, max_size=300).map(lambda seed: seed * 4)


def frames_of(contents: list[tuple[int, bytes]]) -> list[Frame]:
    frames: list[Frame] = []
    seq = 7
    for count, content in contents:
        frames.append(Frame(5, 2, seq, count, content))
        seq += count
    return frames


@given(st.lists(st.tuples(st.integers(1, 2048), payloads), min_size=1, max_size=PARTS_MAX))
def test_what_is_bundled_comes_out_again_and_is_smaller(contents: list[tuple[int, bytes]]) -> None:
    frames = frames_of(contents)
    bundle = bundled(frames)
    if bundle is None:
        return
    header, body = pack_message(bundle)
    plain = sum(len(frame.payload) + FRAME_OVERHEAD for frame in frames)
    assert len(header) + len(body) < plain
    received = unpack_message([header, body])
    assert isinstance(received, Bundle)
    assert unbundled(received) == frames


def test_what_would_not_get_smaller_is_left_alone() -> None:
    noise = random.Random(1).randbytes(4000)
    assert bundled(frames_of([(10, noise)])) is None
    assert bundled(frames_of([(10, b"a" * (WORTH_BYTES - 1))])) is None
    assert bundled(frames_of([(10, b"a" * WORTH_BYTES)])) is not None


def bundle_of(packed: bytes, *sizes: int) -> Bundle:
    return Bundle(5, 2, 1, tuple((1, size) for size in sizes), packed)


def _with_window(log: int) -> bytes:
    """A frame whose header claims a window of 2**log bytes, as a decompressor would have to hold."""
    parameters = {zstd.CompressionParameter.window_log: log, zstd.CompressionParameter.content_size_flag: 0}
    compressor = zstd.ZstdCompressor(options=parameters)
    return compressor.compress(bytes(1000)) + compressor.flush()


HOSTILE = {
    "a bomb": bundle_of(zstd.compress(bytes(1 << 24)), 1000),
    "more than claimed": bundle_of(zstd.compress(bytes(1001)), 1000),
    "less than claimed": bundle_of(zstd.compress(bytes(999)), 1000),
    "cut off": bundle_of(zstd.compress(bytes(1000))[:-1], 1000),
    "empty": bundle_of(b"", 1000),
    "no zstd": bundle_of(b"not zstd at all", 1000),
    "something behind": bundle_of(zstd.compress(bytes(1000)) + b"x", 1000),
    "another frame behind": bundle_of(zstd.compress(bytes(1000)) * 2, 1000),
    "an empty frame first": bundle_of(zstd.compress(b"") + zstd.compress(bytes(1000)), 1000),
    "a huge window": bundle_of(_with_window(27), 1000),
    "a huge claim": bundle_of(zstd.compress(bytes(1000)), BUNDLE_RAW_MAX, 1),
}


@pytest.mark.parametrize("bundle", HOSTILE.values(), ids=HOSTILE)
def test_what_is_no_bundle_is_named(bundle: Bundle) -> None:
    with pytest.raises(WireError) as caught:
        unbundled(bundle)
    assert caught.value.reason == "bad_bundle"


GOOD = zstd.compress(b"".join(b"%d" % n for n in range(300)))


@given(st.integers(0, len(GOOD) - 1), st.integers(1, 255))
@example(4, 0x80)
def test_a_flipped_byte_never_gives_more_than_was_claimed(at: int, flip: int) -> None:
    size = sum(len(b"%d" % n) for n in range(300))
    damaged = bytearray(GOOD)
    damaged[at] ^= flip
    try:
        (frame,) = unbundled(bundle_of(bytes(damaged), size))
    except WireError as error:
        assert error.reason == "bad_bundle"
    else:
        assert len(frame.payload) == size
