"""Waiting for plugs on real folders; where inotify runs out, looking takes its place."""

import asyncio
import errno
import logging
from pathlib import Path

import pytest
from loops import in_loop

from gateway.ports import devwatch
from gateway.ports.devwatch import DevWatch


async def is_told(watch: DevWatch) -> bool:
    """Whether a change is known by now; inotify tells at once, so a turn of the loop is enough."""
    return await watch.changed(0.05)


@in_loop
async def test_names_that_begin_alike_wake_and_others_do_not(tmp_path: Path) -> None:
    with DevWatch([f"{tmp_path}/ttyACM", f"{tmp_path}/ttyUSB"]) as watch:
        (tmp_path / "video0").touch()
        assert not await is_told(watch)
        (tmp_path / "ttyACM1").touch()
        assert await watch.changed(5)
        assert not await is_told(watch)
        (tmp_path / "ttyACM1").chmod(0o600)
        assert await watch.changed(5)
        (tmp_path / "ttyACM1").unlink()
        assert await watch.changed(5)


@in_loop
async def test_a_folder_that_is_not_there_yet_is_waited_for(tmp_path: Path) -> None:
    by_path = tmp_path / "serial" / "by-path"
    with DevWatch([f"{by_path}/pci-1"]) as watch:
        by_path.mkdir(parents=True)
        assert await watch.changed(5)  # who waits looks now: the link might be there already
        while await is_told(watch):
            pass
        (by_path / "pci-2").touch()
        assert not await is_told(watch)
        (by_path / "pci-1").touch()
        assert await watch.changed(5)


@in_loop
async def test_a_folder_that_was_taken_away_and_made_again_is_watched_again(tmp_path: Path) -> None:
    folder = tmp_path / "by-path"
    folder.mkdir()
    with DevWatch([f"{folder}/"]) as watch:
        folder.rmdir()
        assert await watch.changed(5)
        folder.mkdir()
        assert await watch.changed(5)
        while await is_told(watch):
            pass
        (folder / "plug").touch()
        assert await watch.changed(5)


@in_loop
async def test_without_inotify_it_says_so_once_and_lets_the_caller_look(
    tmp_path: Path, monkeypatch, caplog: pytest.LogCaptureFixture
) -> None:
    def none_left() -> None:
        raise OSError(errno.EMFILE, "Too many open files")

    monkeypatch.setattr(devwatch, "Watch", none_left)
    monkeypatch.setattr(devwatch, "LOOK_S", 0.01)
    monkeypatch.setattr(devwatch, "_told", set())
    loop = asyncio.get_running_loop()
    with caplog.at_level(logging.WARNING, "ports"):
        for _ in range(2):
            with DevWatch([f"{tmp_path}/tty"]) as watch:
                started = loop.time()
                assert not await watch.changed(30)
                assert loop.time() - started < 5
    assert [record.message.partition(",")[0] for record in caplog.records] == [
        "cannot wait for plugs (Too many open files)"
    ]
