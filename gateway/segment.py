"""Segments: the spool's files, byte by byte. Format 1; docs/spool.md has the picture.

A segment is a preallocated file that is overwritten in place when it is used again, so a commit
changes neither its size nor its extents and one fdatasync writes only the data.

    page 0      header: magic, epoch, lane, first sequence number, nonce, marks; CRC
    page 1 ...  commits. A commit starts on a fresh page, so a page that is torn while it is
                written never holds anything that was committed before.
    last page   the header again: without it nothing in the segment could be told from leftovers

A commit is one or more frames, the last one flagged. A frame is a 24-byte header and its payload:

    u32 length | u32 crc | u64 first_seq | u16 count | u16 flags | u32 lead

`lead` is first_seq minus the commit's first sequence number. The CRC covers the header after it and
the payload, and starts from a value that depends on epoch, first sequence number and nonce of the
segment: what an earlier use of the file left behind never validates.
All integers are little-endian; CRC is CRC-32 (ISO-HDLC, as zlib computes it).
"""

import contextlib
import errno
import os
import struct
import zlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Final

import msgpack

from gateway.disk import PAGE, Disk

MAGIC: Final = b"POLESEG1"
FRAME_HEAD: Final = struct.Struct("<IIQHHI")
_HEAD_START: Final = struct.Struct("<II")  # length, crc
_HEAD_TAIL: Final = struct.Struct("<QHHI")  # what the crc covers
PAYLOAD_MAX: Final = 16384
MARKS_MAX: Final = 128  # incarnations remembered; a box has tens
LAST: Final = 1  # flag: this frame ends its commit
_SEGMENT_HEAD: Final = struct.Struct("<8s8sIQQII")  # magic, epoch, lane, first_seq, nonce, marks length, crc


@dataclass(frozen=True, slots=True)
class Payload:
    """What goes into one frame: `count` records packed together, and their marks if its maker knows them."""

    count: int
    content: bytes
    marks: Mapping[int, int] | None = None


@dataclass(frozen=True, slots=True)
class StoredFrame:
    """A frame found in a segment, and where the next thing after it begins."""

    first_seq: int
    count: int
    content: bytes
    commit_first: int
    ends_commit: bool
    commit_at: int  # offset of its commit's first page
    next_at: int

    @property
    def last_seq(self) -> int:
        """Sequence number of its last record."""
        return self.first_seq + self.count - 1

    def moved(self, by: int) -> "StoredFrame":
        """The same, counted so much further."""
        return replace(self, first_seq=self.first_seq + by, commit_first=self.commit_first + by)


