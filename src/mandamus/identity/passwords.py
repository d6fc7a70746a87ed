"""The owner's own password, for the first days of a home: optional, never a default one, kept as Argon2id."""

from __future__ import annotations

import threading
from itertools import pairwise

import sqlalchemy as sa
from cryptography.exceptions import InvalidKey
from cryptography.hazmat.primitives.kdf.argon2 import Argon2id

from mandamus.audit.kinds import Kind
from mandamus.audit.model import Event, Resource
from mandamus.audit.service import Audit
from mandamus.identity import store
from mandamus.identity.bearer import hashed
from mandamus.identity.model import OS_USER
from mandamus.identity.sessions import Opened, Sessions
from mandamus.kernel.access import Permission, Subject, requires
from mandamus.kernel.clock import Clock
from mandamus.kernel.errors import Code, MandamusError
from mandamus.kernel.ids import Entropy
from mandamus.store.database import Database, Tx
from mandamus.store.tables.identity import identity_session
from mandamus.store.tables.machines import identity_password

AUTHN = "password"
LENGTH_MIN = 15
"""NIST SP 800-63B-4, 3.1.1.2: what is the only factor has fifteen characters."""
LENGTH_MAX = 1_000
DISTINCT_MIN = 8
SAMPLES = ("correcthorsebatterystaple", "passwordpassword", "changemechangeme", "administrator", "letmeinletmein")
"""What stands in books and manuals."""

SALT_BYTES = 16
KEY_BYTES = 32
ITERATIONS = 3
LANES = 4
MEMORY_KIB = 64 * 1024
"""RFC 9106, 4: the second recommended option."""

_turn = threading.Lock()
"""One at a time: each takes 64 MiB, and whoever asks may be anybody."""


class Passwords:
    """The owner's password of one home, if there is one."""

    def __init__(self, db: Database, audit: Audit, sessions: Sessions, clock: Clock, entropy: Entropy) -> None:
        self._db = db
        self._audit = audit
        self._sessions = sessions
        self._clock = clock
        self._entropy = entropy

    def is_set(self) -> bool:
        """Whether the owner may come in by a password."""
        return self._kept() is not None

    @requires(Permission.IDENTITY_WRITE)
    def set(self, who: Subject, password: str) -> None:
        """Let the owner come in by this; who came in by the one before is out. Raises ``value_invalid``."""
        owner = self._owner(who)
        _check_strength(password, owner)
        kept = self._derived(password)
        with self._db.begin("password.set") as tx:
            values = {"hash": kept, "set_us": self._clock.now_us()}
            store.upsert(tx.conn, identity_password, {"user_name": owner}, values)
            self._end_sessions(tx, owner)
            self._record(tx, Kind.PASSWORD_SET, who)

    @requires(Permission.IDENTITY_WRITE)
    def remove(self, who: Subject) -> bool:
        """Let nobody come in by it any more, nor stay who did; whether there was one."""
        owner = self._owner(who)
        with self._db.begin("password.removed") as tx:
            gone = tx.conn.execute(identity_password.delete()).rowcount > 0
            self._end_sessions(tx, owner)
            if gone:
                self._record(tx, Kind.PASSWORD_REMOVED, who)
        return gone

    def open(self, password: str, before: str | None = None) -> Opened:
        """A session of the owner, in place of the one the browser had ``before``.

        Raises ``unauthenticated`` in the same words, whether it is wrong or there is none; each is an event.
        """
        kept = self._kept()
        if kept is None or len(password) > LENGTH_MAX or not _is(password, kept[1]):
            self._sessions.refuse("password")
            raise MandamusError(
                Code.UNAUTHENTICATED,
                "this password is not good here",
                remedy="come in by a link of `mandamus login-link`, and set a password with `mandamus password set`",
            )
        with self._db.begin("session.opened") as tx:
            return self._sessions.begin(tx, kept[0], AUTHN, {}, None if before is None else hashed(before))

    def _kept(self) -> tuple[str, str] | None:
        with self._db.read() as conn:
            row = conn.execute(sa.select(identity_password)).first()
            owner = store.get_owner(conn)
        return None if row is None or row.user_name != owner else (row.user_name, row.hash)

    def _owner(self, who: Subject) -> str:
        """Only who sits where the home is, and not who came in with a token or a session, may change how that is."""
        with self._db.read() as conn:
            owner = store.get_owner(conn)
        if owner is None or who.user != owner or who.authn != OS_USER:
            raise MandamusError(
                Code.FORBIDDEN,
                f"{who.user} may not: the password is the owner's own, set where the home is",
                remedy="run it as the owner of the home, without --as",
                context={"user": who.user, "permission": Permission.IDENTITY_WRITE.value},
            )
        return owner

    def _derived(self, password: str) -> str:
        made = Argon2id(
            salt=self._entropy(SALT_BYTES),
            length=KEY_BYTES,
            iterations=ITERATIONS,
            lanes=LANES,
            memory_cost=MEMORY_KIB,
        )
        with _turn:
            return made.derive_phc_encoded(password.encode())

    def _end_sessions(self, tx: Tx, owner: str) -> None:
        session = identity_session.c
        theirs = identity_session.update().where(session.user_name == owner, session.authn == AUTHN)
        tx.conn.execute(theirs.where(session.ended_us.is_(None)).values(ended_us=self._clock.now_us()))

    def _record(self, tx: Tx, kind: Kind, who: Subject) -> None:
        self._audit.record(tx, Event(kind, who, Resource("user", who.user)))


def _is(password: str, kept: str) -> bool:
    try:
        with _turn:
            Argon2id.verify_phc_encoded(password.encode(), kept)
    except InvalidKey:
        return False
    return True


def _repeats(text: str) -> bool:
    """Whether a part of at most half of it, again and again, is all there is."""
    return any(text[period:] == text[:-period] for period in range(1, len(text) // 2 + 1))


def _check_strength(password: str, owner: str) -> None:
    """Raise ``value_invalid`` for what is guessed first; no rules of which characters (NIST SP 800-63B-4)."""
    plain = password.casefold()
    bare = "".join(filter(str.isalnum, plain))
    steps = sum(abs(ord(one) - ord(other)) <= 1 for one, other in pairwise(plain))
    if not LENGTH_MIN <= len(password) <= LENGTH_MAX:
        why = f"it has {len(password)} characters, and {LENGTH_MIN} to {LENGTH_MAX:,} are needed"
    elif len(set(plain)) < DISTINCT_MIN:
        why = "it is made of too few different characters"
    elif steps > len(plain) // 2:
        why = "its characters follow one another"
    elif _repeats(plain) or any(sample in bare for sample in SAMPLES):
        why = "it repeats itself, or stands in books"
    elif owner.casefold() in bare and len(bare) - len(owner) < LENGTH_MIN:
        why = "the most of it is the owner's name"
    elif "mandamus" in bare and len(bare) - len("mandamus") < LENGTH_MIN:
        why = "the most of it is the name of this program"
    else:
        return
    raise MandamusError(
        Code.VALUE_INVALID,
        f"this password is too easily guessed: {why}",
        remedy="let a password manager make one, or take five words by chance",
    )
