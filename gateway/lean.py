"""Imported first by the processes of a box: asyncio and hashlib come in without OpenSSL, of no use there.

asyncio imports it for TLS, hashlib for faster hashes; every process would pay 1.6 MiB of memory for it. Both
work without, as they do in a Python that was built without it. Whoever needs it may import ssl later on:
only asyncio's own TLS is missing then.
"""

import sys
from importlib import import_module
from typing import Final

UNUSED: Final = ("ssl", "_hashlib")
_WITHOUT: Final = ("hashlib", "hmac", "random", "secrets", "asyncio")
_OWN_HASHES: Final = ("_md5", "_sha1", "_sha3", "_blake2")


def _has_own_hashes() -> bool:
    """Some systems build Python with none but OpenSSL's; hashlib then needs it."""
    try:
        for name in _OWN_HASHES:
            import_module(name)
    except ImportError:
        return False
    return True


# In a test, say, all may be there already.
if not sys.modules.keys() & {*UNUSED, *_WITHOUT} and _has_own_hashes():
    for name in UNUSED:
        sys.modules[name] = None  # type: ignore[assignment]  # "not installed", to who imports it now
    for name in _WITHOUT:
        import_module(name)
    for name in UNUSED:
        del sys.modules[name]
