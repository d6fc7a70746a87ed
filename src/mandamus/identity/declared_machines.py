"""Declares which other systems let programs in, and what a provider of identities may take over; tells the log."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from mandamus.audit.difference import differences
from mandamus.audit.kinds import Kind
from mandamus.audit.model import Event, Resource
from mandamus.audit.service import Audit
from mandamus.identity import exchange_store, provided_store, store
from mandamus.identity.exchange import Exchange
from mandamus.identity.model import Nature
from mandamus.identity.provided import What
from mandamus.kernel import canonical
from mandamus.kernel.access import Permission, Subject, authorize, requires
from mandamus.kernel.errors import Code, MandamusError
from mandamus.store.database import Database, Tx


@dataclass(frozen=True)
class Machines:
    """What a platform file says of other systems; None where it says nothing, and everything stays as it is."""

    exchanges: tuple[Exchange, ...] | None = None
    users: tuple[str, ...] | None = None
    groups: tuple[str, ...] | None = None


class DeclaredMachines:
    """The other systems of one home."""

    def __init__(self, db: Database, audit: Audit) -> None:
        self._db = db
        self._audit = audit

    @requires(Permission.IDENTITY_READ)
    def exchanges(self, _who: Subject) -> list[Exchange]:
        """Every exchange, by name."""
        with self._db.read() as conn:
            return exchange_store.declared(conn)

    def apply(self, tx: Tx, who: Subject, machines: Machines) -> None:
        """Declare them: what a section says is all there is of it.

        Raises ``forbidden``, and ``not_found`` for an account that is no service account.
        """
        if machines == Machines():
            return
        authorize(who, Permission.IDENTITY_WRITE)
        if machines.exchanges is not None:
            self._apply_exchanges(tx, who, machines.exchanges)
        if machines.users is not None or machines.groups is not None:
            self._apply_provisioning(tx, who, machines.users or (), machines.groups or ())

    def _apply_exchanges(self, tx: Tx, who: Subject, exchanges: Sequence[Exchange]) -> None:
        before = {each.name: each for each in exchange_store.declared(tx.conn)}
        made = []
        for each in exchanges:
            user = store.get_user(tx.conn, each.account)
            if user is None or user.nature is not Nature.SERVICE_ACCOUNT:
                raise MandamusError(
                    Code.NOT_FOUND,
                    f"the exchange {each.name} is for {each.account}, which is no service account",
                    remedy=f"add `{each.account}` under `service_accounts`",
                )
            was = before.get(each.name)
            same = was is not None and replace(was, by="") == replace(each, by="")
            made.append(was if was is not None and same else replace(each, by=store.by(who)))
        if made == list(before.values()):
            return
        exchange_store.put_declared(tx.conn, made)
        changes = differences({name: _told(each) for name, each in before.items()}, {e.name: _told(e) for e in made})
        self._record(tx, who, Kind.EXCHANGE_APPLIED, {"changes": changes})

    def _apply_provisioning(self, tx: Tx, who: Subject, users: Sequence[str], groups: Sequence[str]) -> None:
        owner = store.get_owner(tx.conn)
        if owner in users:
            raise MandamusError(
                Code.FORBIDDEN,
                f"{owner} owns this home, and no provider takes the owner over",
                remedy="leave it out of `provisioning`",
                context={"user": owner},
            )
        before = {what: provided_store.providable(tx.conn, what) for what in What}
        after = {What.USER: frozenset(users), What.GROUP: frozenset(groups)}
        if before == after:
            return
        for what, names in after.items():
            provided_store.put_providable(tx.conn, what, sorted(names))
        changes = differences(
            {what.value: canonical.digest_of(sorted(names)) for what, names in before.items()},
            {what.value: canonical.digest_of(sorted(names)) for what, names in after.items()},
        )
        self._record(tx, who, Kind.PROVISIONING_APPLIED, {"changes": changes})

    def _record(self, tx: Tx, who: Subject, kind: Kind, data: Mapping[str, Any]) -> None:
        self._audit.record(tx, Event(kind, who, Resource("identity", "machines"), data=data))


def _told(exchange: Exchange) -> dict[str, Any]:
    kept = exchange.to_json()
    return {name: value for name, value in kept.items() if name not in {"format", "name", "by"}}
