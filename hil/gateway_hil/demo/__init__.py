"""The demo: box and hub as real processes, emulated sensors, faults on purpose, an account at the end."""
