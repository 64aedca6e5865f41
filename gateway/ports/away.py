"""One device of a shared bus went away, while the bus itself is well."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Away:
    """What a port hands over between its frames: from now on nothing is heard of the device at `address`.

    Its next frame says that it is back.
    """

    address: str
