"""Exchanges as rows, and which tokens were taken already."""

from __future__ import annotations

from collections.abc import Iterable

import sqlalchemy as sa

from mandamus.identity.exchange import Exchange, exchange_from
from mandamus.kernel import canonical
from mandamus.store.tables.identity import identity_token
from mandamus.store.tables.machines import identity_exchange, identity_exchanged


def declared(conn: sa.Connection) -> list[Exchange]:
    """Every exchange, by name."""
    found = conn.scalars(sa.select(identity_exchange.c.declared).order_by(identity_exchange.c.name))
    return [exchange_from(canonical.loads(each)) for each in found]


def put_declared(conn: sa.Connection, exchanges: Iterable[Exchange]) -> None:
    """Exactly these are declared."""
    conn.execute(identity_exchange.delete())
    rows = [{"name": each.name, "declared": canonical.dumps(each.to_json())} for each in exchanges]
    if rows:
        conn.execute(identity_exchange.insert(), rows)


def take(conn: sa.Connection, hashed: bytes, until_us: int, now_us: int) -> bool:
    """Take a token, once; False when it was taken before. Those that have expired are forgotten."""
    conn.execute(identity_exchanged.delete().where(identity_exchanged.c.until_us <= now_us))
    found = conn.execute(sa.select(identity_exchanged.c.hash).where(identity_exchanged.c.hash == hashed)).first()
    if found is not None:
        return False
    conn.execute(identity_exchanged.insert().values(hash=hashed, until_us=until_us))
    return True


def drop_ended(conn: sa.Connection, account: str, name: str, before_us: int) -> None:
    """Forget tokens that such an exchange made, long after they ended: a pipeline makes thousands."""
    token = identity_token.c
    conn.execute(
        identity_token.delete().where(token.user_name == account, token.name == name, token.expires_us < before_us)
    )
