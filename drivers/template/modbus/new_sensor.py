"""MAKER MODEL, what it measures: its table of registers, in one line.

Source: the document that says so, with its version. Addresses are those on the wire, from 0.
"""

from gateway.driver import Measure
from gateway.modbus import ModbusDriver, Register


class NewSensor(ModbusDriver):
    """What it measures, and anything odd about it."""

    line = "9600 8n1"
    every_s = 1.0
    registers = (
        Register("temperature", 0x0000, "i16", kind="input", scale=0.1),
        Register("humidity", 0x0001, "u16", kind="input", scale=0.1),
    )
    emits = (Measure("temperature", "Cel", 0.1), Measure("humidity", "%", 0.1))
