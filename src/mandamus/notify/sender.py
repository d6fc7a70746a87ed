"""Sends one message to whatever a subscription names; apart from the verbs because TLS and HTTP are slow to import."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from mandamus.kernel.clock import Clock
from mandamus.notify.channel import Channels
from mandamus.notify.model import Answer, Message, Subscription
from mandamus.notify.webhook import Webhooks, resolve
from mandamus.secrets.service import Secrets


def send(
    secrets: Secrets, clock: Clock, load: Callable[[], Any], subscription: Subscription, message: Message
) -> Answer:
    """How the attempt ended; ``load`` gives apprise. It raises nothing that is the receiver's fault."""
    if subscription.webhook is not None:
        return Webhooks(secrets, clock, resolve).send(subscription.webhook, message)
    if subscription.channel is not None:
        return Channels(secrets, load).send(subscription.channel, message)
    raise AssertionError("a subscription has a webhook or a channel")
