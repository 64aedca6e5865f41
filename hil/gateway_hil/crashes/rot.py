"""Pages that rot, a separate model: after a clean close any stored page may be garbage, or unreadable.

What is promised then: the spool opens; what was on that page is lost, in its place, declared and
counted; everything else is there. One thing cannot be told from a torn commit by anyone, and is not
declared: garbage in the newest commit of a lane, where nothing follows that would show that it had
been whole.
"""

from collections import Counter
from dataclasses import dataclass
from random import Random
from typing import Final

from gateway.lane import LaneLog
from gateway.recover import SEGMENT_NAME
from gateway.segment import Lost, Payload, StoredFrame
from gateway_hil.crashes.explore import Found
from gateway_hil.crashes.images import survivors
from gateway_hil.crashes.invariants import Account, Violation, everything_after
from gateway_hil.crashes.medium import PAGE, File, Folder
from gateway_hil.crashes.recorder import RecordingDisk
from gateway_hil.crashes.story import FOLDER, Do, Run, Step, Story, determined, draw_append

_STATES: Final = 120  # of one story
_LENGTH: Final = 24
Pages = set[tuple[str, int]]  # file, page
GARBAGE: Final = "a stored page rotted to garbage"
UNREADABLE: Final = "a stored page cannot be read"


def explore_rot(seed: int, only: int | None = None) -> tuple[Counter[str], Found | None]:
    """One spool, written without a fault; then one to three of its pages are damaged, many times over."""
    draw = Random(seed)
    pages = draw.choice((5, 7, 9, 64))
    lanes = draw.sample(range(4), 2)
    steps = [Step(Do.WELCOME), *(draw_append(draw, draw.choice(lanes), pages) for _ in range(_LENGTH))]
    steps.insert(_LENGTH // 2, Step(Do.SEND, lanes[0], much=20_000))
    story = Story(seed, pages, tuple(steps))
    tally: Counter[str] = Counter()
    with determined(seed):
        run = Run(story, RecordingDisk(Folder(), Random(seed)))
        for step in steps:
            run.step(step)
        run.close()
    places = _places(run)
    for state in range(_STATES):
        if only is not None and state != only:
            continue
        trail: list[str] = []
        try:
            _look_at(run, places, Random((seed << 16) + state), tally, trail)
        except Exception as error:  # noqa: BLE001 # whatever it is, it is what we look for
            text = str(error) if isinstance(error, Violation) else f"{type(error).__name__}: {error}"
            return tally, Found(story, state, len(steps), text, trail)
    return tally, None


@dataclass(frozen=True, slots=True)
class _Place:
    """Where a frame is: its commit's pages in a segment's file."""

    segment: str
    pages: frozenset[int]


def _places(run: Run) -> list[dict[int, _Place]]:
    """For each lane, where its frames are, by first number; from the log before anything rots."""
    before = run.continued(RecordingDisk(survivors(run.disk.root), Random(0)))
    before.open()
    assert before.lanes is not None
    found: list[dict[int, _Place]] = []
    for lane, log in enumerate(before.lanes.logs):
        names = [name for name in before.disk.list_folder(FOLDER / str(lane)) if SEGMENT_NAME.fullmatch(name)]
        places: dict[int, _Place] = {}
        commit: list[StoredFrame] = []
        for item in everything_after(log, before.accounts[lane].hub_has):
            assert isinstance(item, StoredFrame)
            commit.append(item)
            if item.ends_commit:
                segment = max(name for name in names if int(name[:20]) <= item.commit_first)
                pages = frozenset(range(item.commit_at // PAGE, item.next_at // PAGE))
                places |= {frame.first_seq: _Place(segment, pages) for frame in commit}
                commit = []
        found.append(places)
    before.close()
    return found


def _look_at(
    run: Run, places: list[dict[int, _Place]], draw: Random, tally: Counter[str], trail: list[str]
) -> None:
    root = survivors(run.disk.root)
    tally["states"] += 1
    files = _files_of(root)
    damaged: set[tuple[int, str, int]] = set()  # lane, file, page
    silent: set[tuple[int, str, int]] = set()  # those of them that cannot be read
    for _ in range(draw.choice((1, 1, 2, 3))):
        lane, name, file = draw.choice(files)
        page = draw.randrange(len(file.view))
        garbage = draw.random() < 0.5
        tally[GARBAGE if garbage else UNREADABLE] += 1
        if not garbage:
            file.unreadable.add(page)
            silent.add((lane, name, page))
        else:
            file.view[page] = file.stable[page] = draw.randbytes(PAGE)
        damaged.add((lane, name, page))
        trail.append(f"page {page} of {lane}/{name} {'is garbage' if garbage else 'cannot be read'}")
    after = run.continued(RecordingDisk(root, draw))
    if draw.random() < 0.3:
        tally["rotten, and the hub knows more than the disk"] += 1
        _hub_ahead(after, draw)
        return
    with determined(draw.getrandbits(40)):
        after.open_damaged()
        assert after.lanes is not None
        for lane, (log, account) in enumerate(zip(after.lanes.logs, after.accounts, strict=True)):
            pages = {(name, page) for where, name, page in damaged if where == lane}
            unreadable = {(name, page) for where, name, page in silent if where == lane}
            try:
                _check(log, account, places[lane], pages, unreadable, run.story.segment_pages - 1)
            except Violation as violation:
                raise Violation(f"lane {lane}: {violation}") from None
        after.close()


def _hub_ahead(run: Run, draw: Random) -> None:
    """The hub has all that there was. What is appended before it says so must reach it."""
    lane = draw.randrange(len(run.accounts))
    hub_has = run.accounts[lane].last_seq
    new: list[Payload] = []
    with determined(draw.getrandbits(40)):
        for number in range(draw.choice((1, 2, 3))):  # openings, the hub out of reach
            run.open_damaged()
            assert run.lanes is not None
            for _ in range(draw.randrange(4)):
                content = b"%d after the damage" % len(new) * draw.choice((1, 400))
                new.append(Payload(draw.choice((1, 4)), content))
                run.lanes.logs[lane].append(new[-1:])
            if number and draw.random() < 0.5:
                run.lanes.logs[lane].evict_oldest()
            run.close()
        run.open_damaged()
        assert run.lanes is not None
        run.lanes.logs[lane].settle(hub_has)
        if draw.random() < 0.5:
            run.close()
            run.open_damaged()
        items = everything_after(run.lanes.logs[lane], hub_has)
        there = [Payload(item.count, item.content) for item in items if isinstance(item, StoredFrame)]
        evicted = any(isinstance(item, Lost) and item.reason == "evicted" for item in items)
        if there != (new[len(new) - len(there) :] if evicted else new):
            raise Violation(f"lane {lane}: of {len(new)} batches after the damage the hub gets {len(there)}")
        run.close()


def _files_of(root: Folder) -> list[tuple[int, str, File]]:
    """The files of all lanes that hold something."""
    spool = root.names[FOLDER.name]
    assert isinstance(spool, Folder)
    found: list[tuple[int, str, File]] = []
    for lane, folder in spool.names.items():
        if isinstance(folder, Folder):
            found += [(int(lane), n, f) for n, f in folder.names.items() if isinstance(f, File)]
    return [(lane, name, file) for lane, name, file in found if not name.endswith(".free")]


def _check(
    log: LaneLog,
    account: Account,
    places: dict[int, _Place],
    damaged: Pages,
    unreadable: Pages,
    last_page: int,
) -> None:
    """Only what was on damaged pages may be missing, and it must be declared."""
    items = everything_after(log, account.hub_has)
    there = {item.first_seq: item for item in items if isinstance(item, StoredFrame)}
    for first_seq, frame in there.items():
        kept = account.frames.get(first_seq)
        if kept is None or (kept.count, kept.content) != (frame.count, frame.content):
            raise Violation(f"what stands at {first_seq} was never appended")
    lost = [item for item in items if isinstance(item, Lost)]
    declared = {seq for seq in account.frames if any(part.first_seq <= seq <= part.last_seq for part in lost)}
    for seq in account.frames.keys() - there.keys():
        place = places[seq]
        headless = {(place.segment, 0), (place.segment, last_page)} <= damaged
        if not headless and not any((place.segment, page) in damaged for page in place.pages):
            raise Violation(f"the batch at {seq} is gone, and its pages are sound")
        if seq not in declared and any(later > seq for later in there):
            raise Violation(f"the batch at {seq} is gone and not declared")
    newest = min((seq for seq in account.frames if seq > max(there, default=0)), default=None)
    if newest is not None and newest not in declared:
        place = places[newest]
        if any((place.segment, page) in unreadable for page in place.pages):
            raise Violation(f"the batch at {newest} cannot be read and is not declared")
    if account.frames:
        first_seq = log.append([account.frames[max(account.frames)]])
        if first_seq <= max([account.hub_has, *there]):
            raise Violation(f"number {first_seq} was given out twice")
