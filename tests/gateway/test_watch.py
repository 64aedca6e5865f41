"""gateway.watch against the real kernel: what was done to files is told, once, and nothing else is."""

import os
import select
from collections.abc import Iterator
from pathlib import Path

import pytest

from gateway.watch import Watch


@pytest.fixture
def watch() -> Iterator[Watch]:
    with Watch() as watch:
        yield watch


def _is_readable(watch: Watch) -> bool:
    return bool(select.select([watch], [], [], 0)[0])


def test_tells_names_that_come_move_and_go(watch: Watch, tmp_path: Path) -> None:
    watch.add(tmp_path)
    assert not _is_readable(watch)
    assert watch.changes() == set()
    (tmp_path / "a").symlink_to("nowhere")
    (tmp_path / "b").write_text("x")
    assert _is_readable(watch)
    assert watch.changes() == {tmp_path / "a", tmp_path / "b"}
    (tmp_path / "a").unlink()
    (tmp_path / "b").rename(tmp_path / "c")
    assert watch.changes() == {tmp_path / "a", tmp_path / "b", tmp_path / "c"}
    (tmp_path / "c").chmod(0o600)
    assert watch.changes() == {tmp_path / "c"}
    assert watch.changes() == set()


def test_a_write_to_an_open_file_is_told_where_that_is_wanted(watch: Watch, tmp_path: Path) -> None:
    path = tmp_path / "log"
    with path.open("w") as file:
        watch.add(path)
        file.write("one")
        file.flush()
        assert watch.changes() == set()
        watch.add(path, writes=True)
        file.write("two")
        file.flush()
        assert watch.changes() == {path}


def test_a_write_to_a_file_is_no_plug(watch: Watch, tmp_path: Path) -> None:
    (tmp_path / "null").touch()
    watch.add(tmp_path, closes=False)
    (tmp_path / "null").write_text("x")
    assert not _is_readable(watch)
    (tmp_path / "null").chmod(0o600)
    assert watch.changes() == {tmp_path / "null"}


def test_a_folder_that_is_removed_is_told_and_can_be_watched_again(watch: Watch, tmp_path: Path) -> None:
    folder = tmp_path / "by-path"
    folder.mkdir()
    watch.add(folder)
    folder.rmdir()
    assert watch.changes() == {folder}
    with pytest.raises(FileNotFoundError):
        watch.add(folder)
    folder.mkdir()
    watch.add(folder)
    (folder / "plug").touch()
    assert watch.changes() == {folder / "plug"}


def test_names_that_are_no_text_are_told(watch: Watch, tmp_path: Path) -> None:
    watch.add(tmp_path)
    name = os.fsdecode(b"\xff\xfe")
    (tmp_path / name).touch()
    assert watch.changes() == {tmp_path / name}
