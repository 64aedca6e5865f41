"""One run of the demo as a person meets it: a folder that is kept or removed, a screen, an exit status."""

import asyncio
import contextlib
import json
import shutil
import signal
import tempfile
from pathlib import Path

from gateway_hil.demo.account import Account
from gateway_hil.demo.play import Play
from gateway_hil.demo.screen import Screen
from gateway_hil.demo.table import account_panel
from gateway_hil.demo.timeline import Timeline
from gateway_hil.demo.view import View


async def run(story: Timeline, *, as_json: bool, keep: bool, seed: int) -> int:
    """Play the story in a folder of its own; 0 only if everything the demo promises came true.

    The folder stays if something went wrong or with `keep`. An interrupt (Ctrl-C, SIGTERM, a closed
    terminal) comes out as CancelledError. Raises GatewayError where a step fails.
    """
    # /var/tmp, not /tmp: it is on a real disk where /tmp is often in memory.
    folder = Path(tempfile.mkdtemp(prefix="pole-", dir="/var/tmp"))
    view = View(story.seconds)
    screen = Screen(view, quiet=as_json)
    _stop_in_order(screen, signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
    try:
        with screen:
            account = await Play(story, screen, view, folder, seed).run()
    except asyncio.CancelledError:
        _leave(folder, screen, keep=keep)
        raise
    except BaseException:  # a failed step or a bug of ours: either is explained by the logs
        _leave(folder, screen, keep=True)
        raise
    return finish(account, screen, folder, as_json=as_json, keep=keep)


def finish(account: Account, screen: Screen, folder: Path, *, as_json: bool, keep: bool) -> int:
    """Show the account and what became of the folder; the exit status."""
    if not as_json:
        screen.console.print(account_panel(account))
    else:
        for failure in account.failures:
            screen.note(f"failed: {failure}")
    _leave(folder, screen, keep=keep or not account.holds)
    if as_json:
        print(json.dumps(account.plain()), flush=True)
    return 0 if account.holds else 1


def _stop_in_order(screen: Screen, *signums: signal.Signals) -> None:
    """Have these signals cancel this task, once: a second Ctrl-C must not leave processes behind."""
    task = asyncio.current_task()
    assert task is not None

    def stop() -> None:
        if not task.cancelling():
            screen.say("interrupted; stopping box and hub")
            task.cancel()

    for signum in signums:
        asyncio.get_running_loop().add_signal_handler(signum, stop)


def _leave(folder: Path, screen: Screen, *, keep: bool) -> None:
    if keep:
        screen.note(f"logs and state are in {folder}")
        return
    with contextlib.suppress(OSError):
        shutil.rmtree(folder)
        screen.note(f"removed {folder} with logs and state; --keep keeps it")
