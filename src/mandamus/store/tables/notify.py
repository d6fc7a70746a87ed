"""Who is told of events, how far each has come in the log, and the messages on their way."""

from __future__ import annotations

import sqlalchemy as sa

from mandamus.store.tables.base import Json, MicrosUtc, Serial, metadata

notify_subscription = sa.Table(
    "notify_subscription",
    metadata,
    sa.Column("name", sa.Text, primary_key=True),
    sa.Column("document", Json, nullable=False, comment="as declared; secrets stand in it by reference"),
    sa.Column("applied_by", sa.Text, nullable=False),
    sa.Column("applied_us", MicrosUtc, nullable=False),
    sa.Column("origin", sa.Text, nullable=False, comment="of the log that the next index is of"),
    sa.Column("next_index", sa.BigInteger, nullable=False, comment="of the first leaf that was not looked at"),
    sa.Column("event_id", sa.BigInteger, nullable=False, comment="the row of the last event that was looked at"),
    sa.Column("disabled_us", MicrosUtc, comment="when the receiver said that it wants no more"),
)

notify_delivery = sa.Table(
    "notify_delivery",
    metadata,
    sa.Column("id", Serial, primary_key=True),
    sa.Column("subscription", sa.Text, nullable=False),
    sa.Column("event", sa.Text, nullable=False, comment="id of the event, and of the message at every attempt"),
    sa.Column("kind", sa.Text, nullable=False),
    sa.Column("run", sa.Text),
    sa.Column("project", sa.Text),
    sa.Column("message", Json, nullable=False),
    sa.Column("state", sa.Text, nullable=False),
    sa.Column("attempts", sa.Integer, nullable=False),
    sa.Column("due_us", MicrosUtc, nullable=False),
    sa.Column("made_us", MicrosUtc, nullable=False),
    sa.Column("ended_us", MicrosUtc, comment="when the last attempt ended"),
    sa.Column("error", sa.Text, nullable=False, comment="of the last attempt; empty when it was taken"),
    sa.UniqueConstraint("subscription", "event"),
)
_of = notify_delivery.c
sa.Index("ix_notify_delivery_state", _of.subscription, _of.state, _of.attempts, _of.id)
