"""Environments: every version ever applied, and which one is current; projects as they are."""

from __future__ import annotations

import sqlalchemy as sa

from mandamus.store.tables.base import Json, MicrosUtc, Serial, metadata

environment_version = sa.Table(
    "environment_version",
    metadata,
    sa.Column("id", Serial, primary_key=True),
    sa.Column("name", sa.Text, nullable=False),
    sa.Column("digest", sa.Text, nullable=False),
    sa.Column("document", Json, nullable=False, comment="canonical environment/1; append-only"),
    sa.Column("applied_by", sa.Text, nullable=False),
    sa.Column("applied_us", MicrosUtc, nullable=False),
)
sa.Index("ix_environment_version_name_digest", environment_version.c.name, environment_version.c.digest)

environment = sa.Table(
    "environment",
    metadata,
    sa.Column("name", sa.Text, primary_key=True),
    sa.Column("version", sa.ForeignKey("environment_version.id"), comment="the current one; null while it is made"),
)

project = sa.Table(
    "project",
    metadata,
    sa.Column("name", sa.Text, primary_key=True),
    sa.Column("root", sa.Text, nullable=False, unique=True, comment="the folder its runs come from"),
    sa.Column("document", Json, nullable=False, comment="canonical project/1; earlier ones are named in the log"),
    sa.Column("applied_by", sa.Text, nullable=False),
    sa.Column("applied_us", MicrosUtc, nullable=False),
)
