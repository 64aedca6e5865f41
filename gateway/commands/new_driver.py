"""`gateway new-driver`: a driver that works, before the first line of it is written."""

import argparse
import shlex
from pathlib import Path

from gateway.commands.scaffold import (
    KINDS,
    Made,
    Names,
    checkout_at,
    install,
    into_checkout,
    into_package,
    names_of,
)
from gateway.errors import ConfigError
from gateway.plugins import DRIVERS, found


class NewDriver:
    """Write driver, emulator, capture case and entry points for a device, and make them known."""

    name = "new-driver"
    help = "write a driver to start from: with emulator, capture and test"

    def arguments(self, parser: argparse.ArgumentParser) -> None:
        """DEVICE, its kind, and where to write."""
        parser.add_argument("device", metavar="DEVICE", help='maker and model, like "Gill WindSonic"')
        parser.add_argument("--kind", choices=KINDS, default="serial", help="how it talks (default: serial)")
        parser.add_argument("--name", default="", help="the driver's name (default: made from DEVICE)")
        parser.add_argument(
            "--package",
            action="store_true",
            help="a project of its own (default: added to the checkout of pole-gateway that you are in)",
        )
        parser.add_argument(
            "--into",
            type=Path,
            metavar="FOLDER",
            help="the project's folder, or the checkout (default: here)",
        )
        parser.add_argument(
            "--no-install", action="store_true", help="only write; do not make it known to this gateway"
        )

    def run(self, arguments: argparse.Namespace) -> int:
        """Refuses to overwrite anything, and a name that an installed driver has."""
        names = names_of(arguments.device, arguments.name)
        if (there := found(DRIVERS).get(names.driver)) is not None:
            raise ConfigError(f"there is a driver {there}; give yours another name with --name")
        if arguments.package:
            folder = arguments.into or Path(f"gateway-{names.driver}")
            made = into_package(names, arguments.kind, folder)
        else:
            here = arguments.into or Path()
            root = checkout_at(here)
            if root is None:
                raise ConfigError(
                    f"{here.absolute()} is in no checkout of pole-gateway; "
                    "add --package for a project of its own"
                )
            made = into_checkout(names, arguments.kind, root)
        print(f"wrote in {made.folder}:")
        for path in made.files:
            print(f"  {path}")
        _tell(names, made, "--no-install" if arguments.no_install else install(made.folder))
        return 0


def _tell(names: Names, made: Made, missing: str) -> None:
    """Whether it is known, and the next three commands."""
    folder = shlex.quote(str(made.folder))
    if missing:
        print(f"not installed ({missing}); type: pip install -e {folder}")
    print(f"It works already, as the device that the template makes up. Edit {made.driver} and see:")
    if made.folder.resolve() != Path.cwd():
        print(f"  cd {folder}")
    print(f"  gateway decode {names.driver} {made.capture}")
    print(f"  gateway drivers --check {names.driver}")
    if made.folder.resolve() == Path.cwd():
        print("  ./dev docs" if made.driver.parts[0] == "drivers" else "  pytest")
