"""Every kind of audit event there is, with the data fields it may carry: an allow-list, never a mask."""

from __future__ import annotations

from enum import Enum


class Kind(Enum):
    """``(text, allowed data fields, what happened)``; any other data field is refused when the event is recorded.

    A leaf names its kind by the text; a kind is never renamed and a field never changes its meaning.
    """

    HOME_CREATED = ("home.created", frozenset[str](), "A home was made")
    LOG_OPENED = (
        "log.opened",
        frozenset({"origin", "key", "platform_key", "continues"}),
        "The log was opened; names its first key, the platform's key, and the log that it goes on from if any",
    )
    LOG_KEY_ROTATED = (
        "log.key_rotated",
        frozenset({"old", "new", "ends_us", "statement"}),
        "Another key began to sign the log beside the old one; both keys signed the statement",
    )
    LOG_KEY_RETIRED = ("log.key_retired", frozenset({"old", "new"}), "The older of two keys signs no more")
    LOG_ANCHORED = (
        "log.anchored",
        frozenset({"anchor", "kind", "size", "ref"}),
        "A checkpoint was put into an anchor, a place where this home cannot take it back",
    )
    LOG_HEARTBEAT = ("log.heartbeat", frozenset[str](), "Nothing else happened for a while; proves the silence")
    AUDIT_REDACTED = (
        "audit.redacted",
        frozenset({"subject", "names", "addresses", "user"}),
        "What is known of a person beside the log was erased; says how much",
    )
    AUDIT_ERASURE_DENIED = (
        "audit.erasure_denied",
        frozenset({"subject", "holds"}),
        "What is known of a person was not erased, because of holds",
    )
    AUDIT_HELD = ("audit.held", frozenset({"hold", "scope", "value"}), "A legal hold began")
    AUDIT_RELEASED = ("audit.released", frozenset({"hold"}), "A legal hold ended")
    AUDIT_READ = ("audit.read", frozenset({"filter", "index"}), "Someone searched the log, or looked at a leaf of it")
    AUDIT_VERIFIED = ("audit.verified", frozenset({"size", "outcome"}), "The log was verified from its bytes")
    AUDIT_EXPORTED = (
        "audit.exported",
        frozenset({"sink", "form", "next", "declared"}),
        "Someone began to send the log to a sink, from a leaf on; the event is sent with it",
    )
    AUDIT_RECONCILED = (
        "audit.reconciled",
        frozenset({"sink", "size", "outcome"}),
        "What a sink has was compared with the log",
    )

    ACCESS_DENIED = ("access.denied", frozenset({"permission"}), "A subject asked for what it may not do")
    ENVIRONMENT_APPLIED = (
        "environment.applied",
        frozenset({"environment", "digest", "previous"}),
        "An environment was declared or changed",
    )
    IDENTITY_APPLIED = ("identity.applied", frozenset({"users", "groups"}), "Users and groups were declared or changed")
    PROJECT_APPLIED = (
        "project.applied",
        frozenset({"project", "digest", "previous"}),
        "A project was registered or changed",
    )
    POLICY_PUBLISHED = (
        "policy.published",
        frozenset({"set", "files", "name", "version"}),
        "A version of a policy set was published",
    )
    POLICY_BACKTESTED = (
        "policy.backtested",
        frozenset({"report", "base", "candidate", "decisions", "deny_to_allow", "allow_to_deny"}),
        "A candidate was tried on the decisions that its set had made",
    )
    EXEMPTION_GRANTED = (
        "exemption.granted",
        frozenset({"exemption", "environment", "set", "rule", "address", "until_us"}),
        "A rule stopped to bind in an environment for a while",
    )
    EXEMPTION_ENDED = (
        "exemption.ended",
        frozenset({"exemption", "environment", "set", "rule", "address", "until_us"}),
        "An exemption was taken back before its time",
    )

    RUN_REQUESTED = (
        "run.requested",
        frozenset({"workflow", "workflow_digest", "source", "environment", "inputs", "plan_only", "retry_of"}),
        "Someone asked for a run",
    )
    RUN_ADMITTED = ("run.admitted", frozenset[str](), "The run passed the trigger point and its steps may be planned")
    RUN_DENIED = ("run.denied", frozenset({"decision"}), "Policy denied the run")
    RUN_CANCELLED = ("run.cancelled", frozenset[str](), "Someone cancelled the run")
    RUN_CLOSED = ("run.closed", frozenset({"state"}), "The run ended; always the last event of its stream")

    RUN_RETRIED = ("run.retried", frozenset({"steps"}), "Someone had the steps that stopped the run tried again")

    STEP_PLANNED = (
        "step.planned",
        frozenset({"attempt", "change_set", "artifact", "binding", "plan"}),
        "The step's plan is saved; these are its digests",
    )
    STEP_WAITING = (
        "step.waiting",
        frozenset({"attempt", "binding", "requires", "expires_us"}),
        "The step waits for people; says how many of which group",
    )
    STEP_MOVED = (
        "step.moved",
        frozenset({"attempt", "what", "then"}),
        "Something the binding covers moved before the apply; says what follows",
    )
    STEP_RETRYING = (
        "step.retrying",
        frozenset({"attempt", "not_before_us"}),
        "The attempt failed; another one follows",
    )
    STEP_FINISHED = (
        "step.finished",
        frozenset({"attempt", "state", "outputs"}),
        "The step ended, or was skipped because what it needs did not pass",
    )

    DECISION_RECORDED = (
        "decision.recorded",
        frozenset({"decision", "point", "outcome", "input", "document", "sets", "engine"}),
        "A decision of the policy sets, with the digests of the exact input and of all it says",
    )
    APPROVAL_RECORDED = (
        "approval.recorded",
        frozenset({"approval", "binding", "verdict", "group", "expires_us", "signature"}),
        "A named human said yes or no to one bound digest",
    )
    APPROVAL_REFUSED = (
        "approval.refused",
        frozenset({"binding", "reason"}),
        "A yes or no that does not count, for example from a maker",
    )

    EFFECT_INTENDED = (
        "effect.intended",
        frozenset({"attempt", "phase", "binding", "artifact", "token"}),
        "The outside world is about to be changed; in a signed checkpoint before it is",
    )
    EFFECT_FINISHED = (
        "effect.finished",
        frozenset({"attempt", "phase", "outcome", "result"}),
        "The change ended; the result is named by its digest",
    )
    EFFECT_INDETERMINATE = (
        "effect.indeterminate",
        frozenset({"attempt", "phase"}),
        "Nobody knows whether the change happened",
    )
    EFFECT_SETTLED = (
        "effect.settled",
        frozenset({"attempt", "phase", "as", "by_probe"}),
        "A probe or a person said what became of the change",
    )

    STATE_WRITTEN = (
        "state.written",
        frozenset({"environment", "state", "lineage", "serial", "digest"}),
        "A new version of a tool's state was stored",
    )
    EVIDENCE_SEALED = ("evidence.sealed", frozenset({"digest"}), "The bundle that proves the run was sealed")
    EVIDENCE_EXPORTED = ("evidence.exported", frozenset({"digest"}), "The bundle was handed out")

    @property
    def text(self) -> str:
        """The kind as it stands in the leaf."""
        return self.value[0]

    @property
    def fields(self) -> frozenset[str]:
        """The data fields this kind may carry."""
        return self.value[1]

    @property
    def doc(self) -> str:
        """What happened, in one sentence."""
        return self.value[2]
