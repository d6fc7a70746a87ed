"""The values of notifications: a subscription and what it takes, a message on its way, and how an attempt ended."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from mandamus.kernel import canonical
from mandamus.kernel.ids import Digest
from mandamus.secrets.model import SecretRef
from mandamus.secrets.model import from_json as secret_from

Leaf = Mapping[str, Any]
"""A decoded leaf of the log."""


@dataclass(frozen=True)
class Webhook:
    """An HTTPS receiver. While its secret is replaced, messages are signed with both.

    ``ca`` is a PEM file to trust instead of the system's, ``allow_private`` the networks that it may be in although
    they are not public.
    """

    url: str
    secret: SecretRef
    old_secret: SecretRef | None = None
    ca: str = ""
    allow_private: tuple[str, ...] = ()


@dataclass(frozen=True)
class Subscription:
    """Who is told of which events. ``channel`` refers to a URL for apprise, which is a secret.

    A kind stands in full or as a family such as ``run.*``. Of ``projects``, ``environments``, ``outcomes`` and
    ``groups`` (those that an event asks for approval) an empty one narrows nothing. ``document`` is what was declared.
    """

    name: str
    kinds: frozenset[str]
    webhook: Webhook | None = None
    channel: SecretRef | None = None
    projects: frozenset[str] = frozenset()
    environments: frozenset[str] = frozenset()
    outcomes: frozenset[str] = frozenset()
    groups: frozenset[str] = frozenset()
    active: bool = True
    document: Mapping[str, Any] = field(default_factory=dict, repr=False, compare=False)

    @property
    def digest(self) -> Digest:
        """Of everything that was declared."""
        return canonical.digest_of(self.document)

    @property
    def target(self) -> str:
        """Where messages go, without a secret."""
        return self.webhook.url if self.webhook else f"apprise, {self.channel}"

    def takes(self, leaf: Leaf, environment: str | None) -> bool:
        """Whether it is told of an event; ``environment`` is the event's, None when nobody knows.

        Of a decision that names it, whatever else it asks for. It is never told of itself: a receiver that is dead
        would be sent word of that for ever.
        """
        if self.name in leaf["data"].get("notify", ()):
            return True
        what = leaf["what"]
        if what["type"] == RESOURCE and what["id"] == self.name:
            return False
        family = f"{leaf['kind'].partition('.')[0]}.*"
        return (
            not self.kinds.isdisjoint((leaf["kind"], family))
            and (not self.projects or leaf["project"] in self.projects)
            and (not self.environments or environment in self.environments)
            and (not self.outcomes or leaf["outcome"] in self.outcomes)
            and (not self.groups or not self.groups.isdisjoint(asked_groups(leaf)))
        )


RESOURCE = "subscription"
"""The type of resource that events about a subscription are about."""


def asked_groups(leaf: Leaf) -> list[str]:
    """The groups that an event asks for approval."""
    return sorted({each["group"] for each in leaf["data"].get("requires", ()) if each.get("group")})


def subscription_from(name: str, document: Mapping[str, Any]) -> Subscription:
    """A subscription from the document that the platform file's reader makes of it."""
    hook, channel = document["webhook"], document["apprise"]
    return Subscription(
        name=name,
        kinds=frozenset(document["kinds"]),
        webhook=_webhook(hook) if hook else None,
        channel=secret_from(channel) if channel else None,
        projects=frozenset(document["projects"]),
        environments=frozenset(document["environments"]),
        outcomes=frozenset(document["outcomes"]),
        groups=frozenset(document["groups"]),
        active=bool(document["active"]),
        document=document,
    )


def _webhook(document: Mapping[str, Any]) -> Webhook:
    return Webhook(
        url=document["url"],
        secret=secret_from(document["secret"]),
        old_secret=secret_from(document["old_secret"]) if document.get("old_secret") else None,
        ca=document["ca"],
        allow_private=tuple(document["allow_private"]),
    )


class State(StrEnum):
    """What became of a message so far."""

    WAITING = "waiting"
    DELIVERED = "delivered"
    DEAD = "dead"


@dataclass(frozen=True)
class Delivery:
    """A message to one subscription. ``attempts`` count those that ended; ``error`` is of the last one.

    ``event`` is the id of the event it tells of and the message's own id at every attempt. ``due_us`` is when the next
    attempt may begin, ``ended_us`` when the last one ended, or None.
    """

    id: int
    subscription: str
    event: str
    kind: str
    run: str | None
    project: str | None
    state: State
    attempts: int
    due_us: int
    made_us: int
    ended_us: int | None
    error: str

    def to_json(self) -> dict[str, Any]:
        """As commands print it."""
        return {**vars(self), "state": self.state.value}


@dataclass(frozen=True)
class Message:
    """What is sent: ``event`` is its id; ``body`` is for programs, ``title`` and ``text`` are for people."""

    event: str
    body: Mapping[str, Any]
    title: str
    text: str

    def to_json(self) -> dict[str, Any]:
        """As it is kept while it waits."""
        return vars(self)


def message_from(document: Mapping[str, Any]) -> Message:
    """The inverse of ``to_json``."""
    return Message(document["event"], document["body"], document["title"], document["text"])


@dataclass(frozen=True)
class Answer:
    """How an attempt ended: ``error`` is empty when it was taken, else one word, and ``detail`` says more.

    ``retry_s`` is how long the receiver asks to be left alone; it is ``gone`` when it says that it wants no more, and
    ``hopeless`` when no other attempt can end otherwise.
    """

    error: str = ""
    detail: str = ""
    retry_s: float = 0.0
    gone: bool = False
    hopeless: bool = False

    @property
    def ok(self) -> bool:
        """Whether the message was taken."""
        return not self.error


@dataclass(frozen=True)
class Standing:
    """A subscription as it is now: how many messages wait and how many are dead, and how the last attempt ended.

    ``target`` is where messages go, without a secret; ``disabled_us`` is when the receiver said that it wants no more,
    None while it does.
    """

    name: str
    target: str
    active: bool
    kinds: tuple[str, ...]
    projects: tuple[str, ...]
    environments: tuple[str, ...]
    outcomes: tuple[str, ...]
    groups: tuple[str, ...]
    applied_by: str
    waiting: int
    dead: int
    ended_us: int | None
    error: str
    disabled_us: int | None

    @property
    def state(self) -> str:
        """In one word: ``active``, ``off`` when it was declared so, ``gone`` when its receiver said so."""
        if self.disabled_us is not None:
            return "gone"
        return "active" if self.active else "off"

    def to_json(self) -> dict[str, Any]:
        """As commands print it."""
        return dict(vars(self))
