"""Who may speak on a serial line, and when: conversations with one or more sensors, one at a time.

No I/O and no clock: `step` gives what to send now, `heard` takes what came, `due` says when to call `step`
again. Commands go before polls, and of the polls that are due the one that waited longest. Whoever does
not answer three times in a row is away, and asked seldom until it answers; the others go on as before.

A question that got no answer, or a wrong one, may still get it: until then, or for another `answer_s`, nobody
is asked, and what comes is thrown away. So a late answer is never taken for that to the next question.

Where answers say whose they are (`SerialDriver.address_for`), a command need not wait for all that: a poll
gives way to it between two questions, and one that no answer begins to, within twice the time that this
sensor took so far, is asked again behind the command, once. A dead device costs a lamp on its line nothing.
"""

import math
from collections import Counter, deque
from collections.abc import Callable, Sequence
from typing import Any, Final

from gateway.driver import Answer, BadFrame, NoAnswer, PortGone, Refused, SerialDriver, Talk, Values

GONE_AFTER: Final = 3  # questions without an answer
AWAY_S: Final = 10.0  # between two tries to reach one that is away
GREET_AGAIN_S: Final = 5.0
QUESTIONS_MAX: Final = 256  # of one conversation
COMMANDS_MAX: Final = 16  # waiting for the line
FRAME_CHARS: Final = 300  # how long an answer may go on once it has begun, in characters
PAUSE_S: Final = 0.01
BEGIN_S: Final = 0.03  # within it an answer begins, unless this sensor has taken longer before
FORGET: Final = 0.9  # of the longest it took, with each answer

Done = Callable[[Exception | None], None]


