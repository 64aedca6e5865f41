"""The spool's benchmark compares like with like: equal records, and every store gives all of them back."""

from dataclasses import replace
from pathlib import Path

import pytest

from benchmarks.spool.measure import Child
from benchmarks.spool.stores import STORES
from benchmarks.spool.stores.ours import Ours
from benchmarks.spool.tables import page_limit
from benchmarks.spool.workload import SIZE, SMALL, batches, records
from gateway.records import unpack_batch

HERE = [name for name, entry in STORES.items() if entry.maker.startswith(("ours", "sqlite"))]


@pytest.mark.parametrize("size", [*SMALL, SIZE])
def test_records_differ_and_have_the_size_they_say(size: int) -> None:
    made = records(size)
    assert {len(record) for record in made} == {size}
    assert len(set(made)) == len(made)


def test_ours_stores_batches_that_a_hub_can_read(tmp_path: Path) -> None:
    store = Ours(tmp_path, SIZE)
    (commit,) = batches(SIZE, 1000)
    payloads = store.payloads(commit)
    store.close()
    found = [unpack_batch(payload.content) for payload in payloads]
    assert sum(len(batch.records) for batch in found) == 1000
    assert all(len(payload.content) <= 4096 for payload in payloads)


@pytest.mark.parametrize("name", HERE)
def test_a_store_gives_back_all_it_took_once(name: str, tmp_path: Path) -> None:
    commits = batches(SIZE, 25)[:20]
    store = STORES[name].open(tmp_path / name, SIZE)
    assert sum(store.append(commit) for commit in commits[:10]) == 250
    assert store.drain(25, 100) >= 100
    store.close()
    store = STORES[name].open(tmp_path / name, SIZE)
    assert store.first()
    rest = store.drain(25, 10_000)
    assert sum(store.append(commit) for commit in commits[10:]) == 250
    assert rest == 150
    assert store.drain(25, 10_000) == 250
    assert not store.first()
    store.close()


def test_whole_pages_are_the_limit() -> None:
    assert page_limit(118, 25) == pytest.approx(4096 / 2950)
    assert page_limit(4096, 1) == 1.0
    assert page_limit(30, 1000) == pytest.approx(32768 / 30000)


@pytest.mark.slow
def test_a_child_tells_what_a_life_costs(tmp_path: Path) -> None:
    with Child(replace(STORES["ours"], options=("counting",)), tmp_path / "ours", SIZE, 25) as store:
        told = store.ask("cycle", 40)
        assert told["accepted"] == told["delivered"] == 1000
        assert 0 < told["append_cpu_s"] < 5.0
        written = store.ask("written")["written"]
        assert written % 4096 == 0
        assert 40 * 4096 <= written < 60 << 20  # forty commits, and what a new spool lays out beforehand
        store.ask("group", 100)
        store.ask("append", 500)
        drained = store.ask("drain", 500)
        assert drained["delivered"] == 500
        assert drained["memory_kib"] < 16 * 1024
