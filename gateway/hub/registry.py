"""Who may talk to the hub: the allow-list of boxes and the one-time tokens, in hub.sqlite.

Written by the enrol thread and by `gateway hub token` and `revoke` from other processes; the hub
notices within a second (`AllowList`). Only a keyed digest of a token is stored, so the file alone
does not let anybody in.
"""

import hashlib
import hmac
import sqlite3
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from gateway.enrolment import TOKEN_ID, Accepted, Answer, Refused, Request, new_token
from gateway.errors import ConfigError, HubError

TRIES_MAX: Final = 5  # wrong guesses at a token's secret half before it is locked: p = 5 / 2**40
_SCHEMA: Final = """
CREATE TABLE IF NOT EXISTS boxes (
    name TEXT PRIMARY KEY, curve_public TEXT NOT NULL UNIQUE, sign_public BLOB NOT NULL,
    enrolled_ns INTEGER NOT NULL, revoked_ns INTEGER
);
CREATE TABLE IF NOT EXISTS tokens (
    id TEXT PRIMARY KEY, digest BLOB NOT NULL, box TEXT, made_ns INTEGER NOT NULL,
    expires_ns INTEGER NOT NULL, tries INTEGER NOT NULL DEFAULT 0, used_ns INTEGER, used_by TEXT
);
"""


@dataclass(frozen=True, slots=True)
class BoxEntry:
    """A box the hub has enrolled; `revoked_ns` is wall time, None while it may talk."""

    name: str
    curve_public: str
    enrolled_ns: int
    revoked_ns: int | None


@dataclass(frozen=True, slots=True)
class _Token:
    digest: bytes
    box: str | None
    expires_ns: int
    tries: int
    used_ns: int | None
    used_by: str | None


