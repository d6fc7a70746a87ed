"""Gives a program a short token of ours for one that an issuer we believe has signed for it (RFC 8693)."""

from __future__ import annotations

import base64
import binascii
import json
from collections.abc import Iterable, Mapping
from typing import Any

from mandamus.audit.kinds import Kind
from mandamus.audit.model import Event, Outcome, Resource
from mandamus.audit.service import Audit
from mandamus.identity import exchange_store, store
from mandamus.identity.bearer import SubjectOf, hashed
from mandamus.identity.exchange import Exchange
from mandamus.identity.issuer import LEEWAY_S, TOKEN_CHARS_MAX, Expected, Issuers
from mandamus.identity.model import Nature
from mandamus.identity.tokens import Minted, Tokens
from mandamus.kernel import canonical
from mandamus.kernel.access import Permission, Subject, Where
from mandamus.kernel.clock import Clock
from mandamus.kernel.errors import Code, MandamusError
from mandamus.store.database import Database, Tx

AUTHN = "token exchange"
NOBODY = Subject("mandamus", "system")
_DAY_US = 86_400 * 1_000_000
_SHORT_MAX = 200


class Exchanges:
    """The exchanges of one home."""

    def __init__(
        self, db: Database, audit: Audit, tokens: Tokens, issuers: Issuers, subject_of: SubjectOf, clock: Clock
    ) -> None:
        self._db = db
        self._audit = audit
        self._tokens = tokens
        self._issuers = issuers
        self._subject_of = subject_of
        self._clock = clock

    def exchange(self, token: str, where: Where, wanted: Iterable[Permission] | None = None) -> Minted:
        """A token of ours for another's, once; ``wanted`` are fewer permissions than it could have.

        Raises ``unauthenticated`` in the same words whatever is wrong with it, which is an event when the issuer is
        one that we believe, and ``unavailable`` when that cannot be asked for its keys.
        """
        issuer = _issuer_of(token)
        with self._db.read() as conn:
            found = [each for each in exchange_store.declared(conn) if each.issuer == issuer]
        if not found:
            raise _refused()
        try:
            fitting, claims = self._fitting(token, found)
        except MandamusError as error:
            if error.code is Code.UNAUTHENTICATED:
                self._tell_refused(where, str(error.context.get("why", "claims")))
                raise _refused() from error
            raise
        return self._mint(fitting, claims, where, wanted)

    def _fitting(self, token: str, found: list[Exchange]) -> tuple[Exchange, Mapping[str, Any]]:
        """The first exchange that a token fits, by name, and what the token says once all of it holds."""
        refused = _refused()
        for audience in dict.fromkeys(each.audience for each in found):
            try:
                claims = self._issuers.of(found[0].issuer).verify(token, Expected(audience, required=("jti",)))
            except MandamusError as error:
                if error.code is not Code.UNAUTHENTICATED:
                    raise
                refused = error
                continue
            for each in found:
                if each.audience == audience and each.fits(claims) is not None:
                    return each, claims
            raise _refused()
        raise refused

    def _mint(
        self, fitting: Exchange, claims: Mapping[str, Any], where: Where, wanted: Iterable[Permission] | None
    ) -> Minted:
        now_us = self._clock.now_us()
        account = self._subject_of(fitting.account)
        who = Subject(fitting.account, AUTHN, where=where, program=True)
        allowed = fitting.permissions if wanted is None else fitting.permissions & frozenset(wanted)
        made = None
        with self._db.begin("token.exchanged") as tx:
            user = store.get_user(tx.conn, fitting.account)
            why = ""
            if account is None or user is None or user.nature is not Nature.SERVICE_ACCOUNT:
                why = "account"
            elif not exchange_store.take(tx.conn, _mark(claims), _until_us(claims), now_us):
                why = "replayed"
            if why:
                self._record_refused(tx, where, why)
            else:
                name = f"exchange {fitting.name}"
                exchange_store.drop_ended(tx.conn, fitting.account, name, now_us - _DAY_US)
                expires_us = now_us + fitting.minutes * 60_000_000
                made = self._tokens.issue(tx, who, name, allowed, expires_us, made_by=fitting.by)
                self._record(tx, who, fitting, made, fitting.fits(claims) or {})
        if made is None:
            raise _refused()
        return made

    def _record(self, tx: Tx, who: Subject, fitting: Exchange, made: Minted, said: Mapping[str, str]) -> None:
        data = {
            "token": made.token.id,
            "exchange": fitting.name,
            "issuer": fitting.issuer,
            "user": fitting.account,
            "expires_us": made.token.expires_us,
            "claims": {name: _short(value) for name, value in said.items()},
        }
        self._audit.record(tx, Event(Kind.TOKEN_EXCHANGED, who, Resource("token", made.token.id), data=data))

    def _tell_refused(self, where: Where, why: str) -> None:
        with self._db.begin("token exchange refused") as tx:
            self._record_refused(tx, where, why)

    def _record_refused(self, tx: Tx, where: Where, why: str) -> None:
        who = Subject(NOBODY.user, NOBODY.authn, where=where)
        data = {"why": why if why.isidentifier() and why.islower() else "claims"}
        self._audit.record(
            tx, Event(Kind.TOKEN_EXCHANGE_REFUSED, who, Resource("token", "exchange"), Outcome.DENIED, data=data)
        )


def _issuer_of(token: str) -> str:
    """Whose a token claims to be: only which keys it has to be verified with, never believed."""
    if len(token) > TOKEN_CHARS_MAX or token.count(".") != 2:
        raise _refused()
    part = token.split(".")[1]
    try:
        said = json.loads(base64.urlsafe_b64decode(part + "=" * (-len(part) % 4)))
    except (ValueError, RecursionError, binascii.Error) as error:
        raise _refused() from error
    issuer = said.get("iss") if isinstance(said, dict) else None
    if not isinstance(issuer, str):
        raise _refused()
    return issuer


def _mark(claims: Mapping[str, Any]) -> bytes:
    return hashed(canonical.dumps([claims["iss"], str(claims["jti"])]).decode())


def _until_us(claims: Mapping[str, Any]) -> int:
    """Until when the token could come again."""
    return (int(min(claims["exp"], 1 << 40)) + LEEWAY_S + 1) * 1_000_000


def _short(value: str) -> str:
    return value if len(value) <= _SHORT_MAX and value.isprintable() else str(canonical.digest_of(value))


def _refused() -> MandamusError:
    return MandamusError(
        Code.UNAUTHENTICATED,
        "this token is not good here: it is nobody's we believe, does not say what is asked for, has ended or was used",
        remedy="ask for a new one in this job, for the audience that the platform file names under `exchange`",
    )
