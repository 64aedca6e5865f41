"""What core answers to `gateway reload`; on a real box: tests/system/test_reload.py."""

import asyncio
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from socket import AF_UNIX, SOCK_SEQPACKET, socket

import msgpack
import pytest
from loops import in_loop, until

from gateway.errors import ConfigError
from gateway.link import VERSION, ask_reload, ask_status
from gateway.linkserver import LinkServer
from gateway.plan import Plan, PortPlan, load_plan
from gateway.takeover import BEGUN, IN_PLACE, OTHER, REFUSED, TakeOver, digest, packed


class Stand:
    """A core's link and TakeOver, its plan on the disk."""

    def __init__(self, state: Path, site: Path | None = None) -> None:
        self.plan = Plan("elm", state, (PortPlan(0, "serial:/dev/a", "serial", ()),))
        self.new = replace(self.plan, ports=(PortPlan(1, "serial:/dev/b", "serial", ()),))
        self.plan.save(state / "plan.json")
        self.done = asyncio.Event()
        self.socket = state / "run" / "core.sock"
        self.link = LinkServer(self.socket, lambda *_: True, lambda _: {})
        self.take_over = TakeOver(self.plan, site, self.link, self.done.set)
        self.link.on_reload = self.take_over.asked

    def ask(self, plan: Plan, base: Plan | None = None, site: str = "/site.toml") -> tuple[str, str]:
        return self.take_over.asked(site, digest(base or self.plan), packed(plan))

    @property
    def on_disk(self) -> Plan:
        return load_plan(self.plan.state / "plan.json")


@contextmanager
def standing(state: Path, site: Path | None = None) -> Iterator[Stand]:
    stand = Stand(state, site)
    stand.link.start()
    try:
        yield stand
    finally:
        stand.link.close()


@in_loop
async def test_a_plan_is_put_in_place_once(tmp_path: Path) -> None:
    with standing(tmp_path) as stand:
        assert stand.ask(stand.plan) == (IN_PLACE, "")
        assert stand.ask(stand.new) == (BEGUN, "")
        assert stand.on_disk == stand.new
        assert stand.ask(stand.new) == (BEGUN, ""), "asked again"
        third = replace(stand.new, ports=())
        assert stand.ask(third)[0] == OTHER, "one after the other"
        assert not stand.take_over.begin(third)
        assert stand.take_over.begin(stand.new)
        assert stand.on_disk == stand.new
        await asyncio.wait_for(stand.done.wait(), 2)


@in_loop
async def test_core_waits_for_what_the_workers_of_changed_ports_hold(tmp_path: Path) -> None:
    with standing(tmp_path) as stand, socket(AF_UNIX, SOCK_SEQPACKET) as worker:
        worker.connect(str(stand.socket))
        worker.send(msgpack.packb(["H", VERSION, "worker", 0, 7, b""]))
        await until(lambda: stand.link.workers() == [0])
        stand.ask(stand.new)
        await asyncio.sleep(0.05)
        assert not stand.done.is_set()
        worker.close()
        await asyncio.wait_for(stand.done.wait(), 2)


@in_loop
async def test_a_plan_that_was_made_beside_another_one_is_made_anew(tmp_path: Path) -> None:
    with standing(tmp_path) as stand:
        assert stand.ask(stand.new, base=stand.new)[0] == OTHER
        assert stand.on_disk == stand.plan


@in_loop
async def test_what_is_refused_changes_nothing(tmp_path: Path) -> None:
    site = tmp_path / "site.toml"
    with standing(tmp_path, site) as stand:
        box = replace(stand.new, box="ash")
        folder = replace(stand.new, state=tmp_path / "other")
        for plan, where, text in (
            (stand.new, "/elsewhere.toml", f"the gateway here runs by {site}; reload that one"),
            (box, str(site), "another box or state folder is no reload; start the gateway anew for that"),
            (folder, str(site), "another box or state folder is no reload; start the gateway anew for that"),
        ):
            assert stand.ask(plan, site=where) == (REFUSED, text)
        old = zlib.compress(stand.new.text().replace('"version": ', '"version": 9').encode())
        state, text = stand.take_over.asked(str(site), digest(stand.plan), old)
        assert (state, "the new plan is version 9" in text) == (REFUSED, True)
        assert stand.on_disk == stand.plan
        assert not stand.done.is_set()


@in_loop
async def test_a_disk_that_refuses_keeps_the_old_plan(tmp_path: Path) -> None:
    with standing(tmp_path) as stand:
        (tmp_path / "plan.new").mkdir()
        state, text = stand.ask(stand.new)
        assert (state, text.endswith("; the old one goes on")) == (REFUSED, True)
        assert stand.on_disk == stand.plan
        (tmp_path / "plan.new").rmdir()
        assert stand.ask(stand.new)[0] == BEGUN, "and it may be asked again"


@pytest.mark.parametrize("plan", [b"", b"no zlib", zlib.compress(b"x" * (9 << 20)), zlib.compress(b"x")[:-3]])
@in_loop
async def test_bytes_that_are_no_plan_end_the_connection_alone(tmp_path: Path, plan: bytes) -> None:
    with standing(tmp_path) as stand:
        path = stand.socket
        with pytest.raises(ConfigError, match="no core answers"):
            await asyncio.to_thread(ask_reload, path, Path("/site.toml"), digest(stand.plan), plan)
        assert stand.link.counters["link_malformed"] == 1
        assert await asyncio.to_thread(ask_status, path) == {}
        assert stand.on_disk == stand.plan


@in_loop
async def test_over_the_link(tmp_path: Path) -> None:
    with standing(tmp_path) as stand:
        path = stand.socket
        base = digest(stand.plan)
        answer = await asyncio.to_thread(ask_reload, path, Path("/site.toml"), base, packed(stand.new))
        assert answer == (BEGUN, "", frozenset())
        with pytest.raises(ConfigError, match="too long"):
            ask_reload(path, Path("/site.toml"), base, bytes(65000))
