"""What other systems provision and exchange, who tried to come in how often, and the owner's password if any."""

from __future__ import annotations

import sqlalchemy as sa

from mandamus.store.tables.base import Json, MicrosUtc, metadata

identity_provided = sa.Table(
    "identity_provided",
    metadata,
    sa.Column("id", sa.Text, primary_key=True, comment="what the provider knows it by"),
    sa.Column("kind", sa.Text, nullable=False, comment="user or group"),
    sa.Column("name", sa.Text, nullable=False),
    sa.Column("shown", sa.Text, nullable=False, comment="what the provider calls a group; empty for a user"),
    sa.Column("folded", sa.Text, nullable=False, comment="what it calls it, in lower case: names compare like that"),
    sa.Column("external_id", sa.Text),
    sa.Column("created_us", MicrosUtc, nullable=False),
    sa.Column("changed_us", MicrosUtc, nullable=False),
    sa.Column("deleted_us", MicrosUtc, comment="since then the provider does not know it"),
)
sa.Index("uq_identity_provided_kind_name", identity_provided.c.kind, identity_provided.c.name, unique=True)
sa.Index("ix_identity_provided_kind_folded", identity_provided.c.kind, identity_provided.c.folded)
sa.Index("ix_identity_provided_kind_external_id", identity_provided.c.kind, identity_provided.c.external_id)

identity_providable = sa.Table(
    "identity_providable",
    metadata,
    sa.Column("kind", sa.Text, primary_key=True, comment="user or group"),
    sa.Column("name", sa.Text, primary_key=True, comment="declared here, and a provider may take it over"),
)

identity_exchange = sa.Table(
    "identity_exchange",
    metadata,
    sa.Column("name", sa.Text, primary_key=True),
    sa.Column("declared", Json, nullable=False, comment="whose tokens are taken, with which claims, and for what"),
)

identity_exchanged = sa.Table(
    "identity_exchanged",
    metadata,
    sa.Column("hash", sa.LargeBinary, primary_key=True, comment="SHA-256 of issuer and jti: each is taken once"),
    sa.Column("until_us", MicrosUtc, nullable=False, index=True, comment="after that it has expired anyway"),
)

identity_attempt = sa.Table(
    "identity_attempt",
    metadata,
    sa.Column("key", sa.LargeBinary, primary_key=True, comment="SHA-256 of the door and who tried: no address is kept"),
    sa.Column("level", sa.Float, nullable=False, comment="failures that have not been forgotten yet"),
    sa.Column("at_us", MicrosUtc, nullable=False, index=True),
)

identity_password = sa.Table(
    "identity_password",
    metadata,
    sa.Column("user_name", sa.Text, primary_key=True),
    sa.Column("hash", sa.Text, nullable=False, comment="Argon2id in PHC form"),
    sa.Column("set_us", MicrosUtc, nullable=False),
)
