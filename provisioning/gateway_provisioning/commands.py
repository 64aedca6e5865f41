"""`gateway enrol HUB TOKEN`: makes this box known to its hub, once, with a code that works once."""

import argparse
import tomllib
from pathlib import Path
from typing import Any, Final

from gateway.enrolment import parse_address, parse_token
from gateway.errors import ConfigError
from gateway.keys import BOX_NAME, keys_path, read_box_keys

_SITE: Final = Path("site.toml")


class Enrol:
    """The command `gateway enrol`."""

    name = "enrol"
    help = "make this box known to its hub, with a token from `gateway hub token`"

    def arguments(self, parser: argparse.ArgumentParser) -> None:
        """Add the arguments."""
        parser.add_argument(
            "hub", metavar="HUB", help="the hub's address with its key, from `gateway hub token`"
        )
        parser.add_argument("token", metavar="TOKEN", help="the one-time token")
        parser.add_argument("--box", metavar="NAME", help="name of this box, if no site file gives it")
        where = parser.add_mutually_exclusive_group()
        where.add_argument(
            "--site", type=Path, help=f"site file that gives name and state folder (./{_SITE})"
        )
        where.add_argument("--state", type=Path, metavar="DIR", help="state folder, without a site file")

    def run(self, arguments: argparse.Namespace) -> int:
        """Enrol; 0 when the hub has agreed. Raises ConfigError otherwise."""
        from gateway_provisioning.enrol import enrol

        hub, token = parse_address(arguments.hub), parse_token(arguments.token)
        state, box = _who(arguments)
        enrolment = enrol(state, hub, token, box)
        print(f"enrolled as {enrolment.box} at {enrolment.hub}; a running gateway goes on by itself")
        return 0


def _who(arguments: argparse.Namespace) -> tuple[Path, str]:
    """State folder and name of this box, from the site file or the options."""
    box: str | None = arguments.box
    if arguments.state is not None:
        state: Path = arguments.state
        if box is None:
            path = keys_path(state)
            if not path.exists():
                raise ConfigError("which box is this? Add --box NAME, or --site SITE instead of --state")
            box = read_box_keys(path).box
    else:
        site = arguments.site or _SITE
        plain = _read_site(site)
        box_in_site = plain["box"]
        if box is not None and box != box_in_site:
            raise ConfigError(
                f"{site} says that this box is {box_in_site!r}, not {box!r}; change one of them"
            )
        box, state = box_in_site, site.parent / plain["state"]
    if not BOX_NAME.fullmatch(box):
        raise ConfigError(f"{box!r} is no box name; use a-z, 0-9 and -, at most 32, starting with a letter")
    return state, box


def _read_site(site: Path) -> dict[str, Any]:
    """`box` and `state` of a site file; the rest of it is `gateway check`'s business."""
    try:
        plain = tomllib.loads(site.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise ConfigError(
            f"there is no site file {site}; name one with --site, or use --state and --box"
        ) from None
    except OSError as error:
        raise ConfigError(f"cannot read {site}: {error.strerror}") from error
    except ValueError as error:
        raise ConfigError(f"{error}", str(site)) from error
    if not (isinstance(plain.get("box"), str) and isinstance(plain.get("state"), str)):
        raise ConfigError(f"{site} does not give `box` and `state`; see `gateway check {site}`")
    return plain
