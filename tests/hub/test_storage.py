"""A hub whose files are damaged says which, and what to do. For disks that fail: hil/ladder/test_disk.py."""

import pytest

from gateway.errors import HubError
from gateway.hub.folder import HubFolder
from gateway.hub.index import Index
from gateway.hub.journal import Journal, Row, RowKind
from gateway.hub.run import RunningHub

STREAM = ("elm-1", b"12345678", 2)


def row(seq: int) -> Row:
    return Row(STREAM, seq, 1, seq, RowKind.FRAME, bytes(4000), 0)


def filled(folder: HubFolder) -> None:
    journal = Journal(folder.journal)
    for seq in range(1, 30):
        journal.append(row(seq))
    journal.commit()
    journal.close()
    Index(folder.index, folder.journal).close()


@pytest.mark.parametrize(
    "damage", ["no database at all" * 300, "\xff" * 2000], ids=["strange", "overwritten"]
)
def test_a_damaged_journal_stops_the_hub_with_its_name_and_a_cure(folder: HubFolder, damage: str) -> None:
    filled(folder)
    with folder.journal.open("r+b") as file:
        file.write(damage.encode("latin-1"))
    with pytest.raises(HubError, match=r"journal\.sqlite.*it is damaged; restore it from a backup"):
        RunningHub(folder)


def test_a_damaged_index_stops_the_hub_with_its_name_and_a_cure(folder: HubFolder) -> None:
    filled(folder)
    folder.index.write_bytes(b"no database at all" * 300)
    with pytest.raises(HubError, match=r"index\.sqlite.*made again from the journal"):
        RunningHub(folder)
    folder.index.unlink()
    with RunningHub(folder):
        pass
