"""pole-gateway: reads a street pole's sensors, infers on the box, forwards records that cannot get lost."""

__version__ = "0.1.0"
