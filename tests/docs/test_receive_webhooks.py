"""The page on receiving webhooks: its program tells our messages from others, and its example is one of ours."""

from __future__ import annotations

import json

import pytest

from mandamus.audit.placed import Place, Placed
from mandamus.audit.standard_webhook import key_of, signed
from mandamus.notify.message import Messages

PAGE = "docs/how-to/receive-webhooks.md"
SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
OTHER = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSv"
NOW_S = 1_767_225_600


def _only(page, language):
    (block,) = [block for block in page(PAGE).blocks if block.language == language]
    return block.text


@pytest.fixture
def genuine(page):
    """The function that the page gives."""
    names = {}
    exec(compile(_only(page, "python"), PAGE, "exec"), names)  # noqa: S102 - what a reader would paste
    return names["genuine"]


def test_the_program_of_the_page_tells_our_messages_from_others(genuine):
    """Signed with the secret, or with two of which it is one; not another's, not changed, not old."""
    body = b'{"a": 1}'
    headers = signed([key_of(OTHER), key_of(SECRET)], "evt_1", NOW_S, body)
    assert genuine(SECRET, headers, body, NOW_S + 300)
    assert genuine(OTHER, headers, body, NOW_S)
    alone = signed([key_of(OTHER)], "evt_1", NOW_S, body)
    assert not genuine(SECRET, alone, body, NOW_S)
    assert not genuine(SECRET, headers, body + b" ", NOW_S)
    assert not genuine(SECRET, headers, body, NOW_S + 301)
    assert not genuine(SECRET, {**headers, "webhook-id": "evt_2"}, body, NOW_S)
    assert not genuine(SECRET, {}, body, NOW_S)


def test_the_example_has_the_fields_of_a_message(page, clock):
    """Each field that is sent stands in the example and in the table."""
    example = json.loads(_only(page, "json"))
    leaf = {
        "id": "evt_1",
        "kind": "step.waiting",
        "at": 1,
        "who": {"subject": "ada"},
        "what": {"type": "step", "id": "apply"},
        "project": None,
        "run": "run_1",
        "step": "apply",
        "outcome": "ok",
        "authority": {"decisions": [], "approvals": []},
        "data": {},
    }
    sent = (
        Messages(lambda: "log", str, lambda _run, _decision: "", clock)
        .of(Placed(leaf, "prod", Place("log", 1, 1)))
        .body
    )
    assert example.keys() == sent.keys()
    assert example["data"].keys() == sent["data"].keys()
    text = page(PAGE).text
    assert not [name for name in sent["data"] if f"`{name}`" not in text]
