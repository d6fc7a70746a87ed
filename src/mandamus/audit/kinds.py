"""Every kind of audit event there is, with the data fields it may carry: an allow-list, never a mask."""

from __future__ import annotations

from collections.abc import Mapping
from enum import Enum

from mandamus.audit.forms import (
    COUNT,
    DIGEST,
    FLAG,
    ID,
    KEY,
    MARK,
    NAME,
    NOTE,
    SHORT,
    SIGNATURE,
    TIME_US,
    WORD,
    Form,
    by_name,
    list_of,
    maybe,
    one_of,
    table,
    text,
)

_CHANGES = list_of(table(field=NAME, before=SHORT, after=SHORT))
"""What is different now; a long value or one that might be private stands here as its digest."""

_REQUIREMENT = table(group=NAME, count=COUNT, why=text(), override=FLAG)
_ENDED = table(origin=NAME, checkpoint=maybe(DIGEST), size=maybe(COUNT), root=maybe(SIGNATURE), trust=list_of(text()))
_NOTHING: Mapping[str, Form] = {}
_VERDICT = one_of("ok", "tampered", "incomplete", "untrusted")


class Kind(Enum):
    """``(text, allowed data fields with their forms, what happened)``; recording refuses any other field or form.

    A leaf names its kind by the text; a kind is never renamed and a field never changes its meaning.
    """

    def __init__(self, text: str, fields: Mapping[str, Form], doc: str) -> None:
        """Every event reads these, so they are attributes and no properties."""
        self.text = text
        self.fields = fields
        self.doc = doc
        self.checks = {name: form.fits for name, form in fields.items()}

    HOME_CREATED = ("home.created", _NOTHING, "A home was made")
    HOME_CONFIGURED = (
        "home.configured",
        {"changes": _CHANGES, "now": by_name(SHORT)},
        "Settings, key sources, sinks, anchors or witnesses of the home are not as they were when it was last opened",
    )
    LOG_OPENED = (
        "log.opened",
        {"origin": NAME, "key": KEY, "platform_key": KEY, "continues": maybe(_ENDED)},
        "The log was opened; names its first key, the platform's key, and the log that it goes on from if any",
    )
    LOG_KEY_ROTATED = (
        "log.key_rotated",
        {"old": KEY, "new": KEY, "ends_us": TIME_US, "statement": NOTE},
        "Another key began to sign the log beside the old one; both keys signed the statement",
    )
    LOG_KEY_RETIRED = ("log.key_retired", {"old": KEY, "new": KEY}, "The older of two keys signs no more")
    LOG_ANCHORED = (
        "log.anchored",
        {"anchor": NAME, "kind": WORD, "size": COUNT, "ref": text(2_000)},
        "A checkpoint was put into an anchor, a place where this home cannot take it back",
    )
    LOG_HEARTBEAT = ("log.heartbeat", _NOTHING, "Nothing else happened for a while; proves the silence")
    CLOCK_STEPPED = (
        "clock.stepped",
        {"behind_us": COUNT, "against": NAME},
        "The wall clock was set back: it is behind the clock that only goes forward, or behind the newest event",
    )
    AUDIT_REDACTED = (
        "audit.redacted",
        {"subject": NAME, "names": COUNT, "addresses": COUNT, "user": FLAG},
        "What is known of a person beside the log was erased; says how much",
    )
    AUDIT_ERASURE_DENIED = (
        "audit.erasure_denied",
        {"subject": NAME, "holds": list_of(NAME), "class": NAME, "until_us": TIME_US},
        "What is known of a person was not erased, because of holds, or of a class of events that is kept until then",
    )
    AUDIT_HELD = (
        "audit.held",
        {"hold": NAME, "scope": one_of("subject", "run", "project"), "value": NAME},
        "A legal hold began",
    )
    AUDIT_RELEASED = ("audit.released", {"hold": NAME}, "A legal hold ended")
    AUDIT_PRUNED = (
        "audit.pruned",
        {"origin": NAME, "min_index": COUNT, "before_us": TIME_US},
        "Events below an index of the log are kept no longer; their hashes and all checkpoints are",
    )
    RETENTION_APPLIED = (
        "retention.applied",
        {"class": NAME, "digest": DIGEST, "previous": maybe(DIGEST), "at_least_s": COUNT, "at_most_s": COUNT},
        "How long a class of events is kept was declared or changed",
    )
    AUDIT_READ = (
        "audit.read",
        {"filter": text(2_000), "index": COUNT},
        "Someone searched the log, or looked at a leaf of it",
    )
    AUDIT_VERIFIED = ("audit.verified", {"size": COUNT, "outcome": _VERDICT}, "The log was verified from its bytes")
    AUDIT_EXPORTED = (
        "audit.exported",
        {"sink": NAME, "form": WORD, "next": COUNT, "declared": DIGEST},
        "Someone began to send the log to a sink, from a leaf on; the event is sent with it",
    )
    AUDIT_RECONCILED = (
        "audit.reconciled",
        {"sink": NAME, "size": COUNT, "outcome": _VERDICT},
        "What a sink has was compared with the log",
    )

    ACCESS_DENIED = ("access.denied", {"permission": NAME}, "A subject asked for what it may not do")
    CHANGE_REFUSED = (
        "change.refused",
        {"permission": NAME, "row": NAME},
        "A verb that changes something was refused, because the disk of the log is short of space",
    )
    ACCESS_READ = (
        "access.read",
        {"verb": NAME, "about": NAME},
        "An auditor read something that leaves no other event; says with which verb, of what",
    )
    ENVIRONMENT_APPLIED = (
        "environment.applied",
        {"environment": NAME, "digest": DIGEST, "previous": maybe(DIGEST), "changes": _CHANGES},
        "An environment was declared or changed",
    )
    IDENTITY_CLAIMED = (
        "identity.claimed",
        {"claimed": NAME, "os_user": NAME},
        "The owner of the home acts as somebody else from here on, in one process; or nobody may, and it was refused",
    )
    IDENTITY_APPLIED = (
        "identity.applied",
        {"users": DIGEST, "groups": DIGEST, "changes": _CHANGES},
        "Users and groups were declared or changed",
    )
    ACCESS_APPLIED = (
        "access.applied",
        {"access": DIGEST, "changes": _CHANGES},
        "Roles and grants were declared or changed",
    )
    ACCESS_ENDED = (
        "access.ended",
        {"user": NAME, "sessions": COUNT, "tokens": COUNT, "links": COUNT},
        "Everything somebody could come in with was ended at once",
    )
    ACCESS_REVIEWED = (
        "access.reviewed",
        {"review": DIGEST, "permissions": COUNT, "approvers": COUNT},
        "Who may do what, and who may approve what, was read as a whole",
    )
    IDENTITY_PROVISIONED = (
        "identity.provisioned",
        {
            "what": one_of("user", "group"),
            "name": NAME,
            "id": ID,
            "did": one_of("created", "changed", "activated", "deactivated", "deleted"),
            "changes": _CHANGES,
            "sessions": COUNT,
            "tokens": COUNT,
        },
        "A provider of identities made, changed or ended a user or a group, with how many sessions and tokens ended",
    )
    TOKEN_CREATED = (
        "token.created",
        {"token": ID, "user": NAME, "expires_us": TIME_US, "device": ID},
        "An access token was made, by hand or for a device; the log has its id, never its secret",
    )
    TOKEN_EXCHANGED = (
        "token.exchanged",
        {"token": ID, "exchange": NAME, "issuer": NAME, "user": NAME, "expires_us": TIME_US, "claims": by_name(SHORT)},
        "A token of another issuer was taken for a short one of ours; the log has the claims that fitted, no secret",
    )
    TOKEN_EXCHANGE_REFUSED = (
        "token.exchange_refused",
        {"why": WORD},
        "What claims to be a token of an issuer that is believed was not taken; says which part of it was wrong",
    )
    EXCHANGE_APPLIED = (
        "exchange.applied",
        {"changes": _CHANGES},
        "It was declared or changed for which tokens of other issuers programs get one of ours",
    )
    PROVISIONING_APPLIED = (
        "provisioning.applied",
        {"changes": _CHANGES},
        "It was declared or changed which users and groups a provider of identities may take over",
    )
    TOKEN_REVOKED = ("token.revoked", {"token": ID, "user": NAME, "expires_us": TIME_US}, "An access token was ended")
    PASSWORD_SET = ("password.set", _NOTHING, "The owner may sign in to the console by a password from here on")
    PASSWORD_REMOVED = ("password.removed", _NOTHING, "Nobody may sign in by a password any more")
    SESSION_LINKED = (
        "session.linked",
        {"link": ID, "user": NAME, "expires_us": TIME_US},
        "A link was made that signs a user in once; the log has its id, never its secret",
    )
    SESSION_OPENED = (
        "session.opened",
        {"session": ID, "link": ID, "issuer": NAME, "at_us": maybe(TIME_US), "acr": SHORT},
        "Somebody signed in to the console: by a link, or by a provider, which says when and how they proved it",
    )
    SESSION_ENDED = (
        "session.ended",
        {"session": ID, "why": WORD},
        "A session ended: by hand, by time, with its user",
    )
    SESSION_REFUSED = (
        "session.refused",
        {"why": WORD},
        "A link that was no good, or not any more, was refused, or what came back from a provider",
    )
    SIGN_IN_APPLIED = (
        "sign_in.applied",
        {"changes": _CHANGES},
        "How people sign in by a provider was declared or changed, or that they do not any more",
    )
    SIGN_IN_LINKED = (
        "sign_in.linked",
        {"user": NAME, "issuer": NAME, "subject": DIGEST, "created": FLAG},
        "A person of a provider is a user from here on, who may have been made by that",
    )
    SIGN_IN_GROUPS = (
        "sign_in.groups",
        {"user": NAME, "issuer": NAME, "groups": list_of(NAME), "until_us": TIME_US},
        "In which groups a user is by the word of the provider that they signed in by, and until when",
    )
    DEVICE_GRANTED = (
        "device.granted",
        {"device": ID, "permissions": maybe(list_of(NAME))},
        "Somebody let a device that asked have a token of theirs; null for all that they may",
    )
    DEVICE_REFUSED = ("device.refused", {"device": ID}, "Somebody refused a device that asked for a token of theirs")
    PROJECT_APPLIED = (
        "project.applied",
        {"project": NAME, "digest": DIGEST, "previous": maybe(DIGEST), "changes": _CHANGES},
        "A project was registered or changed",
    )
    POLICY_PUBLISHED = (
        "policy.published",
        {"set": DIGEST, "files": COUNT, "name": NAME, "version": COUNT, "previous": maybe(DIGEST)},
        "A version of a policy set was published",
    )
    POLICY_BACKTESTED = (
        "policy.backtested",
        {
            "report": ID,
            "base": maybe(DIGEST),
            "candidate": DIGEST,
            "decisions": COUNT,
            "deny_to_allow": COUNT,
            "allow_to_deny": COUNT,
        },
        "A candidate was tried on the decisions that its set had made",
    )
    EXEMPTION_GRANTED = (
        "exemption.granted",
        {"exemption": ID, "environment": NAME, "set": NAME, "rule": NAME, "address": text(2_000), "until_us": TIME_US},
        "A rule stopped to bind in an environment for a while",
    )
    EXEMPTION_ENDED = (
        "exemption.ended",
        {"exemption": ID, "environment": NAME, "set": NAME, "rule": NAME, "address": text(2_000), "until_us": TIME_US},
        "An exemption was taken back before its time",
    )

    RUN_REQUESTED = (
        "run.requested",
        {
            "workflow": NAME,
            "workflow_digest": DIGEST,
            "source": DIGEST,
            "environment": NAME,
            "inputs": DIGEST,
            "plan_only": FLAG,
            "retry_of": ID,
        },
        "Someone asked for a run",
    )
    RUN_ADMITTED = ("run.admitted", _NOTHING, "The run passed the trigger point and its steps may be planned")
    RUN_DENIED = ("run.denied", {"decision": ID}, "Policy denied the run")
    RUN_CANCELLED = ("run.cancelled", _NOTHING, "Someone cancelled the run")
    RUN_CLOSED = ("run.closed", {"state": WORD}, "The run ended; always the last event of its stream")
    RUN_UNSETTLED = (
        "run.unsettled",
        {"state": WORD},
        "The run rests: nobody knows the end of an effect, and it goes on when somebody settles that",
    )

    RUN_RETRIED = ("run.retried", {"steps": list_of(NAME)}, "Someone had the steps that stopped the run tried again")

    STEP_PLANNED = (
        "step.planned",
        {"attempt": COUNT, "change_set": DIGEST, "artifact": DIGEST, "binding": DIGEST, "plan": maybe(DIGEST)},
        "The step's plan is saved; these are its digests",
    )
    STEP_WAITING = (
        "step.waiting",
        {"attempt": COUNT, "binding": DIGEST, "requires": list_of(_REQUIREMENT), "expires_us": TIME_US},
        "The step waits for people; says how many of which group",
    )
    STEP_MOVED = (
        "step.moved",
        {"attempt": COUNT, "what": WORD, "then": one_of("plan", "judge")},
        "Something the binding covers moved before the apply; says what follows",
    )
    STEP_RETRYING = (
        "step.retrying",
        {"attempt": COUNT, "not_before_us": TIME_US},
        "The attempt failed; another one follows",
    )
    STEP_FINISHED = (
        "step.finished",
        {"attempt": COUNT, "state": WORD, "outputs": maybe(DIGEST)},
        "The step ended, or was skipped because what it needs did not pass",
    )

    DECISION_RECORDED = (
        "decision.recorded",
        {
            "decision": ID,
            "point": WORD,
            "outcome": WORD,
            "input": DIGEST,
            "document": DIGEST,
            "sets": list_of(DIGEST),
            "engine": NAME,
            "notify": list_of(NAME),
        },
        "A decision of the policy sets, with the digests of the exact input and of all it says, and whom it has told",
    )
    APPROVAL_RECORDED = (
        "approval.recorded",
        {
            "approval": ID,
            "binding": DIGEST,
            "verdict": WORD,
            "group": NAME,
            "expires_us": TIME_US,
            "signature": SIGNATURE,
            "signed_in": table(at_us=TIME_US, acr=SHORT),
        },
        "A named human said yes or no to one bound digest; with when and how they signed in where a provider says it",
    )
    APPROVAL_REFUSED = (
        "approval.refused",
        {"binding": DIGEST},
        "A yes or no that does not count, for example from a maker",
    )

    EFFECT_INTENDED = (
        "effect.intended",
        {"attempt": COUNT, "phase": WORD, "binding": DIGEST, "artifact": DIGEST, "token": COUNT},
        "The outside world is about to be changed; in a signed checkpoint before it is",
    )
    BREAKGLASS_OPENED = (
        "breakglass.opened",
        {"breakglass": ID, "until_us": TIME_US},
        "Someone declared an emergency and said until when; it lets nothing through before another confirms it",
    )
    BREAKGLASS_CONFIRMED = (
        "breakglass.confirmed",
        {"breakglass": ID},
        "A second person confirmed it: until its end effects begin although the log is in trouble",
    )
    BREAKGLASS_USED = (
        "breakglass.used",
        {"attempt": COUNT, "breakglass": ID, "rows": list_of(NAME)},
        "The step begins under break-glass; says what would have held it up",
    )
    BREAKGLASS_CLOSED = (
        "breakglass.closed",
        {"breakglass": ID, "uses": COUNT},
        "A third person ended it, or looked at what was done under it, and said so with a reason",
    )
    EFFECT_HELD = (
        "effect.held",
        {"attempt": COUNT, "rows": list_of(NAME)},
        "The step does not begin while the log is in trouble; says what is, and the run goes on when it ends",
    )
    EFFECT_FINISHED = (
        "effect.finished",
        {"attempt": COUNT, "phase": WORD, "outcome": one_of("succeeded", "failed"), "result": DIGEST},
        "The change ended; the result is named by its digest",
    )
    EFFECT_INDETERMINATE = (
        "effect.indeterminate",
        {"attempt": COUNT, "phase": WORD},
        "Nobody knows whether the change happened",
    )
    EFFECT_SETTLED = (
        "effect.settled",
        {"attempt": COUNT, "phase": WORD, "as": WORD, "by_probe": FLAG},
        "A probe or a person said what became of the change",
    )

    NOTIFY_APPLIED = (
        "notify.applied",
        {"subscription": NAME, "digest": DIGEST, "previous": maybe(DIGEST), "changes": _CHANGES},
        "Who is told of which events was declared or changed",
    )
    NOTIFY_TESTED = (
        "notify.tested",
        {"subscription": NAME, "error": text(63)},
        "Somebody had a message of no meaning sent to a subscription; says how that ended, empty when it was taken",
    )
    NOTIFY_DEAD = (
        "notify.dead",
        {"subscription": NAME, "delivery": COUNT, "event": ID, "attempts": COUNT, "error": WORD},
        "A message was given up: it is kept as a dead letter until somebody has it sent again",
    )
    NOTIFY_DISABLED = (
        "notify.disabled",
        {"subscription": NAME},
        "A receiver said that it is gone and wants no more; the subscription rests until it is applied again",
    )
    NOTIFY_REPLAYED = (
        "notify.replayed",
        {"subscription": NAME, "deliveries": COUNT},
        "Dead letters of a subscription are to be sent again; says how many",
    )

    SECRET_READ = (
        "secret.read",
        {"attempt": COUNT, "phase": WORD, "secrets": by_name(maybe(MARK))},
        "Secrets were read for a step; by name the mark that stands for the value everywhere, null when there was none",
    )
    STATE_WRITTEN = (
        "state.written",
        {"environment": NAME, "state": NAME, "lineage": NAME, "serial": COUNT, "digest": DIGEST},
        "A new version of a tool's state was stored",
    )
    EVIDENCE_SEALED = ("evidence.sealed", {"digest": DIGEST}, "The bundle that proves the run was sealed")
    EVIDENCE_EXPORTED = ("evidence.exported", {"digest": DIGEST}, "The bundle was handed out")
