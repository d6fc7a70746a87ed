"""Routes of notifications: who is told of what, what became of it, and sending dead letters again."""

from __future__ import annotations

from typing import Annotated

from fastapi import Query

from mandamus.api import given
from mandamus.api.door import Routes, TheHouse, Who
from mandamus.kernel.access import Permission
from mandamus.notify.model import State
from mandamus.notify.service import PAGE, PAGE_MAX
from mandamus.wire import notify as wire
from mandamus.wire.base import Page

routes = Routes("notify")


@routes.verb("GET", "/notify/subscriptions", Permission.NOTIFY_READ)
def list_subscriptions(house: TheHouse, who: Who) -> Page[wire.Subscription]:
    """Every subscription and how it stands, by name."""
    return Page(items=[wire.subscription(each) for each in house.notify.subscriptions(who)])


@routes.verb("POST", "/notify/subscriptions/{subscription}/test", Permission.NOTIFY_WRITE)
def test_subscription(house: TheHouse, who: Who, subscription: given.Subscription) -> wire.Answer:
    """Send a message of no meaning to a subscription, now and once. That it was done is recorded."""
    return wire.answer(house.notify.test(who, subscription))


@routes.verb("GET", "/notify/deliveries", Permission.NOTIFY_READ)
def list_deliveries(
    house: TheHouse,
    who: Who,
    *,
    subscription: str | None = None,
    state: State | None = None,
    cursor: str | None = None,
    limit: Annotated[int, Query(ge=1, le=PAGE_MAX)] = PAGE,
) -> Page[wire.Delivery]:
    """What was told, or is to be, newest first; those with the state ``dead`` nobody tries to send any more."""
    before = given.number(cursor, None, "the cursor")
    found = house.notify.deliveries(who, subscription, state, before=before, limit=limit)
    following = str(found[-1].id) if len(found) == limit else None
    return Page(items=[wire.delivery(each) for each in found], next=following)


@routes.verb("POST", "/notify/deliveries/replay", Permission.NOTIFY_WRITE)
def replay_deliveries(house: TheHouse, who: Who, body: wire.Replay) -> wire.Replayed:
    """Have dead letters sent again, with the ids that they always had."""
    return wire.Replayed(deliveries=house.notify.replay(who, body.ids))
