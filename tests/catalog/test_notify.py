"""The section `notify` of a platform file: subscriptions, with every problem at once and never a secret's value."""

from __future__ import annotations

from pathlib import Path

import pytest

from mandamus.catalog import platform
from mandamus.kernel.errors import Code, MandamusError
from mandamus.notify.model import subscription_from
from mandamus.secrets.model import SecretRef

GOOD = """\
notify:
  deploys:
    webhook:
      url: https://hooks.example.com/mandamus?x=1
      secret: {env: HOOK_SECRET}
      old_secret: {file: secrets/old}
      ca: ca.pem
      allow_private: [10.1.2.0/24]
    kinds: [run.*, step.waiting]
    projects: [ledger]
    environments: [prod]
    outcomes: [denied, failed]
    groups: [dba]
  chat:
    apprise: {env: CHAT_URL}
    kinds: [breakglass.*]
    active: false
"""


def read(text: str, folder: Path):
    """The subscriptions of a file."""
    return platform.read(text.encode(), "p.yaml", folder).notify


def test_a_subscription_is_read_as_it_is_written(tmp_path):
    """Secrets are references, paths stand in the file's folder, and what is left out narrows nothing."""
    found = {name: subscription_from(name, each) for name, each in read(GOOD, tmp_path).items()}
    deploys, chat = found["deploys"], found["chat"]
    assert deploys.webhook.url == "https://hooks.example.com/mandamus?x=1"
    assert deploys.webhook.secret == SecretRef(env="HOOK_SECRET")
    assert deploys.webhook.old_secret == SecretRef(file=str(tmp_path / "secrets" / "old"))
    assert (deploys.webhook.ca, deploys.webhook.allow_private) == (str(tmp_path / "ca.pem"), ("10.1.2.0/24",))
    assert deploys.kinds == {"run.*", "step.waiting"}
    assert (deploys.projects, deploys.environments) == ({"ledger"}, {"prod"})
    assert (deploys.outcomes, deploys.groups) == ({"denied", "failed"}, {"dba"})
    assert (chat.channel, chat.active, chat.webhook) == (SecretRef(env="CHAT_URL"), False, None)
    assert {chat.projects, chat.environments, chat.outcomes, chat.groups} == {frozenset()}


WEBHOOK = "notify: {a: {kinds: [run.*], webhook: {secret: {env: X}, url: 'URL'}}}"
WRONG = {
    "notify: {a: {apprise: {env: X}}}": "needs the key `kinds`",
    "notify: {a: {kinds: [run.*]}}": "has no target",
    "notify: {a: {kinds: [run.*], apprise: {env: X}, webhook: {url: 'https://x/', secret: {env: X}}}}": "two targets",
    "notify: {A: {kinds: [run.*], apprise: {env: X}}}": "is no name for a subscription",
    "notify: {a: {kinds: [run.clsed], apprise: {env: X}}}": "`run.clsed` is no kind of event",
    "notify: {a: {kinds: [run.*], outcomes: [bad], apprise: {env: X}}}": "cannot be `bad`",
    "notify: {a: {kinds: [run.*], webhook: {url: 'https://x/'}}}": "needs the key `secret`",
    "notify: {a: {kinds: [run.*], apprise: 'slack://hidden'}}": "is a reference, never a value",
    WEBHOOK.replace("URL", "ftp://x/"): "is no https URL",
    WEBHOOK.replace("URL", "http://hooks.example.com/"): "in the clear",
    WEBHOOK.replace("URL", "https://hidden:pw@x/"): "has a user name",
    WEBHOOK.replace("URL", "https://x/#hidden"): "has a user name or a fragment",
    WEBHOOK.replace("URL", "https://x/hidd en"): "percent-encoded",
    WEBHOOK.replace("URL", "https://[x/"): "is no URL",
    WEBHOOK.replace("'URL'", "'https://x/', allow_private: [me]"): "`me` is no network",
}


@pytest.mark.parametrize("text", WRONG)
def test_what_is_wrong_is_said_and_no_secret_is(tmp_path, text):
    """Each problem by what it is; neither a URL with something private in it nor a secret is repeated."""
    with pytest.raises(MandamusError) as refused:
        read(text, tmp_path)
    assert refused.value.code is Code.ENVIRONMENT_INVALID
    assert WRONG[text] in str(refused.value.context["problems"])
    assert "hidden" not in str(refused.value.context)


@pytest.mark.parametrize("url", ["http://127.0.0.1:9/x", "http://localhost/", "http://[::1]:80/"])
def test_this_machine_may_be_spoken_to_in_the_clear(tmp_path, url):
    """Nothing leaves it."""
    assert read(WEBHOOK.replace("URL", url), tmp_path)["a"]["webhook"]["url"] == url
