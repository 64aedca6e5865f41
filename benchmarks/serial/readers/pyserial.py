"""pyserial as its documentation shows it: readline with a timeout."""

import serial

from benchmarks.serial.readers import Heard


def read(path: str, heard: Heard) -> None:
    """Read for ever."""
    with serial.Serial(path, 9600, timeout=1) as port:
        while True:
            if line := port.readline():
                heard(line.rstrip(b"\r\n"))
