"""The store of models: versions that never change, one switch, and a whole store whatever dies when."""

import os
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from gateway import modelstore
from gateway.errors import BundleError, ConfigError
from gateway.modelstore import ACTIVE, KEPT, PREVIOUS, ModelStore, mark_for, mark_of

FILES = {"manifest.json": b"{}", "first.f32.tflite": b"\x01" * 10_000, "card.md": b"# a card\n"}
_CHANGES = {"mkdir", "rename", "symlink", "chmod", "remove", "rmdir"}


def files(version: str) -> dict[str, bytes]:
    return FILES | {"manifest.json": f'{{"name": "small", "version": "{version}"}}'.encode()}


def put(store: ModelStore, version: str) -> None:
    store.put("small", version, files(version))
    store.activate("small", version)


def roles(store: ModelStore) -> tuple[str | None, str | None]:
    return store.version_at("small", ACTIVE), store.version_at("small", PREVIOUS)


def test_a_version_is_put_switched_to_and_back(tmp_path: Path) -> None:
    store = ModelStore(tmp_path)
    assert (store.names(), store.installed("small"), roles(store)) == ([], [], (None, None))
    put(store, "1.9.0")
    put(store, "1.10.0")
    assert store.names() == ["small"]
    assert [each.version for each in store.held("small")] == ["1.9.0", "1.10.0"]
    assert roles(store) == ("1.10.0", "1.9.0")
    assert store.installed("small") == [store.folder("small", "1.10.0"), store.folder("small", "1.9.0")]
    assert store.rollback("small") == "1.9.0"
    assert roles(store) == ("1.9.0", "1.10.0")
    assert store.rollback("small") == "1.10.0"


def test_a_version_never_changes(tmp_path: Path) -> None:
    store = ModelStore(tmp_path)
    put(store, "1.0.0")
    folder = store.folder("small", "1.0.0")
    assert folder.stat().st_mode & 0o222 == 0
    assert all(path.stat().st_mode & 0o222 == 0 for path in folder.iterdir())
    assert store.put("small", "1.0.0", files("1.0.0")) == folder
    with pytest.raises(BundleError, match=r"small 1\.0\.0 is installed with other content"):
        store.put("small", "1.0.0", files("1.0.0") | {"manifest.json": b"another"})
    with pytest.raises(
        BundleError, match=r"there is no version 2\.0\.0 of small on this box; there are: 1\.0\.0"
    ):
        store.activate("small", "2.0.0")
    with pytest.raises(BundleError, match="there is no previous version of small"):
        store.rollback("small")


def test_a_version_that_the_disk_damaged_is_put_again(tmp_path: Path) -> None:
    store = ModelStore(tmp_path)
    put(store, "1.0.0")
    before = store.token("small")
    card = store.folder("small", "1.0.0") / "card.md"
    card.chmod(0o644)
    card.write_bytes(b"# a c")
    put(store, "1.0.0")
    assert card.read_bytes() == FILES["card.md"]
    assert store.token("small") != before  # workers that could not load it look again
    assert [path.name for path in card.parent.parent.glob(".new-*")] == []


def test_what_is_in_quarantine_is_no_version_to_fall_back_to(tmp_path: Path) -> None:
    store = ModelStore(tmp_path)
    put(store, "1.0.0")
    put(store, "1.1.0")
    store.quarantine(mark_for(store.folder("small", "1.1.0"), "it bit"))
    put(store, "1.2.0")
    assert roles(store) == ("1.2.0", "1.0.0")


def test_the_disk_does_not_fill_with_versions(tmp_path: Path) -> None:
    store = ModelStore(tmp_path)
    for minor in range(KEPT + 3):
        put(store, f"1.{minor}.0")
    versions = [each.version for each in store.held("small")]
    assert versions == [f"1.{minor}.0" for minor in range(3, KEPT + 3)]
    assert roles(store) == (f"1.{KEPT + 2}.0", f"1.{KEPT + 1}.0")


def test_quarantine_is_by_content_and_outlives_a_damaged_mark(tmp_path: Path) -> None:
    store = ModelStore(tmp_path)
    put(store, "1.0.0")
    put(store, "1.1.0")
    folder = store.folder("small", "1.0.0")
    token = store.token("small")
    mark = mark_for(folder, "brought down its worker twice")
    store.quarantine(mark)
    assert store.token("small") != token
    assert store.quarantined_at(folder) == mark
    assert (mark.name, mark.version) == ("small", "1.0.0")
    assert store.quarantined_at(store.folder("small", "1.1.0")) is None
    assert store.marks() == [mark]
    (tmp_path / "models" / "quarantine" / f"{mark.hash}.json").write_text("{")
    damaged = store.quarantined_at(folder)
    assert damaged is not None
    assert "is damaged" in damaged.reason
    assert store.release(mark.hash)
    assert not store.release(mark.hash)
    assert store.quarantined_at(folder) is None
    assert len(mark_of("00", "small", "1", "x" * 9_999).reason) <= 400


