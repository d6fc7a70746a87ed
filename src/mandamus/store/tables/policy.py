"""Published policy sets and recorded decisions."""

from __future__ import annotations

import sqlalchemy as sa

from mandamus.store.tables.base import Json, MicrosUtc, metadata

policy_set = sa.Table(
    "policy_set",
    metadata,
    sa.Column("digest", sa.Text, primary_key=True, comment="of the snapshot, a blob"),
    sa.Column("files", Json, nullable=False),
    sa.Column("published_us", MicrosUtc, nullable=False),
)

policy_version = sa.Table(
    "policy_version",
    metadata,
    sa.Column("name", sa.Text, primary_key=True),
    sa.Column("version", sa.Integer, primary_key=True, autoincrement=False),
    sa.Column("digest", sa.ForeignKey("policy_set.digest"), nullable=False),
    sa.Column("by_user", sa.Text, nullable=False),
    sa.Column("at_us", MicrosUtc, nullable=False),
)

policy_report = sa.Table(
    "policy_report",
    metadata,
    sa.Column("id", sa.Text, primary_key=True),
    sa.Column("base", sa.Text, nullable=False, comment="digest of the version whose decisions were replayed"),
    sa.Column("candidate", sa.Text, nullable=False),
    sa.Column("decisions", sa.BigInteger, nullable=False),
    sa.Column("report", Json, nullable=False),
    sa.Column("by_user", sa.Text, nullable=False),
    sa.Column("at_us", MicrosUtc, nullable=False),
)
sa.Index("ix_policy_report_pair", policy_report.c.candidate, policy_report.c.base)

exemption = sa.Table(
    "exemption",
    metadata,
    sa.Column("id", sa.Text, primary_key=True),
    sa.Column("environment", sa.Text, nullable=False),
    sa.Column("set_name", sa.Text, nullable=False),
    sa.Column("rule", sa.Text, nullable=False),
    sa.Column("address", sa.Text, nullable=False),
    sa.Column("by_user", sa.Text, nullable=False),
    sa.Column("why", sa.Text, nullable=False),
    sa.Column("granted_us", MicrosUtc, nullable=False),
    sa.Column("until_us", MicrosUtc, nullable=False),
    sa.Column("ended_us", MicrosUtc, comment="when somebody took it back; expiry needs no one"),
)
sa.Index("ix_exemption_active", exemption.c.environment, exemption.c.until_us)

decision = sa.Table(
    "decision",
    metadata,
    sa.Column("id", sa.Text, primary_key=True),
    sa.Column("run", sa.Text),
    sa.Column("step", sa.Text),
    sa.Column("project", sa.Text, nullable=False, server_default="", comment="that of its run; empty for none"),
    sa.Column("point", sa.Text, nullable=False),
    sa.Column("outcome", sa.Text, nullable=False),
    sa.Column("environment", sa.Text, nullable=False),
    sa.Column("sets", Json, nullable=False, comment="the attached sets, see policy.model.Attached"),
    sa.Column(
        "input", Json, comment="the exact bytes judged; null when they are large: then a blob under input_digest"
    ),
    sa.Column("input_digest", sa.Text, nullable=False),
    sa.Column("engine", sa.Text, nullable=False),
    sa.Column("duration_us", sa.BigInteger, nullable=False),
    sa.Column("result", Json, nullable=False, comment="what it says in full, and the raw values per set"),
    sa.Column("error", sa.Text),
    sa.Column("at_us", MicrosUtc, nullable=False, comment="the clock the policy saw"),
)
sa.Index("ix_decision_run", decision.c.run, decision.c.id)
sa.Index("ix_decision_point", decision.c.point, decision.c.id)
sa.Index("ix_decision_outcome", decision.c.outcome, decision.c.id)
sa.Index("ix_decision_environment", decision.c.environment, decision.c.id)
