"""`gateway run`: compile the site file, then keep the box's processes running."""

import argparse

from gateway.commands.sitefile import add_site


class Run:
    """The box itself, until Ctrl-C or SIGTERM."""

    name = "run"
    help = "run the box: read its sensors, keep records, send them to the hub"

    def arguments(self, parser: argparse.ArgumentParser) -> None:
        """SITE and which of the units to run."""
        add_site(parser)
        parser.add_argument(
            "--only",
            choices=("sensors", "core", "cameras"),
            help="run one unit alone, as systemd does: sensors (no network), core (no devices), "
            "or cameras (those on a network)",
        )

    def run(self, arguments: argparse.Namespace) -> int:
        """Hand over to the unit starter; its exit status."""
        from gateway.app import run  # it needs asyncio and signals, `--help` does not

        return run(arguments.site, only=arguments.only)
