"""A token for a device whose user signs in elsewhere: the device authorization grant (RFC 8628); this home grants."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum

from mandamus.audit.kinds import Kind
from mandamus.audit.model import Event, Outcome, Resource
from mandamus.audit.service import Audit
from mandamus.identity import sign_in_store as store
from mandamus.identity.bearer import SubjectOf, hashed
from mandamus.identity.sign_in import Device
from mandamus.identity.tokens import Minted, Tokens
from mandamus.kernel.access import Permission, Subject, requires
from mandamus.kernel.clock import Clock
from mandamus.kernel.errors import Code, MandamusError
from mandamus.kernel.ids import Entropy, Ids
from mandamus.store.database import Database, Tx

LIFE_S = 600
INTERVAL_S = 5
TOKEN_S = 8 * 3_600
NAME_CHARS_MAX = 100
WAITING_MAX = 10_000
_LETTERS = "BCDFGHJKLMNPQRSTVWXZ"
"""RFC 8628, 6.1: letters that spell no words and are not mistaken for others; eight of them are 34 bits."""
_CODE_LENGTH = 8
_WAITING, _GRANTED, _REFUSED, _TAKEN = "waiting", "granted", "refused", "taken"


class NotYet(StrEnum):
    """Why a device has no token (RFC 8628, 3.5; RFC 6749, 5.2)."""

    PENDING = "authorization_pending"
    SLOW_DOWN = "slow_down"
    DENIED = "access_denied"
    EXPIRED = "expired_token"
    UNKNOWN = "invalid_grant"


@dataclass(frozen=True)
class Asked:
    """What a device that asks is given: its own code, which is kept nowhere, and the one that a person types."""

    device_code: str
    user_code: str
    expires_s: int = LIFE_S
    interval_s: int = INTERVAL_S


class Devices:
    """The devices that ask for tokens of one home."""

    def __init__(
        self, db: Database, audit: Audit, tokens: Tokens, subject_of: SubjectOf, clock: Clock, entropy: Entropy
    ) -> None:
        self._db = db
        self._audit = audit
        self._tokens = tokens
        self._subject_of = subject_of
        self._clock = clock
        self._entropy = entropy
        self._ids = Ids(clock, entropy)

    def ask(self, name: str, address: str, permissions: Iterable[Permission] | None) -> Asked:
        """Begin: anybody may. ``name`` is what the device calls itself. Raises ``value_invalid``, ``rate_limited``."""
        if not name.strip() or len(name) > NAME_CHARS_MAX or not name.isprintable():
            raise MandamusError(
                Code.VALUE_INVALID,
                f"a device calls itself something of 1 to {NAME_CHARS_MAX} characters",
                remedy="send another name",
            )
        wanted = None if permissions is None else frozenset(permissions)
        code, typed, now_us = self._entropy(32).hex(), self._typed(), self._clock.now_us()
        made = Device(self._ids.new("dev"), name, address, wanted, now_us, now_us + LIFE_S * 1_000_000, _WAITING)
        with self._db.begin("device.asked") as tx:
            store.drop_devices(tx.conn, now_us - LIFE_S * 1_000_000)
            if store.count_devices(tx.conn) >= WAITING_MAX:
                raise MandamusError(
                    Code.RATE_LIMITED, "too many devices ask", remedy="try again in ten minutes", retryable=True
                )
            store.insert_device(tx.conn, made, hashed(code), hashed(typed), INTERVAL_S)
        return Asked(code, f"{typed[:4]}-{typed[4:]}")

    @requires(Permission.TOKEN_WRITE)
    def show(self, who: Subject, user_code: str) -> Device:  # noqa: ARG002 - asked for the permission
        """The device that waits with a code; raises ``not_found``, in the same words whatever the reason."""
        with self._db.read() as conn:
            found = store.find_device(conn, hashed(_plain(user_code)))
        if found is None or found.state != _WAITING or found.expires_us <= self._clock.now_us():
            raise _unknown()
        return found

    @requires(Permission.TOKEN_WRITE)
    def decide(self, who: Subject, user_code: str, *, grant: bool) -> Device:
        """Let the device have a token of one's own, or not; once. Raises ``forbidden`` for a program, ``not_found``."""
        if who.program:
            raise MandamusError(
                Code.FORBIDDEN,
                f"{who.user} is a program, and people let devices in",
                remedy="ask its owner",
                context={"user": who.user, "permission": Permission.TOKEN_WRITE.value},
            )
        found = self.show(who, user_code)
        with self._db.begin("device decided") as tx:
            state = _GRANTED if grant else _REFUSED
            if not store.settle_device(tx.conn, found.id, _WAITING, state, who.user, who.authn):
                raise _unknown()
            data: dict[str, object] = {"device": found.id}
            if grant:
                data["permissions"] = None if found.permissions is None else sorted(p.value for p in found.permissions)
            kind, outcome = (Kind.DEVICE_GRANTED, Outcome.OK) if grant else (Kind.DEVICE_REFUSED, Outcome.DENIED)
            self._audit.record(tx, Event(kind, who, Resource("device", found.id), outcome, data=data))
        return found

    def take(self, device_code: str) -> Minted | NotYet:
        """The token that a device was granted, once, for 8 hours; or why there is none."""
        now_us = self._clock.now_us()
        with self._db.begin("device asks again") as tx:
            found = store.find_device(tx.conn, hashed(device_code), typed=False)
            why = self._not_yet(tx, found, now_us)
            if found is None or found.user is None or why is not None:
                return why or NotYet.PENDING
            store.settle_device(tx.conn, found.id, _GRANTED, _TAKEN, found.user, found.authn)
            who = Subject(found.user, found.authn)
            expires_us = now_us + TOKEN_S * 1_000_000
            return self._tokens.issue(tx, who, found.name, found.permissions, expires_us, device=found.id)

    def _not_yet(self, tx: Tx, found: Device | None, now_us: int) -> NotYet | None:
        if found is None or found.state == _TAKEN:
            return NotYet.UNKNOWN
        if found.expires_us <= now_us:
            return NotYet.EXPIRED
        if not store.poll_device(tx.conn, found.id, now_us):
            return NotYet.SLOW_DOWN
        if found.user is None:
            return NotYet.PENDING
        granted = found.state == _GRANTED and self._subject_of(found.user) is not None
        return None if granted else NotYet.DENIED

    def _typed(self) -> str:
        value, letters = int.from_bytes(self._entropy(16), "big"), []
        for _ in range(_CODE_LENGTH):
            value, at = divmod(value, len(_LETTERS))
            letters.append(_LETTERS[at])
        return "".join(letters)


def _plain(user_code: str) -> str:
    """The letters of what somebody typed, however they wrote it."""
    return "".join(letter for letter in user_code[:40].upper() if letter in _LETTERS)


def _unknown() -> MandamusError:
    return MandamusError(
        Code.NOT_FOUND,
        "no device waits with this code: it is mistyped, was used, or is older than ten minutes",
        remedy="look at the code again, or start anew with `mandamus login`",
    )
