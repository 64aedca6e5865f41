"""A drawing in SVG, written by hand: a box has no plotting library, and a browser shows these anywhere."""

from collections.abc import Iterable, Sequence
from html import escape
from typing import Final

INK: Final = "#1d2733"
SOFT: Final = "#5b6b7b"
GRID: Final = "#e3e8ee"
PAPER: Final = "#ffffff"
BLUE: Final = "#1f6feb"
ORANGE: Final = "#d9730d"
_FONT: Final = "system-ui, 'Segoe UI', 'DejaVu Sans', sans-serif"

Point = tuple[float, float]


class Drawing:
    """Shapes in pixels, the origin at the top left. `text()` is the finished file."""

    def __init__(self, width: int, height: int, title: str) -> None:
        self._width, self._height, self._title = width, height, title
        self._shapes: list[str] = []

    def rectangle(
        self,
        x: float,
        y: float,
        width: float,
        height: float,
        fill: str,
        *,
        opacity: float = 1.0,
        radius: int = 0,
    ) -> None:
        """A filled rectangle."""
        self._shapes.append(
            f'<rect x="{x:.1f}" y="{y:.1f}" width="{max(0.0, width):.1f}" height="{max(0.0, height):.1f}" '
            f'rx="{radius}" fill="{fill}" fill-opacity="{opacity:.3g}"/>'
        )

    def line(
        self, points: Iterable[Point], colour: str = GRID, *, width: float = 1.0, dashed: bool = False
    ) -> None:
        """A line through some points."""
        path = " ".join(f"{x:.1f},{y:.1f}" for x, y in points)
        dash = ' stroke-dasharray="4 4"' if dashed else ""
        self._shapes.append(
            f'<polyline points="{path}" fill="none" stroke="{colour}" stroke-width="{width:.3g}" '
            f'stroke-linejoin="round"{dash}/>'
        )

    def area(self, points: Iterable[Point], fill: str, *, opacity: float = 1.0) -> None:
        """A filled polygon."""
        path = " ".join(f"{x:.1f},{y:.1f}" for x, y in points)
        self._shapes.append(f'<polygon points="{path}" fill="{fill}" fill-opacity="{opacity:.3g}"/>')

    def dot(self, at: Point, colour: str, *, radius: float = 4.0) -> None:
        """A disc with a rim of paper, so that it stands off a line."""
        self._shapes.append(
            f'<circle cx="{at[0]:.1f}" cy="{at[1]:.1f}" r="{radius:.3g}" fill="{colour}" '
            f'stroke="{PAPER}" stroke-width="1.5"/>'
        )

    def words(
        self,
        at: Point,
        text: str,
        *,
        size: int = 12,
        colour: str = INK,
        anchor: str = "start",
        bold: bool = False,
        turned: bool = False,
    ) -> None:
        """One line of text; `anchor` is start, middle or end. `turned` reads upwards."""
        turn = f' transform="rotate(-90 {at[0]:.1f} {at[1]:.1f})"' if turned else ""
        weight = ' font-weight="600"' if bold else ""
        self._shapes.append(
            f'<text x="{at[0]:.1f}" y="{at[1]:.1f}" font-size="{size}" fill="{colour}" '
            f'text-anchor="{anchor}"{weight}{turn}>{escape(text)}</text>'
        )

    def text(self) -> str:
        """The file. Its title is what a screen reader says of the picture."""
        head = (
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {self._width} {self._height}" '
            f'width="{self._width}" height="{self._height}" role="img" font-family="{_FONT}">\n'
            f"<title>{escape(self._title)}</title>\n"
            f'<rect width="{self._width}" height="{self._height}" fill="{PAPER}"/>\n'
        )
        return head + "\n".join(self._shapes) + "\n</svg>\n"


class Axes:
    """A square of a drawing with a scale on each side; `at` turns values, 0..1 on both, into pixels."""

    def __init__(self, drawing: Drawing, left: float, top: float, width: float, height: float) -> None:
        self._drawing = drawing
        self.left, self.top, self.width, self.height = left, top, width, height

    def at(self, x: float, y: float) -> Point:
        """Pixels of a point given as shares of the width and, from below, of the height."""
        return self.left + x * self.width, self.top + (1.0 - y) * self.height

    def ticks_x(self, ticks: Sequence[tuple[float, str]], name: str) -> None:
        """Grid lines and numbers below, and what they count."""
        for x, text in ticks:
            self._drawing.line([self.at(x, 0.0), self.at(x, 1.0)])
            left, bottom = self.at(x, 0.0)
            self._drawing.words((left, bottom + 17), text, size=11, colour=SOFT, anchor="middle")
        middle, bottom = self.at(0.5, 0.0)
        self._drawing.words((middle, bottom + 38), name, size=12, anchor="middle")

    def ticks_y(self, ticks: Sequence[tuple[float, str]], name: str) -> None:
        """Grid lines and numbers at the left, and what they count."""
        for y, text in ticks:
            self._drawing.line([self.at(0.0, y), self.at(1.0, y)])
            left, height = self.at(0.0, y)
            self._drawing.words((left - 8, height + 4), text, size=11, colour=SOFT, anchor="end")
        left, middle = self.at(0.0, 0.5)
        self._drawing.words((left - 46, middle), name, size=12, anchor="middle", turned=True)

    def frame(self) -> None:
        """The two sides that scales stand at."""
        self._drawing.line([self.at(0.0, 1.0), self.at(0.0, 0.0), self.at(1.0, 0.0)], SOFT)
