"""Users, groups and who owns the home. Names and addresses of people stand here only, where they can be erased."""

from __future__ import annotations

import sqlalchemy as sa

from mandamus.store.tables.base import Json, MicrosUtc, metadata

home = sa.Table(
    "home",
    metadata,
    sa.Column("id", sa.Integer, primary_key=True, autoincrement=False, comment="always 1"),
    sa.Column("owner", sa.Text, nullable=False, comment="the OS user who made the home"),
    sa.Column("created_us", MicrosUtc, nullable=False),
)

identity_user = sa.Table(
    "identity_user",
    metadata,
    sa.Column("name", sa.Text, primary_key=True),
    sa.Column("display_name", sa.Text, nullable=False),
    sa.Column("email", sa.Text, nullable=False),
    sa.Column("active", sa.Boolean, nullable=False),
    sa.Column("role", sa.Text, nullable=False, server_default="member"),
    sa.Column("projects", Json, comment="names of the projects the user is held to; null for all"),
    sa.Column("nature", sa.Text, nullable=False, server_default="person", comment="person, service_account or agent"),
    sa.Column("owner", sa.Text, nullable=False, server_default="", comment="who answers for a program"),
    sa.Column("since_us", MicrosUtc, comment="since when role and projects are so; null before it was kept"),
)

identity_group = sa.Table(
    "identity_group",
    metadata,
    sa.Column("name", sa.Text, primary_key=True),
    sa.Column("changed_by", sa.Text, nullable=False, comment="a maker of every change this group approves"),
)

identity_member = sa.Table(
    "identity_member",
    metadata,
    sa.Column("group_name", sa.ForeignKey("identity_group.name"), primary_key=True),
    sa.Column("user_name", sa.ForeignKey("identity_user.name"), primary_key=True),
    sa.Column("since_us", MicrosUtc, comment="since when they are in it; null before it was kept"),
)
sa.Index("ix_identity_member_user_name", identity_member.c.user_name)

identity_token = sa.Table(
    "identity_token",
    metadata,
    sa.Column("id", sa.Text, primary_key=True),
    sa.Column("hash", sa.LargeBinary, nullable=False, unique=True, comment="SHA-256 of the secret, which is not kept"),
    sa.Column("user_name", sa.Text, nullable=False, index=True),
    sa.Column("name", sa.Text, nullable=False),
    sa.Column("permissions", Json, comment="null for all that the user may"),
    sa.Column("created_us", MicrosUtc, nullable=False),
    sa.Column("expires_us", MicrosUtc, nullable=False),
    sa.Column("used_us", MicrosUtc),
    sa.Column("revoked_us", MicrosUtc),
    sa.Column("made_by", sa.Text, nullable=False, server_default="", comment="who made it for another"),
    sa.Column("behalf_of", sa.Text, comment="whom an agent acts for"),
    sa.Column("projects", Json, comment="names of the projects it is held to; null for all"),
)

identity_link = sa.Table(
    "identity_link",
    metadata,
    sa.Column("id", sa.Text, primary_key=True),
    sa.Column("hash", sa.LargeBinary, nullable=False, unique=True, comment="SHA-256 of the secret, which is not kept"),
    sa.Column("user_name", sa.Text, nullable=False),
    sa.Column("authn", sa.Text, nullable=False, comment="what the session will say of how its user came in"),
    sa.Column("created_us", MicrosUtc, nullable=False),
    sa.Column("expires_us", MicrosUtc, nullable=False),
    sa.Column("used_us", MicrosUtc),
)

identity_session = sa.Table(
    "identity_session",
    metadata,
    sa.Column("id", sa.Text, primary_key=True),
    sa.Column("hash", sa.LargeBinary, nullable=False, unique=True, comment="SHA-256 of the secret, which is not kept"),
    sa.Column("user_name", sa.Text, nullable=False),
    sa.Column("authn", sa.Text, nullable=False),
    sa.Column("opened_us", MicrosUtc, nullable=False),
    sa.Column("seen_us", MicrosUtc, nullable=False),
    sa.Column("ended_us", MicrosUtc),
)

identity_role = sa.Table(
    "identity_role",
    metadata,
    sa.Column("name", sa.Text, primary_key=True),
    sa.Column("permissions", Json, nullable=False),
    sa.Column("changed_by", sa.Text, nullable=False),
    sa.Column("since_us", MicrosUtc, nullable=False),
)

identity_grant = sa.Table(
    "identity_grant",
    metadata,
    sa.Column("name", sa.Text, primary_key=True),
    sa.Column("role", sa.Text, nullable=False, comment="a built-in one, or one of identity_role"),
    sa.Column("to_kind", sa.Text, nullable=False, comment="user or group"),
    sa.Column("to_name", sa.Text, nullable=False),
    sa.Column("projects", Json, comment="null for all"),
    sa.Column("environments", Json, comment="null for all"),
    sa.Column("windows", Json, nullable=False, comment="days, first minute and last, see identity.grants.Window"),
    sa.Column("until_us", MicrosUtc),
    sa.Column("active", sa.Boolean, nullable=False),
    sa.Column("changed_by", sa.Text, nullable=False),
    sa.Column("since_us", MicrosUtc, nullable=False),
)
sa.Index("ix_identity_grant_to", identity_grant.c.to_kind, identity_grant.c.to_name)
