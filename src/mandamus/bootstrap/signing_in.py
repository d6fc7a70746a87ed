"""Builds how people sign in by a provider; HTTP and Authlib are loaded when somebody does."""

from __future__ import annotations

import os
from collections.abc import Mapping
from functools import partial

from mandamus.audit.service import Audit
from mandamus.cli.late import late
from mandamus.identity.bearer import SubjectOf
from mandamus.identity.declared_sign_in import DeclaredSignIn
from mandamus.identity.issuer import Claims, Issuers
from mandamus.identity.oidc import SignIns
from mandamus.identity.sessions import Sessions
from mandamus.identity.sign_in import SignIn
from mandamus.kernel.clock import Clock
from mandamus.secrets.model import SecretRef
from mandamus.secrets.service import Secrets
from mandamus.store.database import Database

_fetch = late("mandamus.identity.issuer_http:fetch")
_authorization_url = late("mandamus.identity.oidc_http:authorization_url")
_redeem = late("mandamus.identity.oidc_http:redeem")

_SECRET = "client_secret"  # noqa: S105 - what a message calls it


def issuers(clock: Clock) -> Issuers:
    """The issuers that a home believes, asked over HTTP."""
    return Issuers(clock, partial(_fetch, clock.monotonic_s))


def console_url(told: str, db: Database, audit: Audit) -> str:
    """Where people reach the console: as somebody told, else where they sign in; empty when neither is said."""
    declared = None if told else DeclaredSignIn(db, audit).get()
    return told if declared is None else declared.url


def sign_ins(
    db: Database,
    audit: Audit,
    sessions: Sessions,
    subject_of: SubjectOf,
    believed: Issuers,
    secrets: Secrets,
    clock: Clock,
) -> SignIns:
    """Sign-ins to the console of one home."""

    def secret_of(ref: Mapping[str, str]) -> str:
        return secrets.resolve({_SECRET: SecretRef(**ref)})[_SECRET]

    return SignIns(db, audit, sessions, subject_of, believed, _Provider(clock), secret_of, clock, os.urandom)


class _Provider:
    def __init__(self, clock: Clock) -> None:
        self._clock = clock

    def authorization_url(self, declared: SignIn, endpoint: str, *, state: str, verifier: str, **more: str) -> str:
        return str(_authorization_url(declared, endpoint, state=state, verifier=verifier, **more))

    def redeem(self, declared: SignIn, metadata: Claims, secret: str, *, code: str, verifier: str) -> str:
        asked = _redeem(self._clock.monotonic_s, declared, metadata, secret, code=code, verifier=verifier)
        return str(asked)
