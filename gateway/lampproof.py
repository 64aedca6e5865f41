"""Does the lamp burn that was told to? Judged by a measure: its power or current, or the light below it.
Pure.

    told on, and within `settle_s` the measure does not come to `above`   ->  lamp_out
    told off, and it stays there                                          ->  lamp_stuck (it burns by day)
    after either, it has long been as it should                           ->  lamp_well

One value says nothing: a fault is what a second value, `settle_s` later, still says. Whoever sends no
values is not at fault, and nothing is claimed while a lamp is told to glow below LIT_FROM or flashes. A
lamp that comes and goes, as old ones do, must be well for twice as long each time, so it makes a few
events a day and no storm.

A sensor that sees daylight (`is_light`) cannot say that a lamp burns by day, nor that it is well again at
dawn: of it only a low value counts, and for being well a rise when the lamp was switched on.
"""

from typing import Final

from gateway.lightplan import ProofPlan

OUT: Final = "lamp_out"
STUCK: Final = "lamp_stuck"
WELL: Final = "lamp_well"
LABELS: Final = (OUT, STUCK, WELL)
LIT_FROM: Final = 10  # percent
WELL_NS: Final = (600 * 10**9, 86_400 * 10**9)  # how long it must be well: at first, and at most


class LampProof:
    """The proof of one lamp. `fault` is OUT, STUCK or "", as it was told last."""

    def __init__(self, plan: ProofPlan, fault: str = "") -> None:
        self._plan = plan
        self._settle_ns = int(plan.settle_s * 1e9)
        self._told: int | None = None
        self._since_ns = 0  # it is to be lit, or dark, since then
        self._bad: tuple[str, int] = ("", 0)  # what the last values say is wrong, and since when
        self._good_ns: int | None = None  # the last values say that all is well, since then
        self._well_ns = WELL_NS[0]
        self._fault_ns = 0
        self._before: float | None = None  # the value when it was last told something else
        self._value: float | None = None
        self._rose: bool | None = None  # by `above` after that; None: not known yet
        self.fault = fault

    def told(self, level: int | None, now_ns: int) -> None:
        """The lamp was told this level; None if nobody knows whether it got it."""
        if _sense(level) != _sense(self._told):
            self._since_ns, self._before, self._rose = now_ns, self._value, None
            self._bad, self._good_ns = ("", 0), None
        self._told = level

    def seen(self, value: float, t_ns: int) -> str:
        """A value of the measure. The label of the event that it makes, or ""."""
        self._value = value
        wrong = self._wrong(value, t_ns)
        if wrong is None:
            return ""
        if self._rose is None:  # the first value that counts; later ones may rise with the sun
            self._rose = self._before is not None and value - self._before >= self._plan.above
        if not wrong:
            self._bad = ("", 0)
            return self._is_well(value, t_ns)
        self._good_ns = None
        if self._bad[0] != wrong:
            self._bad = (wrong, t_ns)
        if self.fault == wrong or t_ns - self._bad[1] < self._settle_ns:
            return ""
        if self._fault_ns and t_ns - self._fault_ns < WELL_NS[1]:
            self._well_ns = min(2 * self._well_ns, WELL_NS[1])
        else:
            self._well_ns = WELL_NS[0]
        self.fault, self._fault_ns = wrong, t_ns
        return wrong

    def _wrong(self, value: float, t_ns: int) -> str | None:
        """What a value says: OUT, STUCK, "" if all is well, None if it says nothing."""
        sense = _sense(self._told)
        if sense is None or t_ns - self._since_ns < self._settle_ns:
            return None
        is_lit = value >= self._plan.above
        if sense == "lit":
            return "" if is_lit else OUT
        if self._plan.is_light:
            return None
        return STUCK if is_lit else ""

    def _is_well(self, value: float, t_ns: int) -> str:
        """A good value. It ends a fault if it is of that fault's sort, and has been so for long."""
        if not self.fault or (self.fault == OUT) != (_sense(self._told) == "lit"):
            return ""
        if self._plan.is_light and not self._rose:
            return ""
        if self._good_ns is None:
            self._good_ns = t_ns
        if t_ns - self._good_ns < self._well_ns:
            return ""
        self.fault = ""
        return WELL


def _sense(level: int | None) -> str | None:
    """What a level means to a proof: lit, dark, or nothing that it could tell."""
    if level is None or 0 < level < LIT_FROM:
        return None
    return "lit" if level else "dark"
