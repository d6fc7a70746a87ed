"""How often anybody may fail to come in: by address and by account, for each door, remembered over a restart."""

from __future__ import annotations

import math
import threading
from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass
from ipaddress import IPv6Address, ip_address

from mandamus.identity import attempt_store
from mandamus.identity.bearer import hashed
from mandamus.kernel.clock import Clock
from mandamus.kernel.errors import Code, MandamusError
from mandamus.store.database import Database

KEYS_MAX = 10_000
ROWS_MAX = 10_000
FORGET_US = 86_400 * 1_000_000
READ_S = 5.0
"""How long what was read counts: several servers of one home hear of each other's failures that soon."""
WRITE_S = 1.0
"""One key is not written more often than that, so that a flood of failures is none of commits."""
PURGE_S = 60.0


@dataclass(frozen=True)
class Rate:
    """``failures`` at once, and so many more ``per_s`` in the long run; ``kept_from`` are worth a commit."""

    failures: float
    per_s: float
    kept_from: float = 1.0


DOORS: Mapping[str, Rate] = {
    "token": Rate(2_000, 20.0, 200),
    "link": Rate(100, 0.5),
    "callback": Rate(100, 0.5),
    "device": Rate(100, 0.5),
    "exchange": Rate(100, 0.5),
    "password": Rate(10, 1 / 60),
}
"""What is 256 random bits cannot be guessed, and is limited for what the asking costs; a password can."""


@dataclass
class _Level:
    level: float
    at_us: int
    read_s: float
    written_s: float


class Attempts:
    """The failures of one home, as one server knows them."""

    def __init__(self, db: Database, clock: Clock, doors: Mapping[str, Rate] = DOORS) -> None:
        self._db = db
        self._clock = clock
        self._doors = doors
        self._lock = threading.Lock()
        self._known: OrderedDict[bytes, _Level] = OrderedDict()
        self._purged_s: float | None = None

    def check(self, door: str, *whose: str) -> None:
        """Raise ``rate_limited`` when an address or account failed too often at a door, in the same words whichever."""
        rate = self._doors[door]
        wait_s = max((self._now(door, each) + 1 - rate.failures) / rate.per_s for each in whose)
        if wait_s > 0:
            raise MandamusError(
                Code.RATE_LIMITED,
                "too many tries to come in failed",
                remedy=f"try again in {wait_s:.0f} seconds",
                context={"retry_after_s": float(wait_s)},
                retryable=True,
            )

    def failed(self, door: str, *whose: str) -> None:
        """Count a failure of each."""
        rate, now_us, now_s = self._doors[door], self._clock.now_us(), self._clock.monotonic_s()
        for each in whose:
            level = self._now(door, each) + 1
            key = _key(door, each)
            with self._lock:
                known = self._known[key]
                known.level, known.at_us = level, now_us
                due = level >= rate.kept_from and now_s - known.written_s >= WRITE_S
                # The last one that may be is kept whatever the time: it is what makes them wait.
                due = due or level + 1 > rate.failures
                if due:
                    known.written_s = now_s
            if due:
                self._write(key, level, now_us, now_s)

    def _now(self, door: str, whose: str) -> float:
        """Failures that are not forgotten yet."""
        key, now_us, now_s = _key(door, whose), self._clock.now_us(), self._clock.monotonic_s()
        with self._lock:
            known = self._known.get(key)
            fresh = known is not None and now_s - known.read_s < READ_S
        if known is None or not fresh:
            with self._db.read() as conn:
                kept = attempt_store.levels(conn, [key]).get(key, (0.0, now_us))
            with self._lock:
                known = self._known.setdefault(key, _Level(*kept, read_s=now_s, written_s=-math.inf))
                if self._left(door, *kept, now_us) > self._left(door, known.level, known.at_us, now_us):
                    known.level, known.at_us = kept
                known.read_s = now_s
                self._known.move_to_end(key)
                while len(self._known) > KEYS_MAX:
                    self._known.popitem(last=False)
        return self._left(door, known.level, known.at_us, now_us)

    def _left(self, door: str, level: float, at_us: int, now_us: int) -> float:
        # A clock that was set back makes nobody wait for longer.
        return max(0.0, level - max(0, now_us - at_us) / 1_000_000 * self._doors[door].per_s)

    def _write(self, key: bytes, level: float, now_us: int, now_s: float) -> None:
        purge = self._purged_s is None or now_s - self._purged_s >= PURGE_S
        with self._db.begin("attempt") as tx:
            attempt_store.put(tx.conn, key, level, now_us)
            if purge:
                attempt_store.drop(tx.conn, now_us - FORGET_US, ROWS_MAX)
        if purge:
            self._purged_s = now_s


def address_of(host: str) -> str:
    """Whom an address stands for: of IPv6 the network that one customer gets (RFC 6177), else they had 2^64 of them."""
    try:
        address = ip_address(host.partition("%")[0])
    except ValueError:
        return f"address {host[:100]}"
    if isinstance(address, IPv6Address):
        if address.ipv4_mapped is not None:
            return f"address {address.ipv4_mapped}"
        return f"address {IPv6Address(int(address) >> 64 << 64)}/64"
    return f"address {address}"


def account_of(name: str) -> str:
    """Whom an account stands for, however it was typed."""
    return f"account {name.casefold()[:200]}"


def _key(door: str, whose: str) -> bytes:
    """Neither addresses nor names stand in the table."""
    return hashed(f"{door}\0{whose}")