class Registry:
    """hub.sqlite, opened. One thread uses one Registry; any number of processes may."""

    def __init__(self, path: Path) -> None:
        """Open or create it. Raises HubError if the file cannot be used."""
        try:
            # A connection is made in one thread and closed in another, never used by two at once.
            self._db = sqlite3.connect(path, timeout=10, isolation_level=None, check_same_thread=False)
            self._db.execute("PRAGMA journal_mode=WAL")
            self._db.execute("PRAGMA synchronous=FULL")
            self._db.executescript(_SCHEMA)
        except sqlite3.Error as error:
            raise HubError(f"cannot use {path}: {error}") from error

    def close(self) -> None:
        """Close the file."""
        self._db.close()

    def version(self) -> int:
        """A number that changes when another connection has written."""
        return int(self._db.execute("PRAGMA data_version").fetchone()[0])

    def live(self) -> dict[str, str]:
        """The allow-list: CURVE public key (Z85) to box name."""
        rows = self._db.execute("SELECT curve_public, name FROM boxes WHERE revoked_ns IS NULL")
        return dict(rows.fetchall())

    def boxes(self) -> list[BoxEntry]:
        """Every box ever enrolled, by name."""
        rows = self._db.execute("SELECT name, curve_public, enrolled_ns, revoked_ns FROM boxes ORDER BY name")
        return [BoxEntry(*row) for row in rows]

    def revoke(self, name: str) -> None:
        """Take a box off the allow-list. Raises ConfigError if there is no such box."""
        with self._transaction():
            changed = self._db.execute(
                "UPDATE boxes SET revoked_ns = coalesce(revoked_ns, ?) WHERE name = ?", (time.time_ns(), name)
            ).rowcount
        if not changed:
            raise ConfigError(f"no box {name!r} is enrolled here; `gateway hub boxes` lists them")

    def awaits_boxes_s(self) -> float:
        """How long until the last token expires, 0 if all have; a used one counts, as its box may ask again.

        Raises HubError.
        """
        try:
            row = self._db.execute("SELECT coalesce(max(expires_ns), 0) FROM tokens").fetchone()
            return max(0.0, (int(row[0]) - time.time_ns()) / 1e9)
        except sqlite3.Error as error:
            raise HubError(f"cannot read the allow-list: {error}") from error

    def make_token(self, pepper: bytes, box: str | None, ttl_s: float) -> str:
        """Make a one-time token, for any box or only for the one named; returns its 12 characters."""
        now = time.time_ns()
        with self._transaction():
            # Ids are drawn again until one is free; 20 bits are plenty for tokens that live for hours.
            while True:
                token = new_token()
                row = (token[:TOKEN_ID], _digest(pepper, token), box, now, now + int(ttl_s * 1e9))
                made = self._db.execute(
                    "INSERT INTO tokens (id, digest, box, made_ns, expires_ns) VALUES (?, ?, ?, ?, ?)"
                    " ON CONFLICT DO NOTHING",
                    row,
                ).rowcount
                if made:
                    return token

    def enrol(self, request: Request, pepper: bytes, hub: str) -> Answer:
        """Redeem a token for a box whose two keys have been proven; writes the allow-list.

        The same keys asking again get the same answer: their first one may have been lost on the way.
        """
        with self._transaction():
            token = self._redeemable(request, pepper)
            if isinstance(token, Refused):
                return token
            if token.used_ns is not None:
                return self._again(request, hub)
            refusal = self._refuse_box(request, meant=token.box is not None)
            if refusal is not None:
                return refusal
            now = time.time_ns()
            self._db.execute(
                "INSERT INTO boxes (name, curve_public, sign_public, enrolled_ns) VALUES (?, ?, ?, ?)"
                " ON CONFLICT (name) DO UPDATE SET curve_public = excluded.curve_public,"
                " sign_public = excluded.sign_public, enrolled_ns = excluded.enrolled_ns, revoked_ns = NULL",
                (request.box, request.curve_public, request.sign_public, now),
            )
            self._db.execute(
                "UPDATE tokens SET used_ns = ?, used_by = ? WHERE id = ?",
                (now, request.curve_public, request.token[:TOKEN_ID]),
            )
        return Accepted(request.box, hub)

    def _redeemable(self, request: Request, pepper: bytes) -> _Token | Refused:
        name = request.token[:TOKEN_ID]
        found = self._db.execute(
            "SELECT digest, box, expires_ns, tries, used_ns, used_by FROM tokens WHERE id = ?", (name,)
        ).fetchone()
        token = _Token(*found) if found else None
        # Digest and comparison cost the same whether or not the id exists.
        right = hmac.compare_digest(_digest(pepper, request.token), token.digest if token else bytes(32))
        if token is not None and token.tries >= TRIES_MAX:
            return Refused("locked", "this token was guessed at too often; ask for a new one")
        if token is None or not right:
            self._db.execute("UPDATE tokens SET tries = tries + 1 WHERE id = ?", (name,))
            return Refused("bad_token", "this hub did not make this token; check for a typing error")
        if token.used_ns is not None and token.used_by != request.curve_public:
            return Refused("used", "this token was used by another box; ask for a new one")
        if token.used_ns is None and token.expires_ns < time.time_ns():
            return Refused("expired", "this token has expired; ask for a new one")
        if token.box is not None and token.box != request.box:
            return Refused(
                "other_box", f"this token was made for the name {token.box!r}; use --box {token.box}"
            )
        return token

    def _again(self, request: Request, hub: str) -> Answer:
        """The answer to keys that redeemed this token before: the same, if it still holds."""
        row = self._db.execute(
            "SELECT 1 FROM boxes WHERE name = ? AND curve_public = ? AND sign_public = ?"
            " AND revoked_ns IS NULL",
            (request.box, request.curve_public, request.sign_public),
        ).fetchone()
        if row is None:
            return Refused(
                "used", "this token was used, and what it allowed has changed since; ask for a new one"
            )
        return Accepted(request.box, hub)

    def _refuse_box(self, request: Request, meant: bool) -> Refused | None:
        """Why name or key cannot be taken. `meant`: a person made the token for this very name."""
        rows = self._db.execute(
            "SELECT name, curve_public, sign_public, revoked_ns FROM boxes"
            " WHERE name = ? OR curve_public = ?",
            (request.box, request.curve_public),
        ).fetchall()
        for name, curve_public, sign_public, revoked_ns in rows:
            if name != request.box:
                return Refused("key_taken", f"this box is enrolled as {name!r}; use --box {name}")
            if meant:
                continue
            if (curve_public, sign_public) != (request.curve_public, request.sign_public):
                replace = f"to replace it ask for a token made with `gateway hub token --box {name}`"
                return Refused("name_taken", f"another box is enrolled as {name!r}; {replace}")
            if revoked_ns is not None:
                return Refused("revoked", f"this box was revoked; ask for a token made for the name {name!r}")
        return None

    @contextmanager
    def _transaction(self) -> Iterator[None]:
        try:
            self._db.execute("BEGIN IMMEDIATE")
            try:
                yield
                self._db.execute("COMMIT")
            except BaseException:
                if self._db.in_transaction:
                    self._db.execute("ROLLBACK")
                raise
        except sqlite3.Error as error:
            raise HubError(f"cannot write the allow-list: {error}") from error


class AllowList:
    """The live allow-list in memory: replaced as a whole, so that any thread may look at it."""

    def __init__(self, path: Path) -> None:
        self._registry = Registry(path)
        self._seen = self._registry.version()
        self.live: dict[str, str] = self._registry.live()

    def refresh(self) -> bool:
        """Look whether another process or thread wrote, and reload. True if one did: the list, or an order.

        `live` is another object only if the list changed. Raises sqlite3.Error if it cannot be read: then
        nobody new comes in and who is in stays.
        """
        seen = self._registry.version()
        if seen == self._seen:
            return False
        live = self._registry.live()
        self._seen = seen
        if live != self.live:
            self.live = live
        return True

    def close(self) -> None:
        """Close the file under it."""
        self._registry.close()


def _digest(pepper: bytes, token: str) -> bytes:
    return hmac.digest(pepper, token.encode(), hashlib.sha256)
