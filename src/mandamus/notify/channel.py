"""Sends a message to people by apprise, which speaks to a hundred services by a URL; it is an extra of this program."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from mandamus.kernel.errors import MandamusError
from mandamus.notify.model import Answer, Message
from mandamus.secrets.model import SecretRef
from mandamus.secrets.service import Secrets

EXTRA = "notify"


class Channels:
    """Sends to the channels of one home. ``load`` gives apprise's own class; it raises ``ImportError`` without it."""

    def __init__(self, secrets: Secrets, load: Callable[[], Any]) -> None:
        self._secrets = secrets
        self._load = load

    def send(self, channel: SecretRef, message: Message) -> Answer:
        """How the attempt ended. Apprise does not say why something was not taken, and its words may hold the URL."""
        try:
            sender = self._load()()
            url = self._secrets.resolve({"apprise": channel})["apprise"]
        except ImportError:
            return Answer("missing", f"apprise is not installed: `pip install 'mandamus[{EXTRA}]'` brings it")
        except MandamusError as error:
            return Answer("secret", error.message)
        if not sender.add(url.strip()):
            return Answer("secret", f"apprise cannot read the URL in {channel}", hopeless=True)
        if sender.notify(title=message.title, body=message.text):
            return Answer()
        return Answer("refused", "apprise could not deliver it")
