"""Tables on a terminal: names to the left, figures to the right, nothing else."""

from collections.abc import Sequence


def table(head: Sequence[str], rows: Sequence[Sequence[str]], left: int = 1) -> str:
    """Rows under a head, columns as wide as their widest cell; the first `left` columns start at the left."""
    widths = [max(len(row[column]) for row in (head, *rows)) for column in range(len(head))]
    lines = [_line(head, widths, left), "-" * (sum(widths) + 2 * (len(widths) - 1))]
    lines += [_line(row, widths, left) for row in rows]
    return "\n".join(lines)


def _line(row: Sequence[str], widths: Sequence[int], left: int) -> str:
    cells = (
        cell.ljust(width) if column < left else cell.rjust(width)
        for column, (cell, width) in enumerate(zip(row, widths, strict=True))
    )
    return "  ".join(cells).rstrip()


def figure(value: float | None, digits: int = 3) -> str:
    """A number with as many significant digits as it is worth, thousands set apart; a dash for None."""
    if value is None:
        return "–"
    if value == 0:
        return "0"
    whole = len(str(int(abs(value))))
    return f"{value:,.{max(0, digits - whole)}f}"
