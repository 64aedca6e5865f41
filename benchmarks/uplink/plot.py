"""The picture: the same link twice, with our uplink and with everything handed to the socket."""

from pathlib import Path
from typing import Any, Final

from benchmarks.common import plotting
from benchmarks.uplink.drain import DELAY_S, LATE_MAX_MS, RATE_BPS, Drained

_BIN_S: Final = 0.5


def draw(ours: Drained, peer: Drained, folder: Path) -> list[Path]:
    """Write uplink.png and uplink.svg; their paths."""
    figure, (use, queue, late) = plotting.panels(
        3, 1, (11, 7.6), sharex=True, gridspec_kw={"height_ratios": [1, 1.2, 1.6]}
    )
    seconds = (ours.end_ns - ours.start_ns) / 1e9
    _use_panel(use, ours, peer, seconds)
    _queue_panel(queue, ours, peer)
    _late_panel(late, ours, peer)
    late.set_xlim(0, seconds)
    late.set_xlabel("seconds since the link came up, with days of backlog on the box")
    plotting.headline(
        figure,
        "An alert overtakes the backlog, and the link stays full",
        f"Draining over a {RATE_BPS / 1e6:g} Mbit/s link, {DELAY_S * 1e3:g} ms one way, while an alert comes "
        "about every half second. Box and hub as they are, on an emulated link.",
    )
    figure.subplots_adjust(left=0.075, right=0.84, top=0.845, bottom=0.075, hspace=0.42)
    return plotting.save(figure, folder, "uplink")


def _use_panel(axes: Any, ours: Drained, peer: Drained, seconds: float) -> None:
    axes.set_title("Share of the link in use")
    for run, colour, width in ((peer, plotting.PEER, 1.2), (ours, plotting.OURS, 1.8)):
        times, shares = _uses(run, seconds)
        axes.plot(times, shares, color=colour, linewidth=width, drawstyle="steps-mid")
    axes.set_ylim(0, 112)
    axes.set_yticks([0, 50, 100], ["0", "50", "100 %"])
    axes.grid(axis="y")
    _aside(axes, 0.75, f"{ours.share:.0%}", "ours, all headers\nincluded", plotting.OURS)
    _aside(axes, 0.22, f"{peer.share:.0%}", "all handed to ZeroMQ", plotting.FAINT)


def _queue_panel(axes: Any, ours: Drained, peer: Drained) -> None:
    axes.set_title("Waiting in the modem's queue, ms")
    for run, colour, width in ((peer, plotting.PEER, 0.8), (ours, plotting.OURS, 1.0)):
        times = [(look.t_ns - run.start_ns) / 1e9 for look in run.looks]
        axes.plot(times, [look.queued * 8e3 / RATE_BPS for look in run.looks], color=colour, linewidth=width)
    axes.set_ylim(bottom=0)
    axes.grid(axis="y")
    for at, run, colour in ((0.75, ours, plotting.OURS), (0.22, peer, plotting.FAINT)):
        _aside(axes, at, f"{run.queue_ms.p50 or 0:.0f} ms", "median", colour)


def _late_panel(axes: Any, ours: Drained, peer: Drained) -> None:
    axes.set_title("Alerts: ms from append to receipt at the hub")
    times = [(t_ns - ours.start_ns) / 1e9 for t_ns, _ in ours.receipts]
    late = [took / 1e6 for _, took in ours.receipts]
    top = max(1.25 * LATE_MAX_MS, 1.15 * max(late))
    axes.axhline(LATE_MAX_MS, color=plotting.ALARM, linewidth=0.9, linestyle=(0, (4, 3)))
    axes.text(0.4, LATE_MAX_MS + top * 0.015, "promised at most (p99)", color=plotting.ALARM, fontsize=8)
    axes.axhspan(0, DELAY_S * 1e3, color=plotting.GRID, alpha=0.55, linewidth=0)
    axes.text(0.4, DELAY_S * 1e3 - top * 0.015, "the way itself", color=plotting.FAINT, fontsize=8, va="top")
    axes.vlines(times, DELAY_S * 1e3, late, color=plotting.OURS, linewidth=0.8, alpha=0.35)
    axes.plot(times, late, "o", color=plotting.OURS, markersize=4.5)
    axes.set_ylim(0, top)
    axes.grid(axis="y")
    _aside(
        axes, 0.72, f"{ours.receipt.p99 or 0:.0f} ms", f"p99 of {ours.receipt.count} alerts", plotting.OURS
    )
    arrived = len(peer.receipts)
    words = f"{arrived} of {arrived + peer.receipt.missing}" if arrived else "none"
    _aside(axes, 0.30, words, "of the alerts handed to\nZeroMQ came in that time", plotting.FAINT)


def _aside(axes: Any, at: float, figure: str, words: str, colour: str) -> None:
    """A figure to remember, right of a panel."""
    axes.text(
        1.02, at, figure, transform=axes.transAxes, color=colour, fontsize=17, fontweight="bold", va="bottom"
    )
    axes.text(1.02, at - 0.02, words, transform=axes.transAxes, color=colour, fontsize=8.5, va="top")


def _uses(run: Drained, seconds: float) -> tuple[list[float], list[float]]:
    """Middles of half seconds, and the share of the link used in each, in percent."""
    times: list[float] = []
    shares: list[float] = []
    before = run.looks[0]
    for look in run.looks:
        at_s = (look.t_ns - run.start_ns) / 1e9
        span_s = (look.t_ns - before.t_ns) / 1e9
        if at_s > seconds:
            break
        if span_s >= _BIN_S and at_s >= 0:
            times.append(at_s - span_s / 2)
            shares.append((look.up - before.up) * 8 / span_s / RATE_BPS * 100)
            before = look
    return times, shares
