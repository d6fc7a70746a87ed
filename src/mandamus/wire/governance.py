"""Policy, environments and the audit log, as they are sent."""

from __future__ import annotations

import base64
from typing import Annotated, Any

from pydantic import Field

from mandamus.audit.model import Checkpoint as Head
from mandamus.audit.model import Report as Found
from mandamus.audit.search import Hit, Shown
from mandamus.audit.standing import Standing as Stands
from mandamus.catalog.model import Environment as Target
from mandamus.catalog.model import Project as Source
from mandamus.executors.state import Held
from mandamus.policy.model import Decision as Kept
from mandamus.policy.model import Exemption as Granted
from mandamus.policy.model import Listed, SetVersion
from mandamus.wire.base import Body, Time, Wire, time, time_or_none


class Environment(Wire):
    """A named target. Of a secret it says where the value comes from, never what it is."""

    name: str
    digest: str
    protected: bool
    vars: dict[str, Any]
    secrets: dict[str, Any]
    policies: list[dict[str, Any]]
    approvers: dict[str, int]
    approval_ttl_s: int
    pool: dict[str, Any]
    applied_by: str


class Lock(Wire):
    """A state of an environment, by its name, that a step holds."""

    name: str
    run: str
    step: str
    since: Time


class Project(Wire):
    """A registered source of workflows."""

    name: str
    digest: str
    policies: list[dict[str, Any]]
    applied_by: str


class PolicySet(Wire):
    """One version of a named policy set."""

    name: str
    version: int
    digest: str
    by: str
    at: Time


class Backtest(Wire):
    """A report on a candidate of a policy set, as it was stored."""

    document: dict[str, Any]


class DecisionLine(Wire):
    """A recorded decision in a list: ``says`` are the rules and words of what denied, was spared or asked for."""

    id: str
    run: str | None
    step: str | None
    point: str
    outcome: str
    environment: str
    at: Time
    error: str | None
    says: list[str]


class Decision(Wire):
    """A recorded decision: all it says, and the digest of what was judged. The log names the digest of this."""

    id: str
    run: str | None
    step: str | None
    document: dict[str, Any]


class NewExemption(Body):
    """A rule that shall not bind for a while. ``rule`` is its full name, as a violation shows it."""

    environment: Annotated[str, Field(examples=["dev"])]
    set: Annotated[str, Field(description="The name of the policy set.", examples=["base"])]
    rule: Annotated[str, Field(examples=["mandamus.plan.deny"])]
    address: Annotated[str, Field(description="Only violations that name exactly this address.")] = ""
    why: Annotated[str, Field(min_length=1, max_length=2_000)]
    until: Time


class Exemption(Wire):
    """A rule that does not bind for a while: who said so, why, and until when."""

    id: str
    environment: str
    set: str
    rule: str
    address: str
    by: str
    why: str
    granted_at: Time
    until: Time
    ended_at: Time | None


class Event(Wire):
    """A leaf of the audit log and its place in it."""

    index: int
    leaf: dict[str, Any]


class Proven(Event):
    """A leaf, byte for byte, with its proof (C2SP tlog-proof) that it is in the tree of the checkpoint."""

    leaf_base64: Annotated[str, Field(description="The exact bytes of the leaf.")]
    proof: Annotated[str, Field(description="A .tlog-proof file.")]
    checkpoint: Annotated[str, Field(description="The signed checkpoint (C2SP signed note).")]


class Checkpoint(Wire):
    """The log's newest signed tree head; ``key`` is what verifies it."""

    origin: str
    size: int
    root: Annotated[str, Field(description="Root hash, base 64.")]
    note: str
    key: str


class Sight(Wire):
    """How many leaves a witness or an anchor has seen, and when it said so."""

    name: str
    size: int
    at: Time


class Standing(Wire):
    """The newest signed tree, null before there is one; how many events wait for the next; and who has seen what."""

    size: int
    signed_at: Time | None
    waiting: int
    witnesses: list[Sight]
    anchors: list[Sight]


