"""Opening a tty for one process alone, with its line's settings, and for RS-485 where it is asked for."""

import errno
import fcntl
import os
import re
import struct
import termios
from typing import Final

import serial

from gateway.errors import ConfigError, PortGone

_LINE: Final = re.compile(r"(\d+) ([5-8])([noe])([12])")
_ADVICE: Final = {
    errno.ENOENT: "it is not there; check the plug, or run `gateway scan`",
    errno.EACCES: "this user may not open it; `gateway doctor` says how to mend that",
    errno.EAGAIN: "another program has it open",
    errno.EBUSY: "another program has it open",
}
# linux/serial.h, asm-generic/ioctls.h
_TIOCSRS485: Final = 0x542F
_ENABLED: Final = 1 << 0
_RTS_ON_SEND: Final = 1 << 1
_RTS_AFTER_SEND: Final = 1 << 2
_SERIAL_RS485: Final = struct.Struct("3I20x")  # flags, delays before and after sending in ms
_RS485: Final = {"rts": _ENABLED | _RTS_ON_SEND, "rts-low": _ENABLED | _RTS_AFTER_SEND}


def character_s(line: str) -> float:
    """How long one character takes on a line such as "9600 8n1". Raises ConfigError for no such line."""
    match = _matched(line)
    return (1 + int(match[2]) + (match[3] != "n") + int(match[4])) / int(match[1])


def open_tty(path: str, line: str, rs485: str = "") -> serial.Serial:
    """Open and configure for this process alone; `rs485`: how its direction is switched (see url.py).

    Raises PortGone with advice, ConfigError for a line or a way to switch that this tty cannot do.
    """
    match = _matched(line)
    # A pty has no line speed; asking it for a rare one can fail.
    is_pty = os.path.realpath(path).startswith("/dev/pts/")
    try:
        tty = serial.Serial(
            path,
            baudrate=9600 if is_pty else int(match[1]),
            bytesize=int(match[2]),
            parity=match[3].upper(),
            stopbits=int(match[4]),
            timeout=0,
            exclusive=True,
        )
    except ValueError as error:
        raise ConfigError(f"{path} cannot do {line!r} ({error}); check the driver's line") from error
    except (OSError, termios.error) as error:
        code = getattr(error, "errno", None) or 0
        raise PortGone(
            f"cannot open {path}: {_ADVICE.get(code) or getattr(error, 'strerror', None) or error}"
        ) from error
    if rs485:
        try:
            fcntl.ioctl(tty.fileno(), _TIOCSRS485, _SERIAL_RS485.pack(_RS485[rs485], 0, 0))
        except OSError as error:
            tty.close()
            raise ConfigError(
                f"the kernel does not switch {path} between sending and receiving ({error.strerror}): "
                f"leave ?rs485={rs485} out if the adapter does that alone, else use one that does"
            ) from error
    return tty


def _matched(line: str) -> re.Match[str]:
    match = _LINE.fullmatch(line)
    if match is None:
        raise ConfigError(f'line = {line!r}; write it like "9600 8n1"')
    return match
