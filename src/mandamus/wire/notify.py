"""Who is told of events, and what became of it, as it is sent and as it comes back."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import Field

from mandamus.notify.model import Answer as Ended
from mandamus.notify.model import Delivery as Kept
from mandamus.notify.model import Standing, State
from mandamus.wire.base import Body, Time, Wire, micros, micros_or_none, time, time_or_none

REPLAY_MAX = 1_000


class Subscription(Wire):
    """Who is told of which events, and how that stands. ``error`` is of the last attempt, empty when it was taken."""

    name: str
    target: str
    active: bool
    kinds: list[str]
    projects: list[str]
    environments: list[str]
    outcomes: list[str]
    groups: list[str]
    applied_by: str
    waiting: int
    dead: int
    ended_at: Time | None
    error: str
    disabled_at: Time | None


class Delivery(Wire):
    """A message to one subscription; ``event`` is the id of the event it tells of, and its own at every attempt."""

    id: int
    subscription: str
    event: str
    kind: str
    run: str | None
    project: str | None
    state: State
    attempts: int
    due_at: Time
    made_at: Time
    ended_at: Time | None
    error: str


class Replay(Body):
    """Which dead letters are to be sent again."""

    ids: Annotated[
        list[Annotated[int, Field(ge=1, le=2**53 - 1)]] | None,
        Field(description="Only these; null for all there are.", min_length=1, max_length=REPLAY_MAX, examples=[[7]]),
    ] = None


class Replayed(Wire):
    """How many dead letters are sent again."""

    deliveries: int


class Answer(Wire):
    """How an attempt ended: ``error`` is one word, empty when the message was taken."""

    error: str
    detail: str


def subscription(kept: Standing) -> Subscription:
    """A subscription and how it stands."""
    at: dict[str, Any] = {"ended_at": time_or_none(kept.ended_us), "disabled_at": time_or_none(kept.disabled_us)}
    return Subscription(**kept.to_json(), **at)


def delivery(kept: Kept) -> Delivery:
    """A message, without its body."""
    at: dict[str, Any] = {
        "due_at": time(kept.due_us),
        "made_at": time(kept.made_us),
        "ended_at": time_or_none(kept.ended_us),
    }
    return Delivery(**vars(kept), **at)


def answer(ended: Ended) -> Answer:
    """How an attempt ended."""
    return Answer(error=ended.error, detail=ended.detail)


def subscription_back(sent: Subscription) -> Standing:
    """The house's own value of how a subscription stands."""
    return Standing(
        sent.name,
        sent.target,
        sent.active,
        tuple(sent.kinds),
        tuple(sent.projects),
        tuple(sent.environments),
        tuple(sent.outcomes),
        tuple(sent.groups),
        applied_by=sent.applied_by,
        waiting=sent.waiting,
        dead=sent.dead,
        ended_us=micros_or_none(sent.ended_at),
        error=sent.error,
        disabled_us=micros_or_none(sent.disabled_at),
    )


def delivery_back(sent: Delivery) -> Kept:
    """The house's own value of a message."""
    ended_us = micros_or_none(sent.ended_at)
    return Kept(
        sent.id,
        sent.subscription,
        sent.event,
        sent.kind,
        sent.run,
        sent.project,
        sent.state,
        sent.attempts,
        micros(sent.due_at),
        micros(sent.made_at),
        ended_us,
        sent.error,
    )


def answer_back(sent: Answer) -> Ended:
    """The house's own value of how an attempt ended."""
    return Ended(sent.error, sent.detail)
