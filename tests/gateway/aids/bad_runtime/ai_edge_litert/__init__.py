"""Stands where the runtime would: see interpreter.py."""