@dataclass(frozen=True, slots=True)
class Lost:
    """Records first_seq..last_seq that the box no longer has; `counts` is by Kind where known."""

    first_seq: int
    last_seq: int
    reason: str
    counts: Mapping[int, int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class SegmentHeader:
    """Page 0: whose segment it is, and the highest n kept per incarnation when it was begun."""

    epoch: bytes
    lane: int
    first_seq: int
    nonce: int
    marks: Mapping[int, int]

    @property
    def seed(self) -> int:
        """Start value of this segment's frame CRCs."""
        return zlib.crc32(struct.pack("<8sIQQ", self.epoch, self.lane, self.first_seq, self.nonce))

    def pack(self) -> bytes:
        """Page 0 as bytes."""
        newest = dict(list(self.marks.items())[-MARKS_MAX:])
        marks: bytes = msgpack.packb(newest)
        head = _SEGMENT_HEAD.pack(
            MAGIC, self.epoch, self.lane, self.first_seq, self.nonce, len(marks), zlib.crc32(marks)
        )
        page = head + struct.pack("<I", zlib.crc32(head)) + marks
        return page.ljust(PAGE, b"\0")


def write_header(disk: Disk, fd: int, size: int, header: SegmentHeader) -> None:
    """Make a file of `size` bytes a segment: first and last page, on the medium."""
    page = header.pack()
    for at in (0, size - PAGE):
        disk.write(fd, page, at)
    disk.sync(fd)


def read_header(disk: Disk, fd: int, size: int) -> SegmentHeader | None:
    """The header of a segment of `size` bytes, from its first or last page; None if neither can be read."""
    for at in (0, size - PAGE):
        with contextlib.suppress(OSError, ValueError, msgpack.exceptions.UnpackException):
            header = _unpack_header(disk.read(fd, PAGE, at))
            if header is not None:
                return header
    return None


def _unpack_header(page: bytes) -> SegmentHeader | None:
    size = _SEGMENT_HEAD.size
    if len(page) < PAGE or page[:8] != MAGIC:
        return None
    (crc,) = struct.unpack_from("<I", page, size)
    _, epoch, lane, first_seq, nonce, length, marks_crc = _SEGMENT_HEAD.unpack_from(page)
    packed = page[size + 4 : size + 4 + length]
    if zlib.crc32(page[:size]) != crc or zlib.crc32(packed) != marks_crc:
        return None
    marks = msgpack.unpackb(packed, strict_map_key=False)
    return SegmentHeader(epoch, lane, first_seq, nonce, marks)


def pack_commit(seed: int, first_seq: int, payloads: Sequence[Payload]) -> bytes:
    """One commit as bytes, padded to whole pages."""
    parts: list[bytes] = []
    seq, size = first_seq, 0
    for index, payload in enumerate(payloads):
        content = payload.content
        flags = LAST if index == len(payloads) - 1 else 0
        tail = _HEAD_TAIL.pack(seq, payload.count, flags, seq - first_seq)
        crc = zlib.crc32(content, zlib.crc32(tail, seed))
        parts += (_HEAD_START.pack(len(content), crc), tail, content)
        seq += payload.count
        size += FRAME_HEAD.size + len(content)
    parts.append(bytes(-size % PAGE))
    return b"".join(parts)


def remember(marks: dict[int, int], newer: Mapping[int, int]) -> None:
    """Note the highest n per incarnation, newest last; of more than MARKS_MAX the oldest are forgotten."""
    for incarnation, n in newer.items():
        marks[incarnation] = max(n, marks.pop(incarnation, 0))
    while len(marks) > MARKS_MAX:
        del marks[next(iter(marks))]


def page_after(at: int) -> int:
    """The first page boundary at or after an offset."""
    return -(-at // PAGE) * PAGE


def frames_in(disk: Disk, fd: int, seed: int, at: int, from_seq: int, end: int) -> Iterator[StoredFrame]:
    """Every valid frame from offset `at` (a page boundary or a frame) up to offset `end`, in order.

    Frames before `from_seq` are passed over by number, damaged ones by going to the next page; the
    caller sees a jump in the sequence numbers there.
    """
    commit_at = at // PAGE * PAGE
    seq = from_seq
    while at + FRAME_HEAD.size <= end:
        frame = _read_frame(disk, fd, seed, at, end, commit_at)
        if frame is None:
            at = commit_at = page_after(at + 1)
            continue
        if frame.last_seq >= seq:
            yield frame
            seq = frame.last_seq + 1
        at = frame.next_at
        if frame.ends_commit:
            commit_at = at


def _read_frame(disk: Disk, fd: int, seed: int, at: int, end: int, commit_at: int) -> StoredFrame | None:
    head, content = _read_parts(disk, fd, at, end)
    if not content or zlib.crc32(content, zlib.crc32(head[8:], seed)) != int.from_bytes(head[4:8], "little"):
        return None
    _, _, first_seq, count, flags, lead = FRAME_HEAD.unpack(head)
    after = at + FRAME_HEAD.size + len(content)
    ends = bool(flags & LAST)
    return StoredFrame(
        first_seq=first_seq,
        count=count,
        content=content,
        commit_first=first_seq - lead,
        ends_commit=ends,
        commit_at=commit_at,
        next_at=page_after(after) if ends else after,
    )


def _read_parts(disk: Disk, fd: int, at: int, end: int) -> tuple[bytes, bytes]:
    """Header and payload of the frame at `at`; an empty payload if there can be none.

    A page that cannot be read is damage like any other, unless the segment answers nothing at all.
    """
    try:
        head = disk.read(fd, FRAME_HEAD.size, at)
        length = int.from_bytes(head[:4], "little")
        if (
            len(head) < FRAME_HEAD.size
            or not 1 <= length <= PAYLOAD_MAX
            or at + FRAME_HEAD.size + length > end
        ):
            return head, b""
        content = disk.read(fd, length, at + FRAME_HEAD.size)
        if len(content) < length:  # the kernel gives what stands before a page that it cannot read
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        return head, content
    except OSError:
        if not disk.answers(fd, end):
            raise
        return b"", b""
