"""What a power cut can leave: one legal content of the medium, drawn at random or named exactly.

For each folder, the changes of names since its last sync count up to some point and no further. For
each page written since its file's last sync, every 512-byte sector is old or of any version since. A
page that was being programmed when the power went may be garbage or zeros as a whole.
"""

from dataclasses import dataclass, field
from enum import StrEnum
from random import Random

from gateway_hil.crashes.medium import PAGE, SECTOR, File, Folder, Node, apply, sectors


class Fault(StrEnum):
    """What is done to the pages that were not synced."""

    NONE = "nothing was unsynced"
    NAMES = "only names were unsynced"
    DROPPED = "all unsynced pages dropped"
    WRITTEN = "all unsynced pages written"
    REORDERED = "some unsynced pages written"
    TORN = "unsynced pages torn"
    KILLED = "a page garbage"
    PROCESS = "the process was killed, not the power"


PAGE_FAULTS = (
    Fault.DROPPED,
    Fault.WRITTEN,
    Fault.REORDERED,
    Fault.TORN,
    Fault.TORN,
    Fault.KILLED,
    Fault.PROCESS,
)


@dataclass(slots=True)
class Outcome:
    """What became of all that was not synced. Pages that are not named are as they were."""

    fault: Fault
    names: dict[str, int] = field(default_factory=dict)  # folder -> changes that count
    pages: dict[tuple[str, int], bytes] = field(default_factory=dict)  # (file, page) -> content

    def without(self, spared: frozenset[tuple[str, int]]) -> "Outcome":
        """The same, but for some pages that stay as they were."""
        pages = {key: content for key, content in self.pages.items() if key not in spared}
        return Outcome(self.fault, self.names, pages)


@dataclass(slots=True)
class Unsynced:
    """All that a power cut could decide about: folders with changes, and files with dirty pages."""

    folders: list[tuple[str, Folder]] = field(default_factory=list)
    files: list[tuple[str, File]] = field(default_factory=list)


def unsynced(root: Folder) -> Unsynced:
    """What is not certain. A file counts as often as it has names, or had some."""
    found = Unsynced()
    seen: set[int] = set()

    def visit(path: str, node: Node) -> None:
        if id(node) in seen:
            return
        seen.add(id(node))
        if isinstance(node, File):
            if node.dirty:
                found.files.append((path, node))
            return
        if node.pending:
            found.folders.append((path, node))
        for name, inner in node.stable.items():
            visit(f"{path}/{name}", inner)
        for change in node.pending:
            for name, changed in change:
                if changed is not None:
                    visit(f"{path}/{name}", changed)

    visit("", root)
    return found


def faults_possible(found: Unsynced) -> tuple[Fault, ...]:
    """The faults that make a difference here."""
    if found.files:
        return PAGE_FAULTS
    return (Fault.NAMES, Fault.NAMES, Fault.PROCESS) if found.folders else (Fault.NONE,)


def draw_outcome(found: Unsynced, fault: Fault, draw: Random) -> Outcome:
    """One outcome of that kind."""
    outcome = Outcome(fault)
    if fault is Fault.PROCESS:
        return outcome
    for path, folder in found.folders:
        outcome.names[path] = draw.randrange(len(folder.pending) + 1)
    if fault in {Fault.NONE, Fault.NAMES, Fault.DROPPED}:
        return outcome
    for path, file in found.files:
        for page, versions in file.dirty.items():
            if fault is Fault.WRITTEN:
                outcome.pages[path, page] = versions[-1]
            elif fault is Fault.REORDERED:
                if draw.random() < 0.5:
                    outcome.pages[path, page] = draw.choice(versions)
            else:
                outcome.pages[path, page] = sectors(file.stable[page], versions, draw)
    if fault is Fault.KILLED:
        killed = draw.choice(list(outcome.pages))
        outcome.pages[killed] = draw.randbytes(PAGE) if draw.random() < 0.7 else bytes(PAGE)
    return outcome


def image(root: Folder, found: Unsynced, outcome: Outcome) -> Folder:
    """The medium after the cut, as a file system of its own."""
    if outcome.fault is Fault.PROCESS:
        return survivors(root)
    changed: dict[int, dict[int, bytes]] = {}
    for path, file in found.files:
        changed[id(file)] = {page: c for (name, page), c in outcome.pages.items() if name == path}
    counted = {id(folder): outcome.names.get(path, 0) for path, folder in found.folders}
    return _folder_after(root, changed, counted)


def survivors(root: Folder) -> Folder:
    """All as it is, in the cache and on the medium: what a killed process leaves to the next one."""
    copies: dict[int, File] = {}

    def copy(node: Node) -> Node:
        if isinstance(node, File):
            if id(node) not in copies:
                copies[id(node)] = node.copy()
            return copies[id(node)]
        twin = Folder({name: copy(inner) for name, inner in node.names.items()})
        folders: dict[str, Node] = {n: inner for n, inner in twin.names.items() if isinstance(inner, Folder)}
        twin.stable = {n: folders.get(n) or copy(inner) for n, inner in node.stable.items()}
        twin.pending = [
            tuple((n, inner and (folders.get(n) or copy(inner))) for n, inner in change)
            for change in node.pending
        ]
        return twin

    after = copy(root)
    assert isinstance(after, Folder)
    return after


def _folder_after(folder: Folder, changed: dict[int, dict[int, bytes]], counted: dict[int, int]) -> Folder:
    names = folder.stable
    if folder.pending:
        names = dict(names)
        for change in folder.pending[: counted[id(folder)]]:
            apply(names, change)
    after: dict[str, Node] = {}
    for name, node in names.items():
        if isinstance(node, Folder):
            after[name] = _folder_after(node, changed, counted)
        else:
            pages = node.stable[:]
            for page, content in changed.get(id(node), {}).items():
                pages[page] = content
            copy = File(node.size, pages)
            copy.unreadable |= node.unreadable
            after[name] = copy
    return Folder(after)


def told(found: Unsynced, outcome: Outcome) -> list[str]:
    """An outcome in words."""
    if outcome.fault is Fault.PROCESS:
        return ["only the process was killed: what is in the cache stays"]
    lines = [
        f"of {len(folder.pending)} changes of names in {path} only the first {outcome.names[path]} counted"
        for path, folder in found.folders
        if outcome.names[path] < len(folder.pending)
    ]
    for path, file in found.files:
        for page, versions in file.dirty.items():
            content = outcome.pages.get((path, page), file.stable[page])
            lines.append(f"{path} page {page}: {_page_told(content, file.stable[page], versions)}")
    return lines


def _page_told(content: bytes, stable: bytes, versions: list[bytes]) -> str:
    if content == versions[-1]:
        return "written"
    if content == stable:
        return "not written"
    cut = [slice(n, n + SECTOR) for n in range(0, PAGE, SECTOR)]
    pages = [stable, *versions]
    if not all(any(content[s] == page[s] for page in pages) for s in cut):
        return "zeros" if content == bytes(PAGE) else "garbage"
    new = [n for n, s in enumerate(cut) if content[s] != stable[s]]
    return f"torn: new are sectors {new} of 0..7"
