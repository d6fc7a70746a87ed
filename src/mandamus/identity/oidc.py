"""Sign-in by an OpenID Connect provider: authorization code with PKCE, state and nonce, and who that turns out to be.

The provider says who somebody is; the home says who may come in. A subject of the provider is bound to one user for
good at its first sign-in: whoever gets a name that was somebody else's does not become them.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Protocol
from urllib.parse import urlencode

from mandamus.audit.kinds import Kind
from mandamus.audit.model import Event, Resource
from mandamus.audit.service import Audit
from mandamus.identity import sign_in_store, store
from mandamus.identity.bearer import SubjectOf, hashed
from mandamus.identity.declared_sign_in import DeclaredSignIn
from mandamus.identity.issuer import Claims, Expected, Issuers
from mandamus.identity.model import User
from mandamus.identity.sessions import Opened, Sessions
from mandamus.identity.sign_in import AUTHN, Person, SignIn, StepUp, person_of
from mandamus.identity.sign_in_store import Flow
from mandamus.kernel import canonical
from mandamus.kernel.access import Subject
from mandamus.kernel.clock import Clock
from mandamus.kernel.errors import Code, MandamusError
from mandamus.kernel.ids import Entropy
from mandamus.store.database import Database, Tx

FLOW_S = 600
CODE_CHARS_MAX = 4_096
_KEPT = re.compile(r"[A-Za-z0-9_-]{43}")

SecretOf = Callable[[Mapping[str, str]], str]
"""The value of a reference to a secret; raises ``secret_missing``."""


class Provider(Protocol):
    """What is said to a provider over HTTP; see `oidc_http`."""

    def authorization_url(self, declared: SignIn, endpoint: str, *, state: str, verifier: str, **more: str) -> str:
        """Where the browser goes."""
        ...

    def redeem(self, declared: SignIn, metadata: Claims, secret: str, *, code: str, verifier: str) -> str:
        """The ID token that a code is worth."""
        ...


@dataclass(frozen=True)
class Begun:
    """A sign-in that began: where the browser goes, and what it alone keeps meanwhile."""

    url: str
    kept: str


@dataclass(frozen=True)
class Finished:
    """A sign-in that came to its end: the new session, and the path to go on at."""

    opened: Opened
    path: str


class SignIns:
    """Sign-ins to the console of one home."""

    def __init__(
        self,
        db: Database,
        audit: Audit,
        sessions: Sessions,
        subject_of: SubjectOf,
        issuers: Issuers,
        provider: Provider,
        secret_of: SecretOf,
        clock: Clock,
        entropy: Entropy,
    ) -> None:
        self._db = db
        self._audit = audit
        self._declared = DeclaredSignIn(db, audit)
        self._sessions = sessions
        self._subject_of = subject_of
        self._issuers = issuers
        self._provider = provider
        self._secret_of = secret_of
        self._clock = clock
        self._entropy = entropy

    def declared(self) -> SignIn | None:
        """The provider that people sign in by; None where they come in by links alone."""
        return self._declared.get()

    def begin(self, path: str, session: str, step_up: StepUp | None = None) -> Begun:
        """Begin a sign-in that ends at a path of the console, in place of a session if the browser has one.

        With ``step_up`` the provider is asked for that, and whoever the session is of has to come back. Raises
        ``not_found`` without a provider, ``unauthenticated`` for a step up of nobody, ``unavailable``.
        """
        declared = self._must_be_declared()
        user = self._sessions.authenticate(session).user if step_up is not None else None
        issuer, now_us = self._issuers.of(declared.issuer), self._clock.now_us()
        endpoint = issuer.endpoint("authorization_endpoint")
        kept = base64.urlsafe_b64encode(self._entropy(32)).decode().rstrip("=")
        flow = Flow(path, user, hashed(session) if session else None, now_us + FLOW_S * 1_000_000)
        with self._db.begin("sign-in begun") as tx:
            sign_in_store.insert_flow(tx.conn, hashed(_derived("state", kept)), flow, now_us)
        more = {"nonce": _derived("nonce", kept)}
        if step_up is not None and step_up.max_age_s is not None:
            more["max_age"] = str(step_up.max_age_s)
        if step_up is not None and step_up.acr:
            more["acr_values"] = " ".join(step_up.acr)
        state, verifier = _derived("state", kept), _derived("verifier", kept)
        url = self._provider.authorization_url(declared, endpoint, state=state, verifier=verifier, **more)
        return Begun(url, kept)

    def finish(self, query: Mapping[str, str], kept: str) -> Finished:
        """End a sign-in with what the provider had the browser bring back, and what that kept.

        Raises ``unauthenticated`` for what is not good, which is recorded once its sign-in is known, ``unavailable``.
        """
        declared = self._must_be_declared()
        flow = self._flow(query.get("state", ""), kept)
        try:
            claims = self._claims(declared, query, kept)
            person = person_of(declared, claims)
            if isinstance(person, str):
                raise _refused("claim", f"the provider says nobody by the claim {person} who could be a user here")
            with self._db.begin("signed in") as tx:
                return Finished(self._opened(tx, declared, flow, person), flow.path)
        except MandamusError as error:
            if error.code is Code.UNAUTHENTICATED:
                self._sessions.refuse(str(error.context.get("why", "token")))
            raise

    def goodbye(self, session: str) -> str | None:
        """Where the browser ends its session at the provider too; None when that did not bring it or has no such place.

        OpenID Connect RP-Initiated Logout 1.0: without a token that tells whose session it is, the provider asks.
        """
        declared = self.declared()
        with self._db.read() as conn:
            row = store.find_session(conn, hashed(session))
            by_provider = row is not None and sign_in_store.came_by(conn, row[0].id)
        if declared is None or not by_provider:
            return None
        try:
            place = self._issuers.of(declared.issuer).endpoint("end_session_endpoint")
        except MandamusError:
            # Signing out here never depends on anybody else.
            return None
        back = {"client_id": declared.client_id, "post_logout_redirect_uri": f"{declared.url}/sign-in"}
        return f"{place}{'&' if '?' in place else '?'}{urlencode(back)}"

    def _must_be_declared(self) -> SignIn:
        found = self.declared()
        if found is None:
            raise MandamusError(
                Code.NOT_FOUND,
                "people do not sign in by a provider here",
                remedy="declare one under `sign_in` in the platform file, or come in with `mandamus login-link`",
            )
        return found

    def _flow(self, state: str, kept: str) -> Flow:
        """The sign-in of this very browser, used up by that."""
        own = _KEPT.fullmatch(kept) is not None and hmac.compare_digest(_derived("state", kept), state or "-")
        flow = None
        if own:
            with self._db.begin("sign-in used") as tx:
                flow = sign_in_store.use_flow(tx.conn, hashed(state), self._clock.now_us())
        if flow is None:
            raise _refused("state", "this sign-in was not begun in this browser, was used, or took too long")
        return flow

    def _claims(self, declared: SignIn, query: Mapping[str, str], kept: str) -> Claims:
        issuer = self._issuers.of(declared.issuer)
        metadata = issuer.metadata()
        says_who = metadata.get("authorization_response_iss_parameter_supported") is True
        if query.get("iss", "" if says_who else declared.issuer) != declared.issuer:
            # RFC 9207: what another provider sent is nothing to take to this one.
            raise _refused("iss", "what came back is of another provider")
        if "error" in query:
            raise _refused("provider", "the identity provider did not let you in")
        code = query.get("code", "")
        if not code or len(code) > CODE_CHARS_MAX or not code.isascii() or not code.isprintable():
            raise _refused("code", "the identity provider sent no code")
        secret = self._secret_of(declared.secret) if declared.secret else ""
        token = self._provider.redeem(declared, metadata, secret, code=code, verifier=_derived("verifier", kept))
        required = (declared.groups_claim,) if declared.groups_claim else ()
        return issuer.verify(token, Expected(declared.client_id, _derived("nonce", kept), required))

    def _opened(self, tx: Tx, declared: SignIn, flow: Flow, person: Person) -> Opened:
        user = self._user(tx, declared, person)
        if flow.user is not None and flow.user != user:
            raise _refused("other", f"{flow.user} was to sign in again, and somebody else did")
        until_us = self._clock.now_us() + declared.hold_s * 1_000_000
        before = sign_in_store.groups_of(tx.conn, user, self._clock.now_us())
        sign_in_store.put_groups(tx.conn, user, person.groups, until_us)
        who = Subject(user, AUTHN)
        if before != frozenset(person.groups):
            data = {"user": user, "issuer": declared.issuer, "groups": list(person.groups), "until_us": until_us}
            self._audit.record(tx, Event(Kind.SIGN_IN_GROUPS, who, Resource("user", user), data=data))
        data = {"issuer": declared.issuer, "at_us": person.at_us, "acr": person.acr}
        opened = self._sessions.begin(tx, user, AUTHN, data, flow.before)
        sign_in_store.insert_authn(tx.conn, opened.session.id, declared.issuer, person.at_us, person.acr)
        return opened

    def _user(self, tx: Tx, declared: SignIn, person: Person) -> str:
        """Who a person of the provider is here; raises ``unauthenticated`` for nobody who may come in."""
        pinned = next((user for user, subject in declared.subjects.items() if subject == person.subject), None)
        bound = sign_in_store.user_of(tx.conn, declared.issuer, person.subject)
        name = pinned or bound or person.name
        if pinned is None:
            self._check_unpinned(tx, declared, name, bound)
        user = store.get_user(tx.conn, name)
        found = self._subject_of(name)
        if (user is not None and not user.active) or (found is not None and found.program):
            raise _refused("inactive", f"{name} may not come in")
        created = user is None and found is None
        if created:
            if declared.create is None or pinned is not None:
                raise _refused("unknown", f"{name} is no user of this home")
            made = User(name, person.display_name, person.email, role=declared.create)
            store.put_users(tx.conn, [made], self._clock.now_us())
        if bound != name:
            if pinned is not None:
                sign_in_store.unbind(tx.conn, declared.issuer, name, person.subject)
            sign_in_store.bind_subject(tx.conn, declared.issuer, person.subject, name, self._clock.now_us())
            subject = canonical.digest_of([declared.issuer, person.subject])
            data = {"user": name, "issuer": declared.issuer, "subject": subject, "created": created}
            self._audit.record(tx, Event(Kind.SIGN_IN_LINKED, Subject(name, AUTHN), Resource("user", name), data=data))
        return name

    def _check_unpinned(self, tx: Tx, declared: SignIn, name: str, bound: str | None) -> None:
        """The provider's names are taken at their word only for whom nobody said more of, and never for the owner."""
        if name in declared.subjects:
            raise _refused("subject", f"{name} is declared to be somebody else at the provider")
        if bound is None and name == store.get_owner(tx.conn):
            raise _refused("owner", f"{name} owns this home, and a name at the provider is not enough to be that")
        if bound is None and sign_in_store.subject_of(tx.conn, declared.issuer, name) is not None:
            raise _refused("taken", f"{name} is somebody else at the provider")


def _derived(what: str, kept: str) -> str:
    """State, nonce and verifier (RFC 7636: 43 characters) of a sign-in, of what only the browser has."""
    made = hashlib.sha256(f"mandamus sign-in {what} {kept}".encode()).digest()
    return base64.urlsafe_b64encode(made).decode().rstrip("=")


_REMEDIES = {
    "unknown": "ask the owner of this home to add you under `users`",
    "owner": "the owner comes in with `mandamus login-link`, or is named under `sign_in: subjects`",
    "taken": "ask the owner of this home to say under `sign_in: subjects` who that is now",
    "subject": "ask the owner of this home to look at `sign_in: subjects`",
    "inactive": "ask the owner of this home",
    "other": "sign in as the same person, or sign out first",
    "claim": "ask the owner of this home to look at `sign_in: user`, and at the claims of the client there",
}


def _refused(why: str, message: str) -> MandamusError:
    return MandamusError(
        Code.UNAUTHENTICATED, message, remedy=_REMEDIES.get(why, "sign in again"), context={"why": why}
    )