class _Turn:
    """One sensor of the line: when it is to be asked again, and how that went so far."""

    def __init__(self, driver: SerialDriver) -> None:
        self.driver = driver
        self.is_asked = driver.polls() or bool(driver.ask)
        self.due = 0.0
        self.is_greeted = False
        self.missed = 0
        self.begin_s = 0.0  # how long its answers took to begin, the longest of late

    def begin(self) -> "_Errand | None":
        """A greeting, or what it is asked for; None if there is nothing to say now."""
        if not self.is_greeted:
            greeting = self.driver.greet()
            if greeting is not None:
                return _Errand(self.driver, greeting, turn=self, is_greeting=True)
            self.is_greeted = True
        if not self.is_asked:
            return None
        talk = self.driver.poll() if self.driver.polls() else asking(self.driver)
        return None if talk is None else _Errand(self.driver, talk, turn=self)

    def ends(self, now: float, error: Exception | None, *, was_greeting: bool) -> bool:
        """What came of it decides when it is its turn again; whether it counts as away from now on."""
        every_s = self.driver.every_for() if self.is_asked else math.inf
        self.missed = self.missed + 1 if isinstance(error, NoAnswer) else 0
        is_away = self.is_asked and self.missed >= GONE_AFTER
        if was_greeting:
            self.is_greeted = error is None
            self.due = now if error is None else now + GREET_AGAIN_S
        else:
            missed = max(0, (now - self.due) // every_s)  # is not made up for
            self.due += (missed + 1) * every_s
        if is_away:
            self.is_greeted = False  # it may have lost power
            # Who is asked seldom anyway is asked in its time.
            self.due = max(self.due, now + AWAY_S - every_s)
        return is_away and self.missed == GONE_AFTER


class _Errand:
    """What the line is used for: a turn or a command, a conversation or bytes nobody answers."""

    def __init__(
        self,
        driver: SerialDriver,
        what: bytes | Talk[Any],
        *,
        turn: _Turn | None = None,
        is_greeting: bool = False,
        done: Done | None = None,
    ) -> None:
        self.driver = driver
        self.talk = None if isinstance(what, bytes) else what
        self.octets = what if isinstance(what, bytes) else b""  # to be sent next
        self.said = b""  # the question under way
        self.gave_way = False  # to a command, before anything was answered
        self.turn = turn
        self.is_greeting = is_greeting
        self.done = done
        self.questions = 0
        self.frame = b""  # the last that it was given

    def go_on(self, what: bytes | NoAnswer | None) -> bytes:
        """Let the conversation go on with a frame, or without; what it wants to send."""
        assert self.talk is not None
        if isinstance(what, bytes):
            self.frame = what
            out = self.talk.send(what)
        else:
            out = next(self.talk) if what is None else self.talk.throw(what)
        if type(out) is not bytes:
            raise TypeError(f"a conversation yields bytes, not {out!r:.40}")
        self.questions += bool(out)
        if self.questions > QUESTIONS_MAX:
            raise RuntimeError(f"a conversation of more than {QUESTIONS_MAX} questions; does it end?")
        return out


def asking(driver: SerialDriver) -> Talk[Values | None]:
    """The fixed question of a driver without `poll`."""
    return driver.decode((yield driver.ask))


class Talks:
    """The conversations of one line. `char_s` is how long one character takes on it.

    `answers` is emptied by whoever hands them over. Counter: `late_frames`, answers that nobody waited for
    any more.
    """

    def __init__(self, drivers: Sequence[SerialDriver], char_s: float) -> None:
        self._turns = [_Turn(driver) for driver in drivers]
        self._char_s = char_s
        self._commands: deque[_Errand] = deque()
        self._errand: _Errand | None = None
        self._paused: _Errand | None = None  # a poll that gave way to a command
        self._until: float | None = None  # so long an answer is waited for
        self._said_at = 0.0  # when the question was out
        self._begun_at: float | None = None  # when the first byte came since
        self._free_at = 0.0  # after it the line is quiet again
        self._late_until = 0.0  # before it an answer may come that nobody waits for any more
        self._late_of: int | None = None  # who would give it, if answers say so
        self._at_most = 0.0  # of either
        self.answers: list[Answer] = []
        self.counters: Counter[str] = Counter()

    def start(self, now: float) -> None:
        """The line was just opened: everybody is due, and greeted first."""
        for turn in self._turns:
            turn.due, turn.is_greeted, turn.missed = now, False, 0
            turn.begin_s = 0.0
        self._free_at = self._late_until = now
        self._until = self._paused = None

    def stop(self, why: str) -> None:
        """The line was closed: whoever waits for a command to be done learns that it is not."""
        waiting = [errand for errand in (self._errand, *self._commands) if errand is not None]
        self._errand = self._paused = self._until = None
        self._commands.clear()
        for errand in waiting:
            if errand.done is not None:
                errand.done(PortGone(why))

    def command(self, driver: SerialDriver, what: bytes | Talk[None], done: Done) -> None:
        """Queue a command; `done` gets None, or what went wrong. Raises BadFrame if too many wait already."""
        if len(self._commands) >= COMMANDS_MAX:
            raise BadFrame(f"{COMMANDS_MAX} commands wait for this line already; send fewer")
        self._commands.append(_Errand(driver, what, done=done))

    def due(self) -> float | None:
        """When to call `step` again, if nothing is heard before; None if nothing is to be done."""
        if self._until is not None:
            return min(self._until, self._give_way_at())
        next_at = 0.0
        if self._errand is None and self._paused is None and not self._commands:
            next_at = min((turn.due for turn in self._turns), default=math.inf)
        return None if next_at == math.inf else max(next_at, self._quiet_at())

    def stirs(self, now: float) -> None:
        """Bytes come in: an answer that has begun may take its time, in time or late."""
        if self._until is not None:
            self._until = self._at_most
            self._begun_at = self._begun_at or now
        elif now < self._late_until:
            self._late_until, self._late_of = self._at_most, None  # it comes: let it

    def heard(self, now: float, frame: bytes) -> bool:
        """A frame came in: whether somebody waited for it."""
        errand = self._errand
        if self._until is None or errand is None:
            if now < self._late_until:
                self.counters["late_frames"] += 1
                self._late_until = now
            return False
        self._free_at = now + self._quiet_s(errand)
        began_at, self._begun_at = self._begun_at or now, None
        self._go_on(now, errand, frame)
        if errand.turn is not None and (self._errand is not errand or errand.octets):
            took_s = began_at - self._said_at
            errand.turn.begin_s = max(took_s, FORGET * errand.turn.begin_s)
        return True

    def step(self, now: float) -> bytes:
        """What is to be sent now; empty if nothing is."""
        if self._until is not None and self._errand is not None:
            gives_way = now >= self._give_way_at()
            if now < self._until and not gives_way:
                return b""
            if gives_way and not self._errand.gave_way:
                self._errand.gave_way = True
                self._errand.octets = self._errand.said
                self._pause()
            else:  # one that gives way again and again would keep the polls of the others waiting
                self._until = None
                self._be_late(now, self._errand.driver.answer_s, self._errand)
                waited_s = now - self._said_at
                self._go_on(now, self._errand, NoAnswer(f"no answer within {waited_s:.2g} s"))
        while self._until is None and now >= self._quiet_at():
            if self._commands and self._errand is not None and _may_pause(self._errand):
                self._pause()
            if self._errand is None and not self._next(now):
                break
            if self._errand is not None and self._errand.octets:
                return self._say(now, self._errand)
        return b""

    def _give_way_at(self) -> float:
        """When the poll under way, if nothing of its answer has come by then, is put off for a command."""
        errand = self._errand
        if not self._commands or errand is None or errand.turn is None or self._begun_at is not None:
            return math.inf
        if not _is_elsewhere(self._commands[0].driver, errand.driver.address_for()):
            return math.inf
        return self._said_at + max(BEGIN_S, 2 * errand.turn.begin_s)

    def _quiet_at(self) -> float:
        """When the next may speak."""
        errand = self._errand
        if self._commands and (errand is None or _may_pause(errand)):
            errand = self._commands[0]
        if errand is not None and errand.turn is None and _is_elsewhere(errand.driver, self._late_of):
            return self._free_at  # a late answer would not be taken for that to this command
        return max(self._free_at, self._late_until)

    def _pause(self) -> None:
        self._paused, self._errand, self._until = self._errand, None, None

    def _be_late(self, now: float, late_s: float, errand: _Errand) -> None:
        self._late_until, self._late_of = now + late_s, errand.driver.address_for()
        self._at_most = self._late_until + FRAME_CHARS * self._char_s

    def _next(self, now: float) -> bool:
        """Take up the next command, or whoever's turn it is; whether there was one."""
        if self._commands:
            errand = self._commands.popleft()
        elif self._paused is not None:
            self._errand, self._paused = self._paused, None
            return True
        else:
            turn = min(self._turns, key=lambda turn: turn.due, default=None)
            if turn is None or now < turn.due:
                return False
            begun = turn.begin()
            if begun is None:
                turn.ends(now, None, was_greeting=False)
                turn.due = max(turn.due, now + PAUSE_S)  # nothing to say is not said in a loop
                return True
            errand = begun
        self._errand = errand
        if errand.talk is not None:
            self._go_on(now, errand, None)
        return True

    def _say(self, now: float, errand: _Errand) -> bytes:
        octets = errand.said = errand.octets
        errand.octets = b""
        said_at = now + len(octets) * self._char_s
        if errand.talk is None:
            self._free_at = said_at + self._quiet_s(errand)
            self._end(now, errand)
        else:
            self._wait(said_at, errand)
        return octets

    def _quiet_s(self, errand: _Errand) -> float:
        return max(errand.driver.quiet_s, errand.driver.quiet_chars * self._char_s)

    def _wait(self, since: float, errand: _Errand) -> None:
        self._said_at, self._begun_at = since, None
        self._until = since + errand.driver.answer_s
        self._at_most = self._until + FRAME_CHARS * self._char_s

    def _go_on(self, now: float, errand: _Errand, what: bytes | NoAnswer | None) -> None:
        try:
            out = errand.go_on(what)
        except StopIteration as stop:
            self._end(now, errand, values=stop.value)
        except Exception as error:  # noqa: BLE001 - a driver's: it goes to its sensor, which counts it or blames it
            self._end(now, errand, error=error)
        else:
            if out:
                errand.octets, self._until = out, None
            elif self._until is None:  # it listens without a question, or on for an answer that is late
                self._late_until = now
                self._wait(now, errand)

    def _end(
        self, now: float, errand: _Errand, *, values: Values | None = None, error: Exception | None = None
    ) -> None:
        if self._until is not None and isinstance(error, BadFrame) and not isinstance(error, Refused):
            self._be_late(now, self._until - now, errand)  # that was not it, perhaps; it may still come
        self._errand = self._until = None
        if errand.done is not None:
            errand.done(error)
        if errand.turn is not None:
            is_gone = errand.turn.ends(now, error, was_greeting=errand.is_greeting)
            if errand.talk is not None:
                self.answers.append(Answer(errand.driver, values, error, errand.frame, is_gone))


def _is_elsewhere(driver: SerialDriver, address: int | None) -> bool:
    """Whether a driver's device is surely another one than that at `address`."""
    return address is not None and driver.address_for() not in {None, address}


def _may_pause(errand: _Errand) -> bool:
    """Whether a command may come between two questions of it."""
    return errand.turn is not None and not errand.is_greeting and errand.driver.address_for() is not None
