"""Power cuts while a box obeys: at every step of its ledger, with every kind of damage a cut can do."""

from pathlib import Path
from random import Random

import pytest
from order_kit import BOX, HandClock, Life, Owner, enrol

from gateway import downlink
from gateway.errors import ConfigError
from gateway.ledger import Phase
from gateway.plan import Plan, SpoolPlan
from gateway.wire import Command
from gateway_hil.crashes.images import draw_outcome, faults_possible, image, unsynced
from gateway_hil.crashes.medium import Folder
from gateway_hil.crashes.recorder import RecordingDisk

OWNER = Owner()
BEFORE = OWNER.order("ping", 99)  # so that there is something to lose
DRAWS = 4


class Cut(BaseException):
    """The power is gone: nothing may catch it."""


class Site:
    """Stands in for the child that compiles the site file: to start one takes as long as all cuts."""

    def __init__(self, printed: Plan | None) -> None:
        self.printed = printed
        self.runs = 0

    def __call__(self, module: str, *arguments: str, doing: str) -> bytes:
        self.runs += 1
        if self.printed is None:
            raise ConfigError("site.toml:1:1: wrong")
        return self.printed.text().encode()


class World:
    """One box through a power cut. A reload has put its plan there by then (`saves`), or not yet."""

    def __init__(self, state: Path, site: Site, saves: bool) -> None:
        self.state, self.site, self.saves = state, site, saves
        self.old = self.plan = Plan(BOX, state, ())
        self.root = Folder()
        node = self.root
        for part in state.parts[1:]:
            node.change((part, Folder()))
            node.sync()
            child = node.names[part]
            assert isinstance(child, Folder)
            node = child
        self.lives: list[Life] = []

    def live(self, command: Command, draw: Random, cut: int | None) -> int:
        """One life, up to the cut; how many steps it made."""
        steps = 0

        def before(operation: str, path: str) -> None:
            nonlocal steps
            if steps == cut:
                raise Cut
            steps += 1

        disk = RecordingDisk(self.root, draw, before)
        life = Life(self.state, HandClock(), self.state / "site.toml", disk, self.plan)
        self.lives.append(life)
        try:
            life.downlink.resume()
            life.obey(command)
            if life.plans and self.saves:
                self.plan = life.plans[0]
            life.downlink._told([bytes.fromhex(result["id"]) for result in life.results])
        except Cut:
            pass
        return steps

    def power_comes_back(self, draw: Random, fault_at: int) -> None:
        found = unsynced(self.root)
        faults = faults_possible(found)
        self.root = image(self.root, found, draw_outcome(found, faults[fault_at % len(faults)], draw))


PLANS = {"new plan": SpoolPlan(quota_mib=(8, 8, 8, 8)), "same plan": SpoolPlan()}


@pytest.mark.parametrize(
    ("command", "site", "expected"),
    [
        pytest.param(OWNER.order("ping"), "", {"done"}, id="ping"),
        pytest.param(OWNER.throttle(), "", {"done"}, id="throttle"),
        pytest.param(OWNER.order("reload"), "new plan", {"done", "interrupted"}, id="reload"),
        pytest.param(OWNER.order("reload"), "same plan", {"done", "interrupted"}, id="nothing new"),
        pytest.param(OWNER.order("reload"), "wrong", {"site_wrong", "interrupted"}, id="wrong file"),
    ],
)
def test_an_order_is_done_once_and_answered_alike_whenever_the_power_goes(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    seed: int,
    command: Command,
    site: str,
    expected: set[str],
) -> None:
    enrol(tmp_path, OWNER.public)
    printed = Plan(BOX, tmp_path, (), PLANS[site]) if site in PLANS else None
    states, cut, outcomes = 0, 0, set()
    while True:
        steps = 0
        for at in range(6 * DRAWS):
            draw = Random(f"{seed} {cut} {at}")
            world = World(tmp_path, Site(printed), saves=at % 2 == 0)
            monkeypatch.setattr(downlink, "run_child", world.site)
            world.live(BEFORE, draw, None)
            world.power_comes_back(draw, 0)
            steps = world.live(command, draw, cut)
            for _ in range(2):  # the hub has no result yet, and sends it to each later core
                world.power_comes_back(draw, at // DRAWS)
                world.live(command, draw, None)
            outcomes.add(check(world, site))
            states += 1
        if steps < cut:
            break
        cut += 1
    assert states > 100
    assert outcomes == expected


def check(world: World, site: str) -> str:
    """What must hold of all lives together; the outcome."""
    assert world.site.runs <= 1, "begun twice"
    assert sum(len(life.plans) for life in world.lives) <= 1
    results = [result for life in world.lives for result in life.results if int(result["id"], 16) == 1]
    assert len({result["outcome"] for result in results}) == 1, f"{results}: one order, one outcome"
    last = world.lives[-1]
    assert all(entry.phase >= Phase.FINISHED for entry in last.downlink._book.entries.values())
    assert {int.from_bytes(i, "big") for i in last.downlink._book.entries} == {1, 99}, "nothing noted is lost"
    outcome: str = results[0]["outcome"]
    if results[0]["command"] == "throttle":
        assert last.rates == [500]
    if results[0]["command"] == "reload" and site == "new plan":
        assert (world.plan != world.old) == (outcome == "done"), "it says that it runs by the plan it runs by"
    return outcome
