"""Access tokens: shown once, kept as a hash, short-lived, and never worth more than who made them."""

from __future__ import annotations

import hmac
import re
import zlib
from collections.abc import Iterable
from dataclasses import dataclass, replace

from mandamus.audit.kinds import Kind
from mandamus.audit.model import Event, Outcome, Resource
from mandamus.audit.service import Audit
from mandamus.identity import store
from mandamus.identity.bearer import USED_EVERY_US, SubjectOf, hashed
from mandamus.identity.model import DAYS, DAYS_MAX, Token
from mandamus.kernel import ids
from mandamus.kernel.access import Permission, Subject, requires
from mandamus.kernel.clock import Clock
from mandamus.kernel.errors import Code, MandamusError
from mandamus.kernel.ids import Entropy, Ids
from mandamus.store.database import Database, Tx

AUTHN = "token"

_BASE62 = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
_FORM = re.compile(r"mdm_([0-9A-Za-z]{43})([0-9A-Za-z]{6})")
_DAY_US = 86_400 * 1_000_000


@dataclass(frozen=True)
class Minted:
    """A token that was just made; ``secret`` is kept nowhere."""

    token: Token
    secret: str


class Tokens:
    """The tokens of one home."""

    def __init__(self, db: Database, audit: Audit, subject_of: SubjectOf, clock: Clock, entropy: Entropy) -> None:
        self._db = db
        self._audit = audit
        self._subject_of = subject_of
        self._clock = clock
        self._entropy = entropy
        self._ids = Ids(clock, entropy)

    @requires(Permission.TOKEN_WRITE)
    def create(
        self, who: Subject, name: str, *, days: int = DAYS, permissions: Iterable[Permission] | None = None
    ) -> Minted:
        """Make a token of one's own. Raises ``value_invalid``, and ``forbidden`` for more than one's own rights."""
        if not name.strip() or len(name) > 100 or not name.isprintable():
            raise _invalid("a token needs a name of 1 to 100 characters", "say what it is for")
        if not 1 <= days <= DAYS_MAX:
            raise _invalid(f"a token lives 1 to {DAYS_MAX} days", "make a new one when it has ended")
        wanted = None if permissions is None else frozenset(permissions)
        more = sorted(each.value for each in (wanted or frozenset()) - who.permissions)
        if more:
            raise MandamusError(
                Code.FORBIDDEN,
                f"{who.user} may not {', '.join(more)}, and so their token may not",
                remedy="leave it out",
                context={"user": who.user, "permission": more[0]},
            )
        # A token that was made with a narrower one is no wider than that.
        kept = wanted if wanted is not None or who.authn != AUTHN else who.permissions
        secret, now_us = _secret(self._entropy(32)), self._clock.now_us()
        made = Token(
            id=self._ids.new("tok"),
            user=who.user,
            name=name,
            permissions=kept,
            created_us=now_us,
            expires_us=now_us + days * _DAY_US,
        )
        with self._db.begin("token.created") as tx:
            store.insert_token(tx.conn, made, hashed(secret))
            self._record(tx, Kind.TOKEN_CREATED, who, made)
        return Minted(made, secret)

    @requires(Permission.TOKEN_WRITE)
    def list(self, who: Subject) -> list[Token]:
        """One's own tokens, newest first; everybody's for whoever may change identities."""
        everybody = Permission.IDENTITY_WRITE in who.permissions
        with self._db.read() as conn:
            return store.list_tokens(conn, None if everybody else who.user)

    @requires(Permission.TOKEN_WRITE)
    def revoke(self, who: Subject, token_id: str) -> Token:
        """End a token at once; again is the same. Raises ``not_found`` for one that is not the caller's to end."""
        ids.parse("tok", token_id)
        with self._db.begin("token.revoked") as tx:
            found = store.get_token(tx.conn, token_id)
            if found is None or (found.user != who.user and Permission.IDENTITY_WRITE not in who.permissions):
                raise MandamusError(
                    Code.NOT_FOUND, f"there is no token {token_id}", remedy="list yours with `mandamus token list`"
                )
            if found.revoked_us is not None:
                return found
            ended = replace(found, revoked_us=self._clock.now_us())
            store.update_token(tx.conn, ended)
            self._record(tx, Kind.TOKEN_REVOKED, who, ended)
        return ended

    def authenticate(self, secret: str) -> Subject:
        """Who shows this token, with no more rights than it has.

        Raises ``unauthenticated``, in the same words whatever the reason.
        """
        if not _well_formed(secret):
            raise _refused()
        shown, now_us = hashed(secret), self._clock.now_us()
        with self._db.read() as conn:
            row = store.find_token(conn, shown)
        if row is None or not hmac.compare_digest(row[1], shown):
            raise _refused()
        token = row[0]
        subject = self._subject_of(token.user)
        if token.revoked_us is not None or token.expires_us <= now_us or subject is None:
            raise _refused()
        if token.used_us is None or now_us - token.used_us >= USED_EVERY_US:
            with self._db.begin("token.used") as tx:
                store.use_token(tx.conn, token.id, now_us)
        allowed = subject.permissions if token.permissions is None else subject.permissions & token.permissions
        return replace(subject, permissions=allowed, authn=AUTHN)

    def _record(self, tx: Tx, kind: Kind, who: Subject, token: Token) -> None:
        data = {"token": token.id, "user": token.user, "expires_us": token.expires_us}
        self._audit.record(tx, Event(kind, who, Resource("token", token.id), Outcome.OK, data=data))


def _secret(random: bytes) -> str:
    """``mdm_``, 256 random bits in base 62, and a checksum, by which scanners tell it from what only looks like one."""
    body = _base62(int.from_bytes(random, "big"), 43)
    return f"mdm_{body}{_checksum(body)}"


def _well_formed(secret: str) -> bool:
    match = _FORM.fullmatch(secret)
    return match is not None and _checksum(match[1]) == match[2]


def _checksum(body: str) -> str:
    return _base62(zlib.crc32(body.encode()), 6)


def _base62(value: int, length: int) -> str:
    digits = []
    for _ in range(length):
        value, digit = divmod(value, 62)
        digits.append(_BASE62[digit])
    return "".join(reversed(digits))


def _invalid(message: str, remedy: str) -> MandamusError:
    return MandamusError(Code.VALUE_INVALID, message, remedy=remedy)


def _refused() -> MandamusError:
    return MandamusError(
        Code.UNAUTHENTICATED,
        "this token is not good here: it is unknown, has ended, or is of nobody who may come in",
        remedy="make a new one with `mandamus token create`",
    )
