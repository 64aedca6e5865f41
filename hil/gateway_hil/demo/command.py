"""`gateway demo`: watch a box and a hub work, break, and come out even."""

import argparse
import asyncio

from gateway.errors import ConfigError


class Demo:
    """The command `gateway demo`."""

    name = "demo"
    help = "run a box and a hub with emulated sensors, break things, show the account"

    def arguments(self, parser: argparse.ArgumentParser) -> None:
        """Length, output and seed."""
        parser.add_argument(
            "--seconds", type=float, default=60.0, help="length of the scene (60; at least 25)"
        )
        parser.add_argument(
            "--json", action="store_true", help="the account as JSON on the last line of stdout"
        )
        parser.add_argument(
            "--keep",
            action="store_true",
            help="keep the folder with logs, site file and state (kept in any case if something fails)",
        )
        parser.add_argument("--seed", type=int, default=1, help="another seed is another street (1)")

    def run(self, arguments: argparse.Namespace) -> int:
        """Play it; 0 only if everything the demo promises came true."""
        from gateway_hil.demo.timeline import SHORTEST_S, timeline

        if not SHORTEST_S <= arguments.seconds <= 3600:
            raise ConfigError(f"--seconds must be from {SHORTEST_S:.0f} to 3600")
        try:
            from gateway_hil.demo.run import run
        except ImportError as error:
            raise ConfigError(
                f"the demo needs the extra packages: pip install 'pole-gateway[hil]' ({error})"
            ) from None
        story = timeline(arguments.seconds)
        playing = run(story, as_json=arguments.json, keep=arguments.keep, seed=arguments.seed)
        try:
            return asyncio.run(playing)
        except asyncio.CancelledError:  # Ctrl-C, SIGTERM, or the terminal was closed
            raise KeyboardInterrupt from None
