"""What every verb leaves in the log: the kind of event that an allowed call records, or why it records none."""

from __future__ import annotations

from collections.abc import Mapping

from mandamus.audit.kinds import Kind

REFUSED = Kind.ACCESS_DENIED
"""What a call of any verb leaves when the subject may not make it."""

_SAME = "what it shows stands in the log already, in the event of whoever declared it"
_READS_LOG = "the output is redacted before it is stored; a policy set may ask about each read, which is an event"
_FOLLOWS = "what it shows of a run stands in the log already, without secrets"
_DECISION = "what it shows of a decision is redacted, and its digests stand in the log already"
_DOCUMENT = "policy texts are no secret, and their digests stand in the log already"
_FILES = "it reads the files of a project, of which each run that was asked for keeps its copy"
_MACHINE = "it looks at the machine and shows nothing of what runs"

VERBS: Mapping[str, Kind | str] = {
    "Anchoring.anchor": Kind.LOG_ANCHORED,
    "Anchoring.verify": Kind.AUDIT_VERIFIED,
    "Audit.verify": Kind.AUDIT_VERIFIED,
    "Backtests.run": Kind.POLICY_BACKTESTED,
    "BreakGlass.close": Kind.BREAKGLASS_CLOSED,
    "BreakGlass.confirm": Kind.BREAKGLASS_CONFIRMED,
    "BreakGlass.list": _SAME,
    "BreakGlass.open": Kind.BREAKGLASS_OPENED,
    "Catalog.apply_environment": Kind.ENVIRONMENT_APPLIED,
    "Catalog.apply_project": Kind.PROJECT_APPLIED,
    "Catalog.check": "it reads a file of the caller's own",
    "Catalog.environments": _SAME,
    "Catalog.projects": _SAME,
    "Catalog.root_of": "it names a folder to the request that follows, which is an event",
    "Catalog.show_environment": _SAME,
    "Catalog.show_workflow": _FILES,
    "Catalog.workflows": _FILES,
    "Configure.apply": Kind.ENVIRONMENT_APPLIED,
    "Doctor.examine": _MACHINE,
    "Evidence.bundle": Kind.EVIDENCE_EXPORTED,
    "Evidence.export": Kind.EVIDENCE_EXPORTED,
    "Evidence.population": "it names runs that ended; each bundle that is then handed out is an event of its own",
    "Exemptions.all": _SAME,
    "Exemptions.end": Kind.EXEMPTION_ENDED,
    "Exemptions.grant": Kind.EXEMPTION_GRANTED,
    "Identity.apply": Kind.IDENTITY_APPLIED,
    "Granting.apply": Kind.ACCESS_APPLIED,
    "Granting.grants": _SAME,
    "Granting.roles": _SAME,
    "Identity.groups": _SAME,
    "Identity.users": _SAME,
    "KillSwitch.end": Kind.SESSION_ENDED,
    "KillSwitch.end_all": Kind.ACCESS_ENDED,
    "KillSwitch.sessions": "each session stands in the log already, in the event of its beginning",
    "LogExport.reconcile": Kind.AUDIT_RECONCILED,
    "LogExport.run": Kind.AUDIT_EXPORTED,
    "LogExport.sinks": "it shows how far sinks are; what they were sent are events of their own",
    "LogKeys.finish": Kind.LOG_KEY_RETIRED,
    "LogKeys.rotate": Kind.LOG_KEY_ROTATED,
    "Notify.apply": Kind.NOTIFY_APPLIED,
    "Notify.dead": "what it shows stands in the log already, in the events that were told of",
    "Notify.deliveries": "what it shows stands in the log already, in the events that were told of",
    "Notify.replay": Kind.NOTIFY_REPLAYED,
    "Notify.send": "it sends what the log has anyway; what is given up is an event of its own",
    "Notify.subscriptions": _SAME,
    "Notify.test": Kind.NOTIFY_TESTED,
    "PersonalData.erase": Kind.AUDIT_REDACTED,
    "PersonalData.hold": Kind.AUDIT_HELD,
    "PersonalData.holds": "each hold stands in the log already, in the event of whoever began it",
    "PersonalData.release": Kind.AUDIT_RELEASED,
    "Policy.bundle": _DOCUMENT,
    "Policy.decisions": _DECISION,
    "Policy.get": _DECISION,
    "Policy.page": _DECISION,
    "Policy.publish": Kind.POLICY_PUBLISHED,
    "Policy.versions": _DOCUMENT,
    "Pruning.plan": "it counts what would go; what each entry says stands in the log already",
    "Pruning.prune": Kind.AUDIT_PRUNED,
    "Retention.apply": Kind.RETENTION_APPLIED,
    "Retention.classes": _SAME,
    "Runs.approve": Kind.APPROVAL_RECORDED,
    "Runs.cancel": Kind.RUN_CANCELLED,
    "Runs.change_set": _FOLLOWS,
    "Runs.counts": _FOLLOWS,
    "Runs.events": _FOLLOWS,
    "Runs.follow_log": _READS_LOG,
    "Runs.glance": _FOLLOWS,
    "Runs.inbox": _FOLLOWS,
    "Runs.list": _FOLLOWS,
    "Runs.logs": _READS_LOG,
    "Runs.outlook": _SAME,
    "Runs.reject": Kind.APPROVAL_RECORDED,
    "Runs.request": Kind.RUN_REQUESTED,
    "Runs.retry": Kind.RUN_RETRIED,
    "Runs.settle": Kind.EFFECT_SETTLED,
    "Runs.show": _FOLLOWS,
    "Search.find": Kind.AUDIT_READ,
    "Search.newest": "a checkpoint is made to be handed out",
    "Search.show": Kind.AUDIT_READ,
    "Sessions.link": Kind.SESSION_LINKED,
    "Tokens.create": Kind.TOKEN_CREATED,
    "Tokens.list": "what it shows stands in the log already, in the events of who made and ended them",
    "Tokens.revoke": Kind.TOKEN_REVOKED,
}
"""``Class.verb``, by name. A structure test compares it with the code, and a test calls each of them."""
