"""The four failures, and the few errors outside them.

    GatewayError
    ├── ConfigError      the site file, plan or command line is wrong    -> stops the start
    ├── PortGone         the bus or what hangs on it went away           -> retried for ever, with backoff
    ├── BadFrame         bytes arrived but make no sense                 -> counted; the last few are kept
    │   ├── NoAnswer     a device that was asked said nothing            -> counted; thrice: it is away
    │   └── Refused      a device that was asked said no                 -> counted
    ├── SpoolError       the disk refused                                -> core keeps what it can and says so
    ├── WireError        a peer sent something outside the protocol      -> counted, the connection is reset
    ├── HubError         the hub cannot start or write its disk          -> stops the hub; boxes keep all
    └── BundleError      a model bundle is damaged or does not fit       -> that sensor runs without its model
        └── BadAnswer    a model computed what is no number              -> counted; goes on without the model

Anything else that leaves a driver is a bug: it kills that worker, loudly, alone.
"""


class GatewayError(Exception):
    """Base of every error this project raises on purpose. The text says what to do next."""


class ConfigError(GatewayError):
    """What a person wrote cannot work. `where` is `file:line:column` when it is known."""

    def __init__(self, text: str, where: str = "") -> None:
        super().__init__(f"{where}: {text}" if where else text)
        self.text = text
        self.where = where


class PortGone(GatewayError):
    """The port cannot be opened, or vanished while open. The worker retries for ever."""


class BadFrame(GatewayError):
    """A frame arrived whole but its content is wrong. Counted, never fatal."""


class NoAnswer(BadFrame):
    """A device was asked and said nothing in time. Three in a row, and its sensor counts as away."""


class Refused(BadFrame):
    """A device answered, and its answer is no: it does not know what it was asked for, or cannot do it."""


class SpoolError(GatewayError):
    """The spool cannot read or write its files."""


class WireError(GatewayError):
    """Bytes from a peer that are not the protocol. `reason` is a short snake_case counter name."""

    def __init__(self, reason: str, text: str = "") -> None:
        super().__init__(f"{reason}: {text}" if text else reason)
        self.reason = reason


class BundleError(GatewayError):
    """A model bundle is damaged, does not fit its manifest, or no runtime is installed for it."""


class BadAnswer(BundleError):
    """A loaded model gave what is no number, or its runtime failed while computing. Counted."""


class HubError(GatewayError):
    """The hub cannot do its part: its folder, its disk or its door. Boxes keep what it has not acked."""
