"""Measure tables: kept as long as records may need them, this plan's whatever happens."""

import os
from pathlib import Path

import pytest

from gateway.plan import table_id
from gateway.tables import keep_table
from gateway.wire import TABLES_MAX


def table(n: int) -> dict[str, object]:
    return {"box": "b", "sensors": [], "n": n}


def test_earlier_tables_are_kept_and_this_plans_comes_last(tmp_path: Path) -> None:
    for n in range(3):
        tables = keep_table(tmp_path / "tables", table(n))
    assert set(tables) == {table_id(table(n)) for n in range(3)}
    assert list(tables)[-1] == table_id(table(2))


@pytest.mark.parametrize("damage", [b"", b"{", b'{"box": "other"}'])
def test_a_table_emptied_by_a_power_cut_is_written_again(tmp_path: Path, damage: bytes) -> None:
    keep_table(tmp_path, table(1))
    (file,) = tmp_path.glob("*.json")
    file.write_bytes(damage)
    assert keep_table(tmp_path, table(1)) == {table_id(table(1)): table(1)}
    assert keep_table(tmp_path, table(2))[table_id(table(1))] == table(1)


def test_only_the_newest_are_kept_but_this_plans_even_if_the_clock_says_1970(tmp_path: Path) -> None:
    for n in range(TABLES_MAX + 3):
        keep_table(tmp_path, table(n))
        (file,) = tmp_path.glob(f"{table_id(table(n)).hex()}.json")
        os.utime(file, ns=(n * 10**9, n * 10**9))
    os.utime(tmp_path / f"{table_id(table(10)).hex()}.json", ns=(0, 0))
    tables = keep_table(tmp_path, table(10))
    assert len(tables) == TABLES_MAX == len(list(tmp_path.glob("*.json")))
    assert list(tables)[-1] == table_id(table(10))


def test_where_the_disk_refuses_it_is_kept_in_memory(tmp_path: Path) -> None:
    (tmp_path / "tables").write_text("not a folder")
    assert keep_table(tmp_path / "tables", table(1)) == {table_id(table(1)): table(1)}
