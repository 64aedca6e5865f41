"""What a worker leaves on disk: how far it got, and how many frames were bad."""

from pathlib import Path

from gateway.badframes import BadFrames
from gateway.progress import Progress
from gateway.reading import HealthCode
from gateway.telling import Telling


def test_progress_of_another_boot_says_nothing(tmp_path: Path) -> None:
    path = tmp_path / "progress"
    progress = Progress(path, b"boot-one")
    assert progress.before_ns is None
    progress.set(12345)
    progress.close()
    assert path.read_bytes() == b"boot-one" + (12345).to_bytes(8, "little")
    progress = Progress(path, b"boot-one")
    assert progress.before_ns == 12345
    progress.close()
    progress = Progress(path, b"boot-two")
    assert progress.before_ns is None
    progress.close()
    path.write_bytes(b"cut")
    progress = Progress(path, b"boot-two")
    assert progress.before_ns is None
    progress.close()


def test_bad_frames_are_told_at_most_once_a_minute() -> None:
    told: list[tuple[str, HealthCode, int]] = []
    telling = Telling("serial:x", lambda *what: told.append(what))
    second = 10**9
    telling.tell(0)
    assert told == []
    telling.count(HealthCode.BAD_FRAMES, "well")
    assert telling.tell(second) == {HealthCode.BAD_FRAMES}
    telling.count(HealthCode.BAD_FRAMES, "well")
    telling.count(HealthCode.BAD_FRAMES, "well", 2)
    telling.count(HealthCode.LOST_FRAMES, "well", 7)
    assert telling.tell(60 * second) == {HealthCode.LOST_FRAMES}
    telling.tell(61 * second)
    telling.tell(200 * second)
    assert told == [
        ("well", HealthCode.BAD_FRAMES, 1),
        ("well", HealthCode.LOST_FRAMES, 7),
        ("well", HealthCode.BAD_FRAMES, 3),
    ]


def test_a_full_disk_does_not_end_the_worker(tmp_path: Path) -> None:
    (tmp_path / "bad").symlink_to("/dev/full")
    bad = BadFrames(tmp_path / "bad", "number")
    bad.keep(0, b"\x01")
    bad.write()
    bad.write()
    assert bad.counters == {"bad_unwritten": 2}
    (tmp_path / "bad").unlink()
    bad.write()
    assert "01" in (tmp_path / "bad").read_text(), "they are written when there is room"
