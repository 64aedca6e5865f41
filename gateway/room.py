"""Room on the disk, as one lane's log sees it: may it take more, and who gives up theirs?"""


class Room:
    """An own disk, shared with nobody; `gateway.lanes` has the one of a spool's lanes."""

    def ask(self, freed: int) -> None:
        """May a file be made, `freed` bytes having been given up for it? Raises OSError (ENOSPC) if not."""

    def make(self) -> int:
        """Have others give up what matters less; the bytes freed, 0 if nobody has any to give."""
        return 0
