"""Box and hub over a transport that does whatever a city does to it: nothing lost, nothing twice, in order.

Both ends are the real ones: sessions over logs on a disk in memory, sessions over a journal in SQLite.
What is promised is checked as it happens (aids: uplink_world, box_end, hub_end), and at the end, in a calm
period (uplink_calm): everything that was produced is at the hub, or declared lost for a known reason. Many
more examples: HYPOTHESIS_PROFILE=long.
"""

import pytest
from effort import effort
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule
from uplink_calm import SETTLED_S, check_peace, check_silence_is_noticed, settle
from uplink_world import Line, World

LANES = st.integers(0, 3)
ROLES = st.sampled_from("UB")


class UplinkMachine(RuleBasedStateMachine):
    """Each rule is something that happens; hypothesis looks for the order that breaks a promise."""

    world: World

    @initialize(credit=st.sampled_from([300, 3000, 20_000, 1 << 30]))
    def begin(self, credit: int) -> None:
        self.world = World(credit)
        for role in "UB":
            self.world.connect(role)

    def _line(self, pick: int) -> Line:
        """Any line; the latest more often than old ones."""
        lines = list(self.world.lines.values())
        return lines[-1 - pick % min(len(lines), 4)]

    @rule(lane=LANES, counts=st.lists(st.integers(1, 9), min_size=1, max_size=3), size=st.integers(24, 3000))
    def append(self, lane: int, counts: list[int], size: int) -> None:
        self.world.box.append(lane, counts, size)

    @rule(
        lane=LANES, commits=st.integers(4, 24), count=st.integers(1, 2), size=st.sampled_from([60, 900, 3000])
    )
    def append_much(self, lane: int, commits: int, count: int, size: int) -> None:
        for _ in range(commits):
            self.world.box.append(lane, [count] * (4 if lane == 3 else 1), size)

    @rule(lane=LANES)
    def evict(self, lane: int) -> None:
        self.world.box.evict(lane)

    @rule(lane=LANES, back=st.integers(1, 5))
    def rot(self, lane: int, back: int) -> None:
        held = list(self.world.box.held[lane])
        if len(held) > back:
            self.world.box.rot(lane, held[-1 - back])

    @rule(role=ROLES, oldest_only=st.booleans())
    def connect(self, role: str, oldest_only: bool) -> None:
        self.world.connect(role, oldest_only)

    @rule(role=ROLES, most=st.integers(1, 60))
    def box_sends(self, role: str, most: int) -> None:
        self.world.box_sends(role, most)

    @rule(role=ROLES, after=st.integers(1, 4), most=st.integers(1, 8), backlog=st.integers(0, 3))
    def box_sends_while_core_appends(self, role: str, after: int, most: int, backlog: int) -> None:
        higher, lower = (0, 1) if role == "U" else (2, 3)
        for _ in range(backlog):
            self.world.box.append(lower, [1, 1], 1200)

        def between(done: int) -> None:
            if done == after:
                self.world.box.append(higher, [1], 40)

        self.world.box_sends(role, most, between)  # what was offered last was perhaps not taken
        self.world.box.append(higher, [1], 40)
        self.world.box_sends(role, 8)

    @rule(role=ROLES, after=st.integers(1, 4), lane=LANES)
    def box_sends_while_core_evicts(self, role: str, after: int, lane: int) -> None:
        def between(done: int) -> None:
            if done == after:
                self.world.box.evict(lane)

        self.world.box_sends(role, 8, between)

    @rule(pick=st.integers(0, 3), most=st.integers(1, 30))
    def hub_hears(self, pick: int, most: int) -> None:
        line = self._line(pick)
        for _ in range(min(most, len(line.to_hub))):
            self.world.hub_hears(line)

    @rule(pick=st.integers(0, 3), most=st.integers(1, 30))
    def box_hears(self, pick: int, most: int) -> None:
        line = self._line(pick)
        for _ in range(min(most, len(line.to_box))):
            if line.to_box:
                self.world.box_hears(line)

    @rule()
    def hub_commits(self) -> None:
        self.world.hub.commit(self.world.now_s)

    @rule(pick=st.integers(0, 3), box_knows=st.booleans(), hub_knows=st.booleans(), arrives=st.integers(0, 9))
    def cut(self, pick: int, box_knows: bool, hub_knows: bool, arrives: int) -> None:
        self.world.cut(self._line(pick), box_knows, hub_knows, arrives)

    @rule(pick=st.integers(0, 3))
    def repeat(self, pick: int) -> None:
        self.world.repeat(self._line(pick))

    @rule()
    def restart_hub(self) -> None:
        self.world.hub.restart()

    @rule(refuses=st.booleans())
    def hub_disk(self, refuses: bool) -> None:
        self.world.hub.disk_refuses = refuses

    @rule(damaged=st.dictionaries(LANES, st.integers(1, 6), max_size=2))
    def restart_box(self, damaged: dict[int, int]) -> None:
        self.world.restart_box(damaged)

    @rule(lane=LANES, commits=st.integers(1, 6), forgets=st.integers(1, 6), then=st.integers(0, 3))
    def restart_box_that_forgot_what_the_hub_has(
        self, lane: int, commits: int, forgets: int, then: int
    ) -> None:
        for _ in range(commits):
            self.world.box.append(lane, [2], 100)
        self.deliver("U" if lane < 2 else "B", hears=False)
        self.world.restart_box({lane: forgets})
        for _ in range(then):
            self.world.box.append(lane, [3], 50)

    @rule(role=ROLES, commits=st.booleans(), hears=st.booleans())
    def deliver(self, role: str, commits: bool = True, hears: bool = True) -> None:
        """What takes many steps to happen by chance: a connection, all sent, all committed, and all acked."""
        if self.world.line_of(role) is None:
            self.world.connect(role)
        line = self.world.line_of(role)
        assert line is not None
        for _ in range(2):
            while line.to_hub:
                self.world.hub_hears(line)
            if commits:
                self.world.hub.commit(self.world.now_s)
            while line.to_box and hears:
                self.world.box_hears(line)
            self.world.box_sends(role, 60)

    @precondition(lambda self: self.world.epochs < 3)
    @rule()
    def new_card(self) -> None:
        self.world.new_card()

    @rule(seconds=st.sampled_from([0.001, 0.05, 1.0, 5.0, 12.0, 31.0, 95.0, 86_400.0]))
    def pass_time(self, seconds: float) -> None:
        self.world.pass_time(seconds)

    @rule(seconds=st.integers(-(10**9), 10**9))
    def step_wall_clock(self, seconds: int) -> None:
        self.world.clock.wall_step_ns += seconds * 10**9

    @rule()
    def a_while_of_calm(self) -> None:
        assert settle(self.world) <= SETTLED_S

    @invariant()
    def promises(self) -> None:
        self.world.check()

    def teardown(self) -> None:
        if not hasattr(self, "world"):
            return
        world = self.world
        try:
            assert settle(world) <= SETTLED_S
            world.hub.check_journal()
            world.hub.check_account(world.box)
            check_peace(world)
            check_silence_is_noticed(world, alert=world.epochs > 1)
            assert settle(world) <= SETTLED_S
            world.hub.check_account(world.box)
        finally:
            world.close()


TestUplinkMachine = pytest.mark.slow(UplinkMachine.TestCase)
TestUplinkMachine.settings = effort(150, 40)
