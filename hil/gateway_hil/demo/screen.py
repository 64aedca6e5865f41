"""What the demo shows while it runs: a live screen on a terminal, plain lines elsewhere."""

from types import TracebackType
from typing import Self

from rich.console import Console
from rich.live import Live
from rich.text import Text

from gateway_hil.demo.drawing import draw, stamped
from gateway_hil.demo.street import EMULATED
from gateway_hil.demo.view import Line, View


class Screen:
    """A context manager; `say` adds a line, `show` redraws. With `quiet` (for --json) lines go to stderr.

    On a terminal the live screen is gone at the end; every line that was said stands in its place.
    """

    def __init__(self, view: View, *, quiet: bool, console: Console | None = None) -> None:
        self._view = view
        self.console = console or Console(stderr=quiet, highlight=False)
        self._live: Live | None = None
        if not quiet and self.console.is_terminal:
            self._live = Live(console=self.console, transient=True, auto_refresh=False)

    def __enter__(self) -> Self:
        if self._live is not None:
            self._live.start()
        else:
            for text in EMULATED:
                self.say(text, "dim")
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._live is not None:
            self._live.stop()
            self._live = None
            for line in self._view.lines:
                self._print(line)

    def say(self, text: str, style: str = "", stamp: str | None = None) -> None:
        """One line of what happens, with the scene's time of now or `stamp`."""
        line = Line(self._view.stamp() if stamp is None else stamp, text, style)
        self._view.lines.append(line)
        if self._live is None:
            self._print(line)
        self.show()

    def note(self, text: str) -> None:
        """One line about the run itself, when the live screen is gone."""
        self.console.print(Text(text), soft_wrap=True)

    def show(self) -> None:
        """Redraw the live screen, if there is one."""
        if self._live is not None:
            self._live.update(draw(self._view, self.console), refresh=True)

    def _print(self, line: Line) -> None:
        """Wrapped between words on a terminal; in one piece where a file or a program takes it."""
        width = self.console.width if self.console.is_terminal else None
        for text in stamped(line, self.console, width):
            self.console.print(text, soft_wrap=True)
