"""Runs, their steps, the edges between steps, and approvals."""

from __future__ import annotations

import sqlalchemy as sa

from mandamus.store.tables.base import Json, MicrosUtc, metadata

run = sa.Table(
    "run",
    metadata,
    sa.Column("id", sa.Text, primary_key=True),
    sa.Column("workflow", sa.Text, nullable=False),
    sa.Column("workflow_file", sa.Text, nullable=False),
    sa.Column("workflow_digest", sa.Text, nullable=False),
    sa.Column("source", sa.Text, nullable=False),
    sa.Column("project", sa.Text, nullable=False, comment="the registered project it came from; empty when none is"),
    sa.Column("environment", sa.Text, nullable=False),
    sa.Column("environment_digest", sa.Text, nullable=False),
    sa.Column("requester", Json, nullable=False),
    sa.Column("requested_by", sa.Text, nullable=False, server_default="", comment="the requester's name"),
    sa.Column("makers", Json, nullable=False),
    sa.Column("inputs", Json, nullable=False),
    sa.Column("reason", sa.Text, nullable=False),
    sa.Column("ticket", sa.Text, nullable=False, server_default=""),
    sa.Column("plan_only", sa.Boolean, nullable=False),
    sa.Column("requires", Json, nullable=False, comment="approvals that policy asked for when it was requested"),
    sa.Column("state", sa.Text, nullable=False),
    sa.Column("steps_left", sa.Integer, nullable=False),
    sa.Column("wakes", sa.Integer, nullable=False, comment="continuations enqueued so far; names the next one"),
    sa.Column("wakes_seen", sa.Integer, nullable=False, comment="of those, how many an advance has looked at"),
    sa.Column("cancel_requested", sa.Boolean, nullable=False),
    sa.Column("error", Json),
    sa.Column("evidence", sa.Text, comment="digest of the sealed bundle"),
    sa.Column("requested_us", MicrosUtc, nullable=False),
    sa.Column("closed_us", MicrosUtc),
)
sa.Index("ix_run_state", run.c.state, run.c.id)
for _column in (run.c.requested_by, run.c.environment, run.c.project, run.c.workflow):
    sa.Index(f"ix_run_{_column.name}", _column, run.c.id)

step = sa.Table(
    "step",
    metadata,
    sa.Column("run", sa.ForeignKey("run.id"), primary_key=True),
    sa.Column("name", sa.Text, primary_key=True),
    sa.Column("ordinal", sa.Integer, nullable=False),
    sa.Column("state", sa.Text, nullable=False),
    sa.Column("attempt", sa.Integer, nullable=False),
    sa.Column("tries_left", sa.Integer, nullable=False),
    sa.Column("needs_left", sa.Integer, nullable=False, comment="dependencies not yet finished; ready at 0"),
    sa.Column("not_before_us", MicrosUtc, nullable=False, comment="back-off of a retry"),
    sa.Column("binding", Json, comment="the canonical binding; its digest is what people approve"),
    sa.Column("plan", Json, comment="digests of the plan's parts, see runs.model.PlanRecord"),
    sa.Column("requires", Json, comment="approvals asked for, see runs.model.Requirement"),
    sa.Column("judges", sa.Text, comment="digest of the policy sets and approvers it was judged by"),
    sa.Column("decisions", Json, comment="ids of the decisions this attempt stands on"),
    sa.Column("outputs", Json),
    sa.Column("error", Json),
    sa.Column("changed_us", MicrosUtc, nullable=False),
)
sa.Index("ix_step_ready", step.c.run, step.c.state, step.c.needs_left)
_waits = step.c.state == sa.literal_column("'waiting'")
sa.Index("ix_step_waiting", step.c.run, sqlite_where=_waits, postgresql_where=_waits)

step_edge = sa.Table(
    "step_edge",
    metadata,
    sa.Column("run", sa.Text, primary_key=True),
    sa.Column("before", sa.Text, primary_key=True),
    sa.Column("after", sa.Text, primary_key=True),
)

lock_waiter = sa.Table(
    "lock_waiter",
    metadata,
    sa.Column("environment", sa.Text, primary_key=True),
    sa.Column("state", sa.Text, primary_key=True),
    sa.Column("run", sa.Text, primary_key=True),
    sa.Column("step", sa.Text, primary_key=True),
)

approval = sa.Table(
    "approval",
    metadata,
    sa.Column("id", sa.Text, primary_key=True),
    sa.Column("run", sa.Text, nullable=False),
    sa.Column("step", sa.Text, nullable=False),
    sa.Column("attempt", sa.Integer, nullable=False),
    sa.Column("binding", sa.Text, nullable=False),
    sa.Column("verdict", sa.Text, nullable=False),
    sa.Column("by_user", sa.Text, nullable=False),
    sa.Column("group_name", sa.Text, nullable=False),
    sa.Column("document", Json, nullable=False, comment="the signed approval, canonical"),
    sa.Column("at_us", MicrosUtc, nullable=False),
    sa.Column("expires_us", MicrosUtc, nullable=False),
    sa.UniqueConstraint("run", "step", "binding", "by_user"),
)
