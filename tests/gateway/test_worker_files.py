"""What a worker leaves on disk: how far it got, and how many frames were bad."""

from pathlib import Path

from gateway.badframes import BadFrames
from gateway.progress import Progress


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


def test_bad_frames_are_told_at_most_once_a_minute(tmp_path: Path) -> None:
    bad = BadFrames(tmp_path / "bad", "number")
    second = 10**9
    assert bad.due(0) == {}
    bad.add("well", 0, b"x")
    assert bad.due(second) == {"well": 1}
    bad.add("well", second, b"y")
    bad.count("well", 2)
    assert bad.due(60 * second) == {}
    assert bad.due(61 * second) == {"well": 3}
    assert bad.due(200 * second) == {}


def test_a_full_disk_does_not_end_the_worker(tmp_path: Path) -> None:
    (tmp_path / "bad").symlink_to("/dev/full")
    bad = BadFrames(tmp_path / "bad", "number")
    bad.add("well", 0, b"\x01")
    assert bad.due(1) == {"well": 1}
    bad.write()
    assert bad.counters == {"bad_unwritten": 2}
    (tmp_path / "bad").unlink()
    bad.write()
    assert "01" in (tmp_path / "bad").read_text(), "they are written when there is room"
