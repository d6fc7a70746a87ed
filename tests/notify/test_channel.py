"""People are told by apprise, which is an extra."""

from __future__ import annotations

import json

import apprise
import pytest

from mandamus.notify.channel import Channels
from mandamus.notify.model import Message
from mandamus.secrets.model import SecretRef
from mandamus.secrets.service import Secrets

MESSAGE = Message("evt_1", {}, "Mandamus: run.closed", "The run of ada ended: failed.")


@pytest.fixture
def send(home):
    """Sends to a URL by apprise itself."""

    def sent(url: str, load=lambda: apprise.Apprise):
        return Channels(Secrets({"CHAT": url}, home), load).send(SecretRef(env="CHAT"), MESSAGE)

    return sent


def test_people_are_told_in_words(send, receiver):
    """Title and text reach the service that the URL names, and nothing else does."""
    assert send(receiver.url.replace("http:", "json:")).ok
    told = json.loads(receiver.got[0].body)
    assert (told["title"], told["message"]) == (MESSAGE.title, MESSAGE.text)


def test_a_service_that_refuses_is_told_without_its_url(send, receiver, answer, capfd):
    """The URL is a secret: it is in no error and in no log."""
    receiver.answers = [answer(500)]
    found = send(receiver.url.replace("http:", "json:").replace("/hook", "/hidden-token"))
    assert (found.error, found.hopeless) == ("refused", False)
    assert "hidden" not in found.detail
    assert "hidden" not in "".join(capfd.readouterr())


def test_a_url_that_apprise_cannot_read_is_given_up(send):
    """Trying again cannot change it; it is said where it stands."""
    found = send("nonsense://hidden")
    assert (found.error, found.hopeless) == ("secret", True)
    assert found.detail == "apprise cannot read the URL in variable CHAT"


def test_without_the_extra_it_is_said_how_to_get_it(send):
    """The program works without it; a subscription that needs it says so, and waits."""

    def load():
        raise ModuleNotFoundError("No module named 'apprise'")

    found = send("json://x", load)
    assert (found.error, found.hopeless) == ("missing", False)
    assert "apprise is not installed" in found.detail
