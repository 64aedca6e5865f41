"""Every state a power cut can leave the spool in, made and checked: the crash enumerator and its oracle."""