class Finding(Wire):
    """One thing that is wrong."""

    verdict: str
    message: str
    file: str
    leaf: int | None


class Report(Wire):
    """What a verification found: ``outcome`` is ok, tampered, incomplete or untrusted.

    Entries below ``pruned`` are gone, as leaf ``pruned_by`` says. ``witnessed`` is set when witnesses cosigned the
    first so many leaves, and not all.
    """

    outcome: str
    origin: str = ""
    size: int
    pruned: int = 0
    pruned_by: int | None = None
    witnessed: int | None = None
    problems: list[Finding]


def environment(target: Target) -> Environment:
    """An environment as it is sent."""
    return Environment(**{**target.to_json(), "digest": target.digest, "applied_by": target.applied_by})


def lock(held: Held) -> Lock:
    """A state that is held, as it is sent."""
    return Lock(name=held.name, run=held.by.run, step=held.by.step, since=time(held.by.since_us))


def project(source: Source) -> Project:
    """A project as it is sent: not where its folder is on the server."""
    policies = [attached.to_json() for attached in source.policies]
    return Project(name=source.name, digest=source.digest, policies=policies, applied_by=source.applied_by)


def policy_set(version: SetVersion) -> PolicySet:
    """A version of a set as it is sent."""
    return PolicySet(
        name=version.name, version=version.version, digest=version.digest, by=version.by, at=time(version.at_us)
    )


def decision_line(listed: Listed) -> DecisionLine:
    """A decision of a list as it is sent."""
    fields = {**listed.to_json(), "at": time(listed.at_us)}
    fields.pop("at_us")
    return DecisionLine(**fields)


def decision(kept: Kept) -> Decision:
    """A decision as it is sent."""
    return Decision(id=kept.id, run=kept.run, step=kept.step, document=kept.to_json())


def exemption(granted: Granted) -> Exemption:
    """An exemption as it is sent."""
    return Exemption(
        id=granted.id,
        environment=granted.environment,
        set=granted.set,
        rule=granted.rule,
        address=granted.address,
        by=granted.by,
        why=granted.why,
        granted_at=time(granted.granted_us),
        until=time(granted.until_us),
        ended_at=time_or_none(granted.ended_us),
    )


def event(hit: Hit) -> Event:
    """An event that was found."""
    return Event(index=hit.index, leaf=dict(hit.fields))


def proven(shown: Shown) -> Proven:
    """A leaf with its proof."""
    return Proven(
        index=shown.index,
        leaf=dict(shown.fields),
        leaf_base64=base64.b64encode(shown.leaf).decode(),
        proof=shown.proof.decode(),
        checkpoint=shown.checkpoint.note.decode(),
    )


def checkpoint(head: Head, key: str) -> Checkpoint:
    """A tree head as it is sent."""
    return Checkpoint(
        origin=head.origin,
        size=head.size,
        root=base64.b64encode(head.root).decode(),
        note=head.note.decode(),
        key=key,
    )


def standing(found: Stands) -> Standing:
    """How the log stands, as it is sent."""
    witnesses, anchors = (
        [Sight(name=each.name, size=each.size, at=time(each.at_us)) for each in seen]
        for seen in (found.witnesses, found.anchors)
    )
    return Standing(
        size=found.size,
        signed_at=time_or_none(found.signed_us or None),
        waiting=found.waiting,
        witnesses=witnesses,
        anchors=anchors,
    )


def report(found: Found) -> Report:
    """What a verification found, as it is sent."""
    problems = [
        Finding(verdict=each.verdict.value, message=each.message, file=each.file, leaf=each.leaf)
        for each in found.problems
    ]
    return Report(
        outcome=found.outcome.value,
        origin=found.origin,
        size=found.size,
        pruned=found.pruned,
        pruned_by=found.pruned_by,
        witnessed=found.witnessed,
        problems=problems,
    )
