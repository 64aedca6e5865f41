"""Which sensors may share a serial line: all speak only when asked, at one speed, in one framing."""

from gateway.driver import SerialDriver
from gateway.errors import ConfigError
from gateway.ports.url import parse_port


class LineSharing:
    """The serial lines of one site file, and the first sensor on each."""

    def __init__(self) -> None:
        self._first: dict[str, tuple[str, str, SerialDriver]] = {}

    def join(self, url: str, sensor: str, driver: SerialDriver) -> None:
        """Put a sensor on the line of that port. Raises ConfigError, naming both, if they do not fit."""
        port = parse_port(url)
        place = url if port.scheme == "replay" else port.place
        if place not in self._first:
            self._first[place] = (sensor, url, driver)
            return
        other, its_url, its_driver = self._first[place]
        if url != its_url:
            raise ConfigError(f"{other!r} hangs on the same line, written {its_url}; write both alike")
        for name, each in ((other, its_driver), (sensor, driver)):
            if not each.shares:
                raise ConfigError(
                    f"{other!r} hangs on {url} already, and {name!r} speaks unasked: "
                    "it needs a line of its own; name another port"
                )
        mine, its = driver.line_for(), its_driver.line_for()
        if mine != its:
            raise ConfigError(
                f"{sensor!r} has a line of {mine!r}, and {other!r} on the same port one of {its!r}; "
                "set both devices to the same"
            )
        if driver.framing != its_driver.framing:
            raise ConfigError(
                f"{sensor!r} and {other!r} cannot share {url}: their drivers cut it into frames differently"
            )