def test_the_token_changes_with_every_switch(tmp_path: Path) -> None:
    store = ModelStore(tmp_path)
    tokens = [store.token("small")]
    for version in ("1.0.0", "1.1.0"):
        put(store, version)
        tokens.append(store.token("small"))
    store.rollback("small")
    tokens.append(store.token("small"))
    assert len(set(tokens[1:3])) == 2
    assert tokens[0] != tokens[1] == tokens[3]


def test_a_link_that_leads_out_of_the_store_counts_for_nothing(tmp_path: Path) -> None:
    store = ModelStore(tmp_path)
    put(store, "1.0.0")
    link = tmp_path / "models" / "small" / ACTIVE
    link.unlink()
    link.symlink_to("/etc")
    assert store.version_at("small", ACTIVE) is None
    assert store.installed("small") == []


def test_a_disk_that_refuses_is_named(tmp_path: Path) -> None:
    (tmp_path / "models").write_text("in the way")
    with pytest.raises(ConfigError, match=r"models.* cannot be written: "):
        put(ModelStore(tmp_path), "1.0.0")


def test_everything_is_on_the_disk_before_it_has_its_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    steps: list[str] = []
    fsync, rename, replace = os.fsync, Path.rename, os.replace

    def syncing(fd: int) -> None:
        steps.append(Path(f"/proc/self/fd/{fd}").readlink().name)
        fsync(fd)

    def renaming(self: Path, target: Path) -> Path:
        steps.append("rename")
        return rename(self, target)

    def replacing(source: Path, target: Path) -> None:
        steps.append("switch")
        replace(source, target)

    monkeypatch.setattr(modelstore.os, "fsync", syncing)
    monkeypatch.setattr(modelstore.Path, "rename", renaming)
    monkeypatch.setattr(modelstore.os, "replace", replacing)
    put(ModelStore(tmp_path), "1.0.0")
    at = steps.index("rename")
    assert {*FILES, ".new-1.0.0"} <= set(steps[:at])
    assert steps[at + 1] == "small"
    assert steps[steps.index("switch") :] == ["switch", "small"]


def _first(store: ModelStore) -> None:
    put(store, "1.1.0")


def _roll(store: ModelStore) -> None:
    store.rollback("small")


@pytest.mark.slow
@pytest.mark.parametrize(
    ("prepare", "change", "before", "after"),
    [
        ((), _first, (None, None), ("1.1.0", None)),
        (("1.0.0",), _first, ("1.0.0", None), ("1.1.0", "1.0.0")),
        (tuple(f"0.{n}.0" for n in range(KEPT)), _first, ("0.4.0", "0.3.0"), ("1.1.0", "0.4.0")),
        (("1.0.0", "1.1.0"), _roll, ("1.1.0", "1.0.0"), ("1.0.0", "1.1.0")),
    ],
    ids=["first", "second", "full", "rollback"],
)
def test_a_death_at_any_step_leaves_a_whole_store(
    tmp_path: Path,
    prepare: tuple[str, ...],
    change: Callable[[ModelStore], None],
    before: tuple[str | None, str | None],
    after: tuple[str | None, str | None],
) -> None:
    for version in prepare:
        put(ModelStore(tmp_path / "origin"), version)
    (tmp_path / "origin").mkdir(exist_ok=True)
    step = 0
    while True:
        state = tmp_path / f"after-{step}"
        shutil.copytree(tmp_path / "origin", state, symlinks=True)
        died = _dies_before(step, change, state)
        store = ModelStore(state)
        if not died:
            break
        _check_whole(store)
        assert roles(store)[0] in {before[0], after[0]}, step
        if roles(store)[0] == before[0]:
            change(store)  # whoever wanted it asks again
        elif change is _first:
            change(store)
        _check_whole(store)
        assert roles(store)[0] == after[0], step
        assert not [
            path for path in (state / "models" / "small").iterdir() if path.name.startswith(".new-")
        ] or (change is _roll)
        step += 1
    assert step >= 3
    assert roles(store) == after


def _check_whole(store: ModelStore) -> None:
    for held in store.held("small"):
        assert {path.name: path.read_bytes() for path in held.folder.iterdir()} == files(held.version)


def _dies_before(step: int, change: Callable[[ModelStore], None], state: Path) -> bool:
    """Whether a child that makes the change was ended just before its change of the disk number `step`."""
    child = os.fork()
    if child == 0:
        left = step

        def hook(event: str, arguments: tuple[Any, ...]) -> None:
            nonlocal left
            writes = event == "open" and isinstance(arguments[2], int) and arguments[2] & os.O_CREAT
            if writes or event.removeprefix("os.") in _CHANGES:
                if not left:
                    os._exit(9)
                left -= 1

        sys.addaudithook(hook)
        try:
            change(ModelStore(state))
        except BaseException:  # noqa: BLE001  # nothing of the child may reach pytest
            os._exit(1)
        os._exit(0)
    _, status = os.waitpid(child, 0)
    assert os.waitstatus_to_exitcode(status) in {0, 9}
    return os.waitstatus_to_exitcode(status) == 9
