"""Another plan in the place of the one a box runs by: all of it or nothing, whoever dies on the way.

The new plan.json is renamed into its place. Before that, nothing has changed; after it, every process that
is there or starts goes by it. `gateway reload` asks for it over the link, and asks again until it is in
place, as core starts anew in between; a hub's owner does by an order (`gateway.downlink`).
"""

import asyncio
import hashlib
import logging
from collections.abc import Callable
from pathlib import Path
from typing import Final

from gateway.errors import ConfigError
from gateway.linkserver import LinkServer
from gateway.log import say
from gateway.plan import Plan, parse_plan

BEGUN, IN_PLACE, OTHER, REFUSED = "begun", "in place", "other", "refused"
PLAN_MAX: Final = 8 << 20  # bytes of a plan's text
_OLD_WORKERS_S: Final = 15.0  # to hand over what they hold, when their port has another plan
_log = logging.getLogger("core")


def digest(plan: Plan | None) -> bytes:
    """Which plan it is; of none, nothing."""
    return b"" if plan is None else hashlib.sha256(plan.text().encode()).digest()[:16]


def packed(plan: Plan) -> bytes:
    """A plan as `gateway reload` sends it."""
    import zlib  # here, as core needs it once in a while

    return zlib.compress(plan.text().encode())


def _unpacked(plan: bytes) -> bytes:
    import zlib

    unpack = zlib.decompressobj()
    try:
        text = unpack.decompress(plan, PLAN_MAX)
    except zlib.error as error:
        raise ValueError(str(error)) from error
    if not unpack.eof:
        raise ValueError("a plan that is too long or cut short")
    return text


class TakeOver:
    """Core's part. `done` is called when no worker of a changed port is left, and core is to start anew."""

    def __init__(self, plan: Plan, site: Path | None, link: LinkServer, done: Callable[[], object]) -> None:
        self._plan = plan
        self._site = site
        self._link = link
        self._done = done
        self._next: Plan | None = None
        self._tasks: set[asyncio.Future[None]] = set()  # so that they are not collected while they run

    def asked(self, site: str, base: bytes, plan: bytes) -> tuple[str, str]:
        """`gateway reload` asks for a plan that was compiled beside the plan `base`: a state, and a text.

        OTHER: not beside this one; it is to be compiled once more. Raises ValueError for what is no plan.
        """
        try:
            new = parse_plan(_unpacked(plan), "the new plan")
        except ConfigError as error:
            return REFUSED, str(error)
        if self._site is not None and Path(site) != self._site.resolve():
            return REFUSED, f"the gateway here runs by {self._site}; reload that one"
        if self._next is not None:
            return (BEGUN if digest(new) == digest(self._next) else OTHER), ""
        if new == self._plan:
            return IN_PLACE, ""
        if (new.box, new.state) != (self._plan.box, self._plan.state):
            return REFUSED, "another box or state folder is no reload; start the gateway anew for that"
        if base != digest(self._plan):
            return OTHER, ""
        try:
            self.begin(new)
        except OSError as error:
            return REFUSED, f"the new plan cannot be written ({error.strerror}); the old one goes on"
        return BEGUN, ""

    def begin(self, plan: Plan) -> bool:
        """Put a plan in the place of the old one; False if another one is on its way there.

        Raises OSError if it cannot be written: then nothing has changed.
        """
        if self._next is not None:
            return digest(plan) == digest(self._next)
        plan.save(self._plan.state / "plan.json")  # the supervisors watch it
        self._next = plan
        self._tasks.add(asyncio.ensure_future(self._end(plan)))
        return True

    async def _end(self, plan: Plan) -> None:
        """What a worker of a changed port holds is numbered by the old plan and must be kept under it.

        One of the new plan is let in by the next core.
        """
        changed = {port.number for port in self._plan.ports if port not in plan.ports}
        await self._link.gone("worker", changed, _OLD_WORKERS_S)
        say(_log, logging.INFO, "a new plan is in place; core starts anew", changed_ports=sorted(changed))
        self._done()
