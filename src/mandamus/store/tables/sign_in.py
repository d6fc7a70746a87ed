"""How people sign in by an identity provider, and devices that ask for a token; most of it lives for minutes."""

from __future__ import annotations

import sqlalchemy as sa

from mandamus.store.tables.base import Json, MicrosUtc, metadata

sign_in = sa.Table(
    "sign_in",
    metadata,
    sa.Column("id", sa.Integer, primary_key=True, autoincrement=False, comment="always 1"),
    sa.Column("declared", Json, nullable=False, comment="the provider, and what of its word counts"),
)

sign_in_subject = sa.Table(
    "sign_in_subject",
    metadata,
    sa.Column("issuer", sa.Text, primary_key=True),
    sa.Column("subject", sa.Text, primary_key=True, comment="what the provider never gives to another person"),
    sa.Column("user_name", sa.Text, nullable=False),
    sa.Column("first_us", MicrosUtc, nullable=False),
)
sa.Index("uq_sign_in_subject_user", sign_in_subject.c.issuer, sign_in_subject.c.user_name, unique=True)

sign_in_member = sa.Table(
    "sign_in_member",
    metadata,
    sa.Column("group_name", sa.Text, primary_key=True),
    sa.Column("user_name", sa.Text, primary_key=True, index=True),
    sa.Column("until_us", MicrosUtc, nullable=False, comment="the provider's word holds so long after a sign-in"),
)

sign_in_flow = sa.Table(
    "sign_in_flow",
    metadata,
    sa.Column("state", sa.LargeBinary, primary_key=True, comment="SHA-256 of the state, which only the browser keeps"),
    sa.Column("path", sa.Text, nullable=False, comment="where to go on afterwards"),
    sa.Column("user_name", sa.Text, comment="who has to come back, when somebody signs in again"),
    sa.Column("before", sa.LargeBinary, comment="SHA-256 of the secret of the session that it takes the place of"),
    sa.Column("expires_us", MicrosUtc, nullable=False, index=True),
    sa.Column("used_us", MicrosUtc),
)

session_authn = sa.Table(
    "session_authn",
    metadata,
    sa.Column("session", sa.Text, primary_key=True),
    sa.Column("issuer", sa.Text, nullable=False),
    sa.Column("at_us", MicrosUtc, comment="when the person showed who they are; null when the provider does not say"),
    sa.Column("acr", sa.Text, nullable=False, comment="how, as the provider calls it"),
)

device = sa.Table(
    "device",
    metadata,
    sa.Column("id", sa.Text, primary_key=True),
    sa.Column("device_hash", sa.LargeBinary, nullable=False, unique=True, comment="SHA-256 of the device's code"),
    sa.Column("user_hash", sa.LargeBinary, nullable=False, unique=True, comment="SHA-256 of what the person types"),
    sa.Column("name", sa.Text, nullable=False, comment="what it calls itself"),
    sa.Column("address", sa.Text, nullable=False, comment="where it asked from, until somebody answers"),
    sa.Column("permissions", Json, comment="null for all that the user may"),
    sa.Column("created_us", MicrosUtc, nullable=False),
    sa.Column("expires_us", MicrosUtc, nullable=False, index=True),
    sa.Column("interval_us", sa.BigInteger, nullable=False, comment="so long it has to wait between two questions"),
    sa.Column("asked_us", MicrosUtc, comment="when it last asked"),
    sa.Column("state", sa.Text, nullable=False, comment="waiting, granted, refused or taken"),
    sa.Column("user_name", sa.Text, comment="who said yes or no"),
    sa.Column("authn", sa.Text, comment="how they had come in"),
)

token_authn = sa.Table(
    "token_authn",
    metadata,
    sa.Column("token", sa.Text, primary_key=True),
    sa.Column("authn", sa.Text, nullable=False, comment="how whoever got it had come in, when that was not verified"),
)
