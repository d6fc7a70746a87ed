"""The keys that a home holds and those that its log names: who signs the next checkpoint, and whom to believe."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import sqlalchemy as sa

from mandamus.audit import store, succession
from mandamus.audit.leaf import decode
from mandamus.audit.signer import Signer, Verifier, parse_vkey
from mandamus.audit.succession import Succession
from mandamus.audit.trust import Trust, parse_trust
from mandamus.kernel.errors import Code, MandamusError

Find = Callable[[], Sequence[Signer]]
"""Gives the private keys that can be had now, those named by the operator first; all have the log's origin as name."""


class Keyring:
    """The keys of one log. The log's own leaves say which of them sign; a key that none of them names signs nothing."""

    def __init__(self, name: str, find: Find) -> None:
        self.name = name
        self._find = find
        self._held: tuple[Signer, ...] = ()
        self._succession: Succession | None = None

    @property
    def trust(self) -> Trust:
        """Every key of the log as far as this process has read it, with the sizes of its time."""
        return self._known.trust

    @property
    def newest(self) -> Verifier:
        """The key that signs, the newer one while there are two."""
        return self._known.signing[-1]

    def refresh(self, conn: sa.Connection) -> Succession:
        """Read again what the log says about its keys; raises ``audit_tampered`` when that is not sound."""
        opened = store.leaf_at(conn, opening_stream(self.name), 0)
        if opened is None:
            self._succession = succession.begin(self._first())
        else:
            data = decode(opened)["data"]
            past = (data.get("continues") or {}).get("trust")
            begun = succession.begin(
                parse_vkey(str(data.get("key"))), parse_trust("\n".join(past)) if past else succession.NOBODY
            )
            self._succession = succession.follow(begun, store.key_leaves(conn, key_stream(self.name)))
        return self._succession

    def locked(self, conn: sa.Connection) -> Succession:
        """The same as ``refresh``, and until the transaction ends nobody else says anything about the keys."""
        store.lock_stream(conn, key_stream(self.name))
        return self.refresh(conn)

    def signers(self, conn: sa.Connection) -> tuple[Signer, ...]:
        """Who signs the next checkpoint: one key, or the old one and the new one.

        Raises ``audit_untrusted`` when the home does not hold a key that the log names.
        """
        wanted = self.refresh(conn).signing
        if any(self._held_by(key) is None for key in wanted):
            # Another process may have made a key since.
            self._held = tuple(self._find())
        found = [self._held_by(key) for key in wanted]
        for key, signer in zip(wanted, found, strict=True):
            if signer is None:
                raise MandamusError(
                    Code.AUDIT_UNTRUSTED,
                    f"the log is signed by the key {key.vkey}, which this home does not hold",
                    remedy="restore the home's keys from the backup that belongs to this log, or set the key's source; "
                    "when the key is lost, `mandamus audit new-epoch` is the way on",
                    context={"key": key.vkey, "held": [one.vkey for one in self._held]},
                )
        return tuple(signer for signer in found if signer is not None)

    def strangers(self) -> list[Signer]:
        """The held keys that the log does not name yet: what a rotation can go to."""
        self._held = tuple(self._find())
        return [one for one in self._held if one.verifier not in self._known.signing and not self._past(one.verifier)]

    @property
    def _known(self) -> Succession:
        if self._succession is None:
            self._succession = succession.begin(self._first())
        return self._succession

    def _past(self, key: Verifier) -> bool:
        return self._known.trust.knows(key)

    def _first(self) -> Verifier:
        if not self._held:
            self._held = tuple(self._find())
        return self._held[0].verifier

    def _held_by(self, key: Verifier) -> Signer | None:
        return next((one for one in self._held if one.verifier == key), None)


def keyring_of(keys: Signer | Keyring) -> Keyring:
    """A key alone is the ring of a home that holds no other."""
    return keys if isinstance(keys, Keyring) else Keyring(keys.name, lambda: [keys])


def opening_stream(name: str) -> str:
    """The chain whose first leaf opens the log."""
    return f"log/{name}"


def key_stream(name: str) -> str:
    """The chain of what is said about the log's keys."""
    return f"log-key/{name}"
