"""What a box and a hub owe when nothing breaks any more: everything delivered, soon, and peace after that."""

from uplink_world import QUEUE_MAX, World

from gateway.reading import Lane

SETTLED_S = 200.0  # a dead connection is found within three heartbeats, and a Welcome that is lost costs more
_SOON_S = 3.0  # from append to ack where nothing is in the way
_IDLE_S = 600.0
_SILENT_S = 95.0  # three heartbeats
_ALERT_SILENT_S = 31.0  # at the most, once reconnecting did not help
_TURNS = 3000
_WAY_S = 0.005


def settle(world: World) -> float:
    """Let everything be delivered. Seconds that took; fails if it never gets there."""
    world.hub.disk_refuses = False
    began = world.now_s
    for _ in range(_TURNS):
        for role in "UB":
            if role not in world.box.sessions:
                world.connect(role)
        moved = _turn(world)
        if world.box.all_acked() and all(_is_up(world, role) for role in "UB") and not moved:
            return world.now_s - began
        if not moved:
            _sleep(world)
    raise AssertionError("it never settles")


def _is_up(world: World, role: str) -> bool:
    """Whether a connection is there, and both ends know it."""
    line = world.line_of(role)
    return line is not None and line.carries and line.routing_id in world.hub.sessions


def check_peace(world: World) -> None:
    """Settled ends deliver at once what is new, keep their connections when idle, and notice a dead one."""
    doubts, began = dict(world.seen), world.now_s
    for lane in reversed(Lane):
        world.box.append(lane, [1, 2], 200)
    assert settle(world) <= _SOON_S
    said = _idle(world, _IDLE_S)
    assert said <= 8 * _IDLE_S / 30, "more than the signs of life of two connections"
    assert world.seen == doubts, "gave up a connection in peace"
    assert world.now_s >= began + _IDLE_S


def check_silence_is_noticed(world: World, alert: bool) -> None:
    """Both connections die unnoticed: the box finds out by its own clock, sooner if an alert waits."""
    if alert:
        world.box.append(Lane.ALERT, [1], 50)
        world.box_sends("U", 5)
    for line in world.lines.values():
        world.cut(line, box_knows=False, hub_knows=False, arrives=0)
    began = world.now_s
    for _ in range(100):
        if not ({"U"} if alert else {"U", "B"}) & world.box.sessions.keys():
            break
        _sleep(world)
        for role in "UB":
            world.box_sends(role, QUEUE_MAX)
    assert world.now_s - began <= (_ALERT_SILENT_S if alert else _SILENT_S)


def _idle(world: World, seconds: float) -> int:
    """Time passes in peace; how many messages were said."""
    until, said = world.now_s + seconds, 0
    for _ in range(_TURNS):
        moved = _turn(world)
        said += moved
        if not moved:
            _sleep(world)
        if world.now_s >= until:
            return said
    raise AssertionError("something is due again and again")


def _turn(world: World) -> int:
    """What is on its way arrives, and both ends say what they have to say. How many messages that were."""
    moved = 0
    for role in "UB":
        moved += world.box_sends(role, QUEUE_MAX)
    world.clock.now_ns += int(_WAY_S * 1e9) if moved else 0
    for line in list(world.lines.values()):
        while line.to_hub:
            world.hub_hears(line)
            moved += 1
    world.hub.commit(world.now_s)
    world.clock.now_ns += int(_WAY_S * 1e9) if moved else 0
    for line in list(world.lines.values()):
        while line.to_box:
            world.box_hears(line)
            moved += 1
    return moved


def _sleep(world: World) -> None:
    """Until one end says that something is due; the other is left asleep."""
    box_ns = min((s.due_ns() for s in world.box.sessions.values()), default=world.clock.now_ns)
    hub_ns = int(world.hub.sessions.due(world.now_s) * 1e9)
    world.clock.now_ns = max(world.clock.now_ns, min(box_ns, hub_ns)) + 1000
    if box_ns <= hub_ns:
        world.box_looks()
    else:
        world.hub.tick(world.now_s)
