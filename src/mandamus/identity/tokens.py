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
from mandamus.identity import sign_in_store, store
from mandamus.identity.bearer import USED_EVERY_US, SubjectOf, hashed
from mandamus.identity.model import DAYS, DAYS_MAX, Nature, Token
from mandamus.kernel import ids
from mandamus.kernel.access import Area, Grant, Permission, Subject, exceeding, narrowed, requires
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
        self,
        who: Subject,
        name: str,
        *,
        days: int = DAYS,
        permissions: Iterable[Permission] | None = None,
        account: str | None = None,
        projects: Iterable[str] | None = None,
    ) -> Minted:
        """Make a token of one's own, or of a program: a service account one answers for, or an agent to act for one.

        Raises ``value_invalid``, ``forbidden`` for more than one's own rights and for a program that asks, and
        ``not_found`` for an account that is not the caller's to act for.
        """
        if who.program:
            raise _forbidden(f"{who.user} is a program, and people make tokens", "ask its owner", who)
        if not name.strip() or len(name) > 100 or not name.isprintable():
            raise _invalid("a token needs a name of 1 to 100 characters", "say what it is for")
        if not 1 <= days <= DAYS_MAX:
            raise _invalid(f"a token lives 1 to {DAYS_MAX} days", "make a new one when it has ended")
        wanted = None if permissions is None else frozenset(permissions)
        of = who if account is None or account == who.user else self._program(who, account)
        held = None if projects is None else tuple(dict.fromkeys(projects))
        # A token that was made with a narrower one is no wider than that.
        kept = wanted if wanted is not None or not who.authn.startswith(AUTHN) else who.permissions
        more = [each.value for each in sorted((wanted or frozenset()) - who.permissions, key=lambda each: each.value)]
        more += [each.value for each in exceeding(self._asked(of, kept, held), who)] if of.behalf_of is None else []
        if more:
            raise _forbidden(
                f"{who.user} may not {', '.join(more)} there, and so their token may not",
                "leave it out, or name `projects` where you may",
                who,
                more[0],
            )
        secret, now_us = _secret(self._entropy(32)), self._clock.now_us()
        made = Token(
            id=self._ids.new("tok"),
            user=of.user,
            name=name,
            permissions=kept,
            created_us=now_us,
            expires_us=now_us + days * _DAY_US,
            made_by="" if of is who else who.user,
            behalf_of=of.behalf_of,
            projects=held,
        )
        with self._db.begin("token.created") as tx:
            self._insert(tx, who, made, secret)
        return Minted(made, secret)

    def issue(
        self,
        tx: Tx,
        who: Subject,
        name: str,
        permissions: frozenset[Permission] | None,
        expires_us: int,
        *,
        made_by: str = "",
        **data: object,
    ) -> Minted:
        """A token for a device that somebody let in, or by an exchange, in the caller's transaction."""
        secret, now_us = _secret(self._entropy(32)), self._clock.now_us()
        made = Token(self._ids.new("tok"), who.user, name, permissions, now_us, expires_us, made_by=made_by)
        self._insert(tx, who, made, secret, **data)
        return Minted(made, secret)

    @requires(Permission.TOKEN_WRITE)
    def list(self, who: Subject) -> list[Token]:
        """One's own tokens and those of one's programs, newest first; everybody's for whoever may change identities."""
        everybody = Permission.IDENTITY_WRITE in who.permissions
        with self._db.read() as conn:
            return store.list_tokens(conn, None if everybody else who.user)

    @requires(Permission.TOKEN_WRITE)
    def revoke(self, who: Subject, token_id: str) -> Token:
        """End a token at once; again is the same. Raises ``not_found`` for one that is not the caller's to end."""
        ids.parse("tok", token_id)
        with self._db.begin("token.revoked") as tx:
            found = store.get_token(tx.conn, token_id)
            everybody = Permission.IDENTITY_WRITE in who.permissions
            if found is None or not (everybody or store.is_of(tx.conn, token_id, who.user)):
                raise MandamusError(
                    Code.NOT_FOUND, f"there is no token {token_id}", remedy="list yours with `mandamus token list`"
                )
            if found.revoked_us is not None:
                return found
            ended = replace(found, revoked_us=self._clock.now_us())
            store.update_token(tx.conn, ended)
            self._record(tx, Kind.TOKEN_REVOKED, who, ended)
        return ended

    def end(self, secret: str) -> bool:
        """End the token that is shown: whoever has it may. One that has ended stays so; False for an unknown one."""
        if not _well_formed(secret):
            return False
        with self._db.begin("token.ended") as tx:
            found = store.find_token(tx.conn, hashed(secret))
            if found is None or found[0].revoked_us is not None:
                return found is not None
            ended = replace(found[0], revoked_us=self._clock.now_us())
            store.update_token(tx.conn, ended)
            self._record(tx, Kind.TOKEN_REVOKED, Subject(ended.user, AUTHN), ended)
        return True

    def authenticate(self, secret: str) -> Subject:
        """Who shows this token, with no more rights than it has.

        Raises ``unauthenticated``, in the same words whatever the reason.
        """
        if not _well_formed(secret):
            raise _refused()
        shown, now_us = hashed(secret), self._clock.now_us()
        with self._db.read() as conn:
            row = store.find_token(conn, shown)
        # Whatever is wrong with the token itself, as much was done to find out.
        if row is None or not hmac.compare_digest(row[1], shown) or not _lasts(row[0], now_us):
            raise _refused()
        token = row[0]
        with self._db.read() as conn:
            unverified = sign_in_store.token_authn_of(conn, token.id)
        subject = self._subject(token)
        if subject is None:
            raise _refused()
        if token.used_us is None or now_us - token.used_us >= USED_EVERY_US:
            with self._db.begin("token.used") as tx:
                store.use_token(tx.conn, token.id, now_us)
        return replace(
            _held(subject, token.permissions, token.projects), authn=f"{AUTHN}, {unverified}" if unverified else AUTHN
        )

    def _asked(
        self, of: Subject, permissions: frozenset[Permission] | None, projects: tuple[str, ...] | None
    ) -> Subject:
        """Whoever a token is to be of, as it would let them in: with all they may, however they come in now."""
        return _held(self._subject_of(of.user) or of, permissions, projects)

    def _program(self, who: Subject, account: str) -> Subject:
        """The program a token is to be of; an agent acts for whoever makes it one, with no more than both may."""
        found = self._subject_of(account)
        with self._db.read() as conn:
            user = store.get_user(conn, account)
        everybody = Permission.IDENTITY_WRITE in who.permissions
        if found is not None and user is not None and user.nature is Nature.AGENT:
            return replace(narrowed(found, who), behalf_of=who.user)
        if found is None or not found.program or not (everybody or who.user in found.owners):
            raise MandamusError(
                Code.NOT_FOUND,
                f"there is no program {account} that you may make a token for",
                remedy="its owner may, or whoever may change identities; the platform file says who owns it",
                context={"user": account},
            )
        return found

    def _subject(self, token: Token) -> Subject | None:
        """Who a token is of, with what they may now; None when they, or whom they act for, may not come in."""
        found = self._subject_of(token.user)
        if found is None or not token.made_by:
            return found
        found = replace(found, owners=found.owners.union(token.made_by.split()))
        if token.behalf_of is None:
            return found
        principal = self._subject_of(token.behalf_of)
        return None if principal is None else replace(narrowed(found, principal), behalf_of=token.behalf_of)

    def _insert(self, tx: Tx, who: Subject, token: Token, secret: str, **data: object) -> None:
        store.insert_token(tx.conn, token, hashed(secret))
        if not who.verified:
            # Who was only claimed to be somebody is that no less for having a token.
            sign_in_store.insert_token_authn(tx.conn, token.id, who.authn.removeprefix(f"{AUTHN}, "))
        self._record(tx, Kind.TOKEN_CREATED, who, token, **data)

    def _record(self, tx: Tx, kind: Kind, who: Subject, token: Token, **more: object) -> None:
        data = {"token": token.id, "user": token.user, "expires_us": token.expires_us, **more}
        self._audit.record(tx, Event(kind, who, Resource("token", token.id), Outcome.OK, data=data))


def _held(who: Subject, permissions: frozenset[Permission] | None, projects: tuple[str, ...] | None) -> Subject:
    """A subject with no more than a token has."""
    allowed = frozenset(Permission) if permissions is None else permissions
    grants = None if projects is None else (Grant("token", allowed, Area(frozenset(projects))),)
    return narrowed(who, Subject(who.user, AUTHN, permissions=allowed, grants=grants))


def _lasts(token: Token, now_us: int) -> bool:
    return token.revoked_us is None and token.expires_us > now_us


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


def _forbidden(
    message: str, remedy: str, who: Subject, permission: str = Permission.TOKEN_WRITE.value
) -> MandamusError:
    context = {"user": who.user, "permission": permission}
    return MandamusError(Code.FORBIDDEN, message, remedy=remedy, context=context)


def _invalid(message: str, remedy: str) -> MandamusError:
    return MandamusError(Code.VALUE_INVALID, message, remedy=remedy)


def _refused() -> MandamusError:
    return MandamusError(
        Code.UNAUTHENTICATED,
        "this token is not good here: it is unknown, has ended, or is of nobody who may come in",
        remedy="make a new one with `mandamus token create`",
    )
