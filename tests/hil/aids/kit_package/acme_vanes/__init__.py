"""Somebody else's drivers: a good one, and one for each way to be bad."""
