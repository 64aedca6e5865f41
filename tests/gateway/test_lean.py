"""The processes of a box carry no OpenSSL about, and lack nothing for it."""

import subprocess
import sys

import pytest

from gateway.process import child_environment

OPENSSL = ("ssl", "_ssl", "_hashlib")


def said(code: str) -> str:
    """What a fresh Python prints."""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return done.stdout.strip()


@pytest.mark.slow
@pytest.mark.parametrize("process", ["worker", "supervisor", "core"])
def test_a_process_of_a_box_has_no_openssl_of_pythons(process: str) -> None:
    code = f"import gateway.{process}, sys; print(*[name for name in {OPENSSL} if name in sys.modules])"
    assert said(code) == ""


@pytest.mark.slow
def test_hashes_are_the_same_and_tls_can_be_had() -> None:
    code = (
        "import gateway.lean, hashlib, hmac, secrets, asyncio, sys;"
        "print(hashlib.sha256(b'abc').hexdigest()[:16]);"
        "print(hmac.new(b'Jefe', b'what do ya want for nothing?', 'sha256').hexdigest()[:16]);"
        "print(len(secrets.token_bytes(8)), asyncio.run(asyncio.sleep(0, 'ran')));"
        "print(hmac.compare_digest(b'a', b'a'));"
        "import ssl; print(ssl.create_default_context().check_hostname)"
    )
    assert said(code).split() == [
        "ba7816bf8f01cfea",  # FIPS 180-4's example
        "5bdcc146bf60754e",  # RFC 4231, test case 2
        "8",
        "ran",
        "True",
        "True",
    ]


@pytest.mark.slow
def test_a_python_with_none_but_openssls_hashes_keeps_it() -> None:
    code = (
        "import sys; sys.modules.update(_md5=None, _sha1=None);"
        "import gateway.lean, hashlib; print(hashlib.md5(b'').hexdigest()[:8], '_hashlib' in sys.modules)"
    )
    assert said(code).split() == ["d41d8cd9", "True"]


@pytest.mark.slow
def test_numpy_has_one_thread_in_a_process_of_a_box() -> None:
    code = "import numpy as np, os; a = np.ones((400, 400)); a @ a; print(len(os.listdir('/proc/self/task')))"
    command, environment = [sys.executable, "-c", code], child_environment()
    done = subprocess.run(command, capture_output=True, text=True, check=True, env=environment)
    assert done.stdout.strip() == "1"
